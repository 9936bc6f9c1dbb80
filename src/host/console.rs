//! `--console-socket`: the master of a container's terminal goes to whoever listens there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket};

use super::{HostError, Trying};

/// Connected before anything is made, so that a wrong path is an error that costs nothing.
pub struct Console(OwnedFd);

impl Console {
    pub fn connect(path: &Path) -> Result<Console, HostError> {
        let what = || format!("connect to the console socket {path:?}");
        let family = nix::sys::socket::AddressFamily::Unix;
        let stream = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).trying(what)?;
        // Long paths do not fit into sockaddr_un: go through the folder's descriptor.
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::fs::File::open(folder).trying(what)?;
        let name =
            path.file_name().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput)).trying(what)?;
        let short = Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name);
        connect(stream.as_raw_fd(), &UnixAddr::new(&short).trying(what)?).trying(what)?;
        Ok(Console(stream))
    }

    /// The message's text is the terminal's name, which receivers only log.
    pub fn send(&self, master: BorrowedFd<'_>) -> Result<(), HostError> {
        let rights = [master.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        let text = [std::io::IoSlice::new(b"/dev/ptmx")];
        sendmsg::<UnixAddr>(self.0.as_raw_fd(), &text, &control, MsgFlags::MSG_NOSIGNAL, None)
            .trying(|| "send the terminal over the console socket".into())
            .map(drop)
    }
}
