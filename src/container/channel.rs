//! The conversation between a launching process and the container's init: one SOCK_SEQPACKET pair, one message a step.
//!
//! The init may be under the application's seccomp filter already. So what it says and hears without descriptors goes by
//! read(2) and write(2), which hardly any profile lacks; and write(2) is the one call that no agent can be asked about
//! (`spec::seccomp` refuses that), since the listener itself is announced with it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::sys::place::Place;
use crate::sys::ready::{self, Readiness};
use crate::sys::seqpacket::{self, Received};

/// The longest message; an error text is cut to fit.
const LARGEST: usize = 8192;

/// What the init says.
#[derive(Debug)]
pub enum Report {
    /// By the helper: the init exists; here is its pidfd.
    Forked(OwnedFd),
    /// It is in a user namespace that has no mappings yet, and nobody there. Answered with `Mapped`.
    Unmapped,
    /// Its namespaces exist and nothing else is done yet. Answered with `Mount`.
    Namespaces,
    /// Everything is mounted, and / is still the host's. Answered with `HooksRan`, where the plan has hooks of the runtime that
    /// wait for that, else with nothing.
    Mounted,
    /// The rootfs is /. Answered with nothing.
    Entered,
    /// The master side of its terminal.
    Terminal(OwnedFd),
    /// By a process that was made for it: a detached mount.
    Tree(OwnedFd),
    /// It is under a seccomp filter that somebody else is asked about: the number of the listener in the init. The
    /// creator takes a copy of that descriptor (pidfd_getfd(2)), then answers with `Listening`.
    Listener(RawFd),
    /// Everything is done but the start; an init says which root it has, once it has looked that there is no other.
    Ready(Option<Place>),
    /// It gave up.
    Failed(Failure),
    /// End of file: it is gone, or has become the application.
    Closed,
}

/// Why a process gave up, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of what kind: a hook's failure ends the container for good.
    pub of: Of,
    /// What a foreground run reports.
    pub exit_code: u8,
    /// A sentence, without the cause repeated.
    pub text: String,
}

/// Where it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A step of its own.
    Setup,
    /// A hook that it ran: that is the end of the container.
    Hook,
}

/// What the init is told: what has been done about what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Its user namespace has its mappings.
    Mapped,
    /// The network has its devices: it goes on to the mounts.
    Mount,
    /// The hooks of the runtime have run.
    HooksRan,
    /// Somebody has its listener.
    Listening,
    /// To be the application.
    Start,
    /// To a process that does one thing for the caller, and no container's: now.
    Go,
    /// End of file: whoever could start it is gone.
    Closed,
}

/// The one message that a supervisor has for an init.
pub const START: &[u8] = b"S";

/// (creator's end, init's end), both closed by execve.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    seqpacket::pair()
}

/// By the process, in one message. A failure's text is cut to what one message takes.
pub fn report(channel: BorrowedFd<'_>, report: &Report) -> io::Result<()> {
    match report {
        Report::Forked(pidfd) => send(channel, b"F", Some(pidfd)),
        Report::Unmapped => send(channel, b"U", None),
        Report::Namespaces => send(channel, b"N", None),
        Report::Mounted => send(channel, b"M", None),
        Report::Entered => send(channel, b"I", None),
        Report::Terminal(master) => send(channel, b"T", Some(master)),
        Report::Tree(tree) => send(channel, b"D", Some(tree)),
        Report::Listener(number) => {
            let mut message = [b'L', 0, 0, 0, 0];
            message[1..].copy_from_slice(&number.to_le_bytes());
            send(channel, &message, None)
        }
        Report::Ready(None) => send(channel, b"R", None),
        Report::Ready(Some(Place { mount, device, inode })) => {
            let numbers = [mount, device, inode].into_iter().flat_map(|number| number.to_le_bytes());
            let message: Vec<u8> = std::iter::once(b'R').chain(numbers).collect();
            send(channel, &message, None)
        }
        Report::Failed(failure) => send(channel, &failure.message(), None),
        Report::Closed => Ok(()),
    }
}

/// The next report. Blocks; the caller bounds it with poll.
/// By the creator, which waits for as long as it takes.
pub fn next_report(channel: BorrowedFd<'_>) -> io::Result<Report> {
    let mut buffer = [0u8; LARGEST];
    let (length, fds) = receive(channel, &mut buffer)?;
    match (buffer[..length].first(), fds.into_iter().next()) {
        (None, _) => Ok(Report::Closed),
        (Some(b'F'), Some(fd)) => Ok(Report::Forked(fd)),
        (Some(b'U'), _) => Ok(Report::Unmapped),
        (Some(b'N'), _) => Ok(Report::Namespaces),
        (Some(b'M'), _) => Ok(Report::Mounted),
        (Some(b'I'), _) => Ok(Report::Entered),
        (Some(b'T'), Some(fd)) => Ok(Report::Terminal(fd)),
        (Some(b'D'), Some(fd)) => Ok(Report::Tree(fd)),
        (Some(b'L'), _) => listener(&buffer[1..length]),
        (Some(b'R'), _) => Ok(Report::Ready(place(&buffer[1..length])?)),
        (Some(b'E' | b'H'), _) => Ok(Report::Failed(Failure::read(&buffer[..length]))),
        (Some(other), _) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected report {other:#x} from the init")))
        }
    }
}

fn listener(payload: &[u8]) -> io::Result<Report> {
    let number = payload.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Report::Listener(RawFd::from_le_bytes(number)))
}

fn place(payload: &[u8]) -> io::Result<Option<Place>> {
    let numbers: Vec<u64> = payload.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    match numbers[..] {
        [] => Ok(None),
        [mount, device, inode] => Ok(Some(Place { mount, device, inode })),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

impl Failure {
    /// Of a process that is no container's.
    pub fn of_helper(text: String) -> Failure {
        Failure { of: Of::Setup, exit_code: 1, text }
    }

    fn message(&self) -> Vec<u8> {
        let kind = match self.of {
            Of::Setup => b'E',
            Of::Hook => b'H',
        };
        [kind, self.exit_code].into_iter().chain(self.text.bytes().take(LARGEST - 2)).collect()
    }

    /// Of whatever bytes a process that was told to start says when it fails.
    pub fn read(message: &[u8]) -> Failure {
        let (of, exit_code, text) = match message {
            [b'H', code, text @ ..] => (Of::Hook, *code, text),
            [b'E', code, text @ ..] => (Of::Setup, *code, text),
            other => (Of::Setup, 1, other),
        };
        Failure { of, exit_code, text: String::from_utf8_lossy(text).trim_end().to_owned() }
    }
}

/// By the creator; `Closed` is what its end says by going.
pub fn order(channel: BorrowedFd<'_>, order: Order) -> io::Result<()> {
    match order {
        Order::Mapped => send(channel, b"U", None),
        Order::Mount => send(channel, b"N", None),
        Order::HooksRan => send(channel, b"M", None),
        Order::Listening => send(channel, b"L", None),
        Order::Start => send(channel, START, None),
        Order::Go => send(channel, b"G", None),
        Order::Closed => Ok(()),
    }
}

/// By the process, which waits for as long as it takes.
pub fn next_order(channel: BorrowedFd<'_>) -> io::Result<Order> {
    let mut buffer = [0u8; 8];
    let length = loop {
        match nix::unistd::read(channel.as_raw_fd(), &mut buffer) {
            Err(nix::Error::EINTR) => {}
            other => break other?,
        }
    };
    match buffer[..length].first() {
        Some(b'U') => Ok(Order::Mapped),
        Some(b'N') => Ok(Order::Mount),
        Some(b'M') => Ok(Order::HooksRan),
        Some(b'L') => Ok(Order::Listening),
        Some(b'S') => Ok(Order::Start),
        Some(b'G') => Ok(Order::Go),
        _ => Ok(Order::Closed),
    }
}

fn send(channel: BorrowedFd<'_>, message: &[u8], fd: Option<&OwnedFd>) -> io::Result<()> {
    match fd {
        Some(fd) => seqpacket::send(channel, message, &[fd.as_fd()]),
        None => Ok(nix::unistd::write(channel, message).map(drop)?),
    }
}

/// (length, descriptors); length 0 is the end of file.
fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    loop {
        match seqpacket::receive(channel, buffer)? {
            Received::Message { length, fds } => return Ok((length, fds)),
            Received::End => return Ok((0, Vec::new())),
            Received::Nothing => drop(ready::wait(channel, Readiness::Readable, None)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let (creator, init) = pair().unwrap();
        let failure = Failure { of: Of::Setup, exit_code: 127, text: "exec: not found".into() };
        let of_hook = Failure { of: Of::Hook, exit_code: 1, text: "error running hook".into() };
        report(init.as_fd(), &Report::Failed(failure.clone())).unwrap();
        report(init.as_fd(), &Report::Failed(of_hook.clone())).unwrap();
        report(init.as_fd(), &Report::Listener(1234)).unwrap();
        let root = Place { mount: 1, device: 2, inode: u64::MAX };
        report(init.as_fd(), &Report::Ready(Some(root))).unwrap();
        report(init.as_fd(), &Report::Ready(None)).unwrap();
        report(init.as_fd(), &Report::Terminal(creator.try_clone().unwrap())).unwrap();
        drop(init);
        for sent in [failure, of_hook] {
            assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Failed(failure) if failure == sent));
        }
        assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Listener(1234)));
        assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Ready(Some(place)) if place == root));
        assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Ready(None)));
        assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Terminal(_)));
        assert!(matches!(next_report(creator.as_fd()).unwrap(), Report::Closed));
    }

    #[test]
    fn the_end_of_every_holder_is_an_order_to_give_up() {
        let (creator, init) = pair().unwrap();
        let all = [Order::Mapped, Order::Mount, Order::HooksRan, Order::Listening, Order::Start, Order::Go];
        for each in all {
            order(creator.as_fd(), each).unwrap();
        }
        drop(creator);
        for each in all {
            assert_eq!(next_order(init.as_fd()).unwrap(), each);
        }
        assert_eq!(next_order(init.as_fd()).unwrap(), Order::Closed);
    }
}
