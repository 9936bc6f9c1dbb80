//! Connections to listeners of others' making: console sockets, pidfd sockets, seccomp agents. Nobody knows whether one ever
//! accepts, and a command that waits for it may hold a sandbox's lock: so every step has a deadline.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, sockopt};
use nix::sys::socket::{ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, setsockopt, socket};
use nix::sys::time::TimeVal;

use crate::sys::open;

/// How long a listener may take to accept a connection, and to take a message.
const PATIENCE_SECONDS: i64 = 10;

/// Connects to the stream socket at `path`, however long that is.
pub fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Bounds connect(2) too, which waits for as long as the listener's queue is full (unix(7)).
    setsockopt(&stream, sockopt::SendTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    // Long paths do not fit into sockaddr_un: go through the folder's descriptor.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = open::from_here(folder, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    patiently(connect(stream.as_raw_fd(), &UnixAddr::new(&short)?))?;
    Ok(stream)
}

/// One message with one descriptor beside it.
pub fn send(stream: BorrowedFd<'_>, text: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let rights = [descriptor.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&rights)];
    let parts = [io::IoSlice::new(text.as_bytes())];
    let sent = sendmsg::<UnixAddr>(stream.as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None);
    match patiently(sent)? {
        length if length == text.len() => Ok(()),
        _ => Err(io::Error::new(ErrorKind::WriteZero, "it took only a part of the message")),
    }
}

fn patiently<T>(done: nix::Result<T>) -> io::Result<T> {
    done.map_err(|errno| match errno {
        nix::Error::EAGAIN => {
            io::Error::new(ErrorKind::TimedOut, format!("nobody accepted it within {PATIENCE_SECONDS} s"))
        }
        errno => errno.into(),
    })
}
