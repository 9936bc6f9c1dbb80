//! Descriptors that go to a listener of the caller's: the master of a container's terminal (`--console-socket`), the
//! pidfd of a process (`--pidfd-socket`).
//!
//! Connected before anything is made, so that a wrong path is an error that costs nothing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket};

use super::{HostError, Trying};

pub struct Console(OwnedFd);

impl Console {
    pub fn connect(path: &Path) -> Result<Console, HostError> {
        connect_to("console socket", path).map(Console)
    }

    /// The message's text is the terminal's name, which receivers only log.
    pub fn send(&self, master: BorrowedFd<'_>) -> Result<(), HostError> {
        send(self.0.as_fd(), "/dev/ptmx", master).trying(|| "send the terminal over the console socket".into())
    }
}

pub struct PidfdSocket(OwnedFd);

/// What the pidfd is of: the text of the message, in runc's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidfdOf {
    Init,
    Exec,
}

impl PidfdSocket {
    pub fn connect(path: &Path) -> Result<PidfdSocket, HostError> {
        connect_to("pidfd socket", path).map(PidfdSocket)
    }

    pub fn send(&self, of: PidfdOf, pidfd: BorrowedFd<'_>) -> Result<(), HostError> {
        let text = match of {
            PidfdOf::Init => "standard",
            PidfdOf::Exec => "setns",
        };
        send(self.0.as_fd(), text, pidfd).trying(|| "send the pidfd over the pidfd socket".into())
    }
}

fn connect_to(what: &str, path: &Path) -> Result<OwnedFd, HostError> {
    let what = || format!("connect to the {what} {path:?}");
    let family = nix::sys::socket::AddressFamily::Unix;
    let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).trying(what)?;
    // Long paths do not fit into sockaddr_un: go through the folder's descriptor.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::File::open(folder).trying(what)?;
    let name = path.file_name().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput)).trying(what)?;
    let short = Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name);
    connect(stream.as_raw_fd(), &UnixAddr::new(&short).trying(what)?).trying(what)?;
    Ok(stream)
}

fn send(socket: BorrowedFd<'_>, text: &str, descriptor: BorrowedFd<'_>) -> nix::Result<()> {
    let rights = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let text = [std::io::IoSlice::new(text.as_bytes())];
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &text, &control, MsgFlags::MSG_NOSIGNAL, None).map(drop)
}
