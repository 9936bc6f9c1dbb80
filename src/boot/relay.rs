//! Between what a container says to its service manager and that manager: read, looked through (`model::notice`), sent on.
//!
//! A container can send as much as it likes: what the manager does not take waits here, one message at most, and nothing
//! more is read meanwhile; then the container waits, or is told that the queue is full. Descriptors that come along are
//! closed unread, which is also all that whoever asks for a barrier waits for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};

use crate::model::notice;
use crate::sys::seqpacket;

/// Messages in one turn, and how long to do something else when there were so many: the manager serves others, too.
pub const AT_ONCE: usize = 32;
/// How long the relay then rests.
pub const BREATH: Duration = Duration::from_millis(50);

/// Passes on what the container tells the service manager of the host.
#[derive(Debug)]
pub struct Relay {
    /// Bound, nonblocking.
    from: OwnedFd,
    /// Connected, nonblocking.
    to: OwnedFd,
    /// Whom the manager is told to watch once the service is ready.
    main: Option<i32>,
    ready: bool,
    /// What the manager has not taken yet.
    held: Option<Vec<u8>>,
}

/// What one turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is nothing left.
    Drained,
    /// There may be more, or the manager takes no more: not before [`BREATH`] is over.
    More,
}

impl Relay {
    /// `from`: where the container writes, bound and nonblocking; `to`: connected to the service manager.
    pub fn new(from: OwnedFd, to: OwnedFd) -> Relay {
        Relay { from, to, main: None, ready: false, held: None }
    }

    /// The process that MAINPID is to name, on the host.
    pub fn set_main(&mut self, pid: i32) {
        self.main = Some(pid);
    }

    /// Whether the service has said so, and the manager has been told.
    pub fn is_ready(&self) -> bool {
        self.ready && self.held.is_none()
    }

    /// Passes on what is there, at most [`AT_ONCE`] messages.
    pub fn turn(&mut self) -> Turn {
        if let Some(held) = self.held.take()
            && !self.pass_on(held)
        {
            return Turn::More;
        }
        let mut buffer = [0; notice::LONGEST];
        for _ in 0..AT_ONCE {
            // The whole length, also of what does not fit.
            let length = match recv(self.from.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
                Ok(length) => length,
                Err(nix::Error::EINTR) => continue,
                Err(_) => return Turn::Drained,
            };
            let Some(datagram) = buffer.get(..length) else { continue };
            let lines = notice::passed_on(datagram);
            if lines.is_empty() {
                continue;
            }
            let mut text = lines.join(&b'\n');
            if notice::says_ready(&lines) && !std::mem::replace(&mut self.ready, true) {
                text.extend(
                    self.main.iter().flat_map(|main| format!("\n{}", notice::main_process(*main)).into_bytes()),
                );
            }
            if !self.pass_on(text) {
                return Turn::More;
            }
        }
        Turn::More
    }

    /// What is still there at the end of the service.
    pub fn finish(&mut self) {
        for _ in 0..AT_ONCE {
            if self.turn() == Turn::Drained || self.held.is_some() {
                return;
            }
        }
    }

    /// False: it is held. A manager that is gone is told nothing.
    fn pass_on(&mut self, text: Vec<u8>) -> bool {
        match seqpacket::send(self.to.as_fd(), &text, &[]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.held = Some(text);
                false
            }
            _ => true,
        }
    }
}

/// Readable when the container has said something.
impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.from.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// (the container's end, the relay, the manager's end)
    fn relay() -> (UnixDatagram, Relay, UnixDatagram) {
        let (service, from) = UnixDatagram::pair().unwrap();
        let (to, manager) = UnixDatagram::pair().unwrap();
        for socket in [&service, &from, &to, &manager] {
            socket.set_nonblocking(true).unwrap();
        }
        (service, Relay::new(from.into(), to.into()), manager)
    }

    fn told(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 8192];
        std::iter::from_fn(|| manager.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    #[test]
    fn the_manager_is_told_whom_to_watch_once_and_not_by_the_service() {
        let (service, mut relay, manager) = relay();
        relay.set_main(42);
        for text in ["STATUS=soon", "READY=1\nMAINPID=1", "MAINPID=1", "RELOADING=1", "READY=1"] {
            service.send(text.as_bytes()).unwrap();
        }
        assert!(!relay.is_ready());
        assert_eq!(relay.turn(), Turn::Drained);
        assert_eq!(told(&manager), ["STATUS=soon", "READY=1\nMAINPID=42", "RELOADING=1", "READY=1"]);
        assert!(relay.is_ready());
    }

    #[test]
    fn a_message_that_is_too_long_is_left_out_and_the_next_is_whole() {
        let (service, mut relay, manager) = relay();
        service.send(&[b'x'; 3 * notice::LONGEST]).unwrap();
        service.send(b"").unwrap();
        service.send(b"READY=1").unwrap();
        relay.turn();
        assert_eq!(told(&manager), ["READY=1"]);
    }

    #[test]
    fn a_flood_waits_for_the_manager_and_loses_nothing_that_was_taken() {
        let (service, mut relay, manager) = relay();
        let (mut sent, mut seen, mut turns) = (0, Vec::new(), 0);
        while sent < 500 {
            while sent < 500 && service.send(format!("STATUS={sent}").as_bytes()).is_ok() {
                sent += 1;
            }
            // Nobody reads at first: it stops, and keeps one.
            assert_eq!(relay.turn(), Turn::More);
            turns += 1;
            if turns > 20 {
                seen.extend(told(&manager));
            }
            assert!(turns < 10_000);
        }
        while relay.turn() == Turn::More {
            seen.extend(told(&manager));
        }
        seen.extend(told(&manager));
        assert_eq!(seen, (0..500).map(|number| format!("STATUS={number}")).collect::<Vec<_>>());
    }

    #[test]
    fn descriptors_are_closed_which_ends_every_barrier() {
        let (service, mut relay, manager) = relay();
        let (read, write) = nix::unistd::pipe().unwrap();
        seqpacket::send(service.as_fd(), b"FDSTORE=1\nBARRIER=1", &[write.as_fd()]).unwrap();
        drop(write);
        relay.turn();
        assert_eq!(told(&manager), Vec::<String>::new());
        assert_eq!(nix::unistd::read(read.as_raw_fd(), &mut [0; 1]), Ok(0));
    }

    #[test]
    fn a_manager_that_is_gone_is_told_nothing_and_nobody_is_kept_waiting() {
        let (service, mut relay, manager) = relay();
        drop(manager);
        for _ in 0..5 {
            service.send(b"READY=1").unwrap();
        }
        assert_eq!(relay.turn(), Turn::Drained);
    }
}
