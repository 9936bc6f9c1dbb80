//! Descriptors that go to a listener of the caller's: the master of a container's terminal (`--console-socket`), the
//! pidfd of a process (`--pidfd-socket`).
//!
//! Connected before anything is made, so that a wrong path, or a listener that never accepts, is an error that costs
//! nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{HostError, Trying, listener};

/// Who receives the terminal's master, connected.
pub struct Console {
    stream: OwnedFd,
    path: PathBuf,
}

impl Console {
    /// To a Unix socket; before anything is made, since a wrong path is a mistake of the caller's.
    pub fn connect(path: &Path) -> Result<Console, HostError> {
        connect_to("console socket", path).map(|stream| Console { stream, path: path.to_owned() })
    }

    /// The message's text is the terminal's name, which receivers only log.
    pub fn send(&self, master: BorrowedFd<'_>) -> Result<(), HostError> {
        let what = || format!("send the terminal over the console socket {:?}", self.path);
        listener::send(self.stream.as_fd(), "/dev/ptmx", master).trying(what)
    }
}

/// Who receives the pidfd of a process, connected.
pub struct PidfdSocket {
    stream: OwnedFd,
    path: PathBuf,
}

/// What the pidfd is of: the text of the message, in runc's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidfdOf {
    /// A container's first process.
    Init,
    /// One more of its processes.
    Exec,
}

impl PidfdSocket {
    /// To a Unix socket; before anything is made.
    pub fn connect(path: &Path) -> Result<PidfdSocket, HostError> {
        connect_to("pidfd socket", path).map(|stream| PidfdSocket { stream, path: path.to_owned() })
    }

    /// The message's text says whose it is.
    pub fn send(&self, of: PidfdOf, pidfd: BorrowedFd<'_>) -> Result<(), HostError> {
        let text = match of {
            PidfdOf::Init => "standard",
            PidfdOf::Exec => "setns",
        };
        let what = || format!("send the pidfd over the pidfd socket {:?}", self.path);
        listener::send(self.stream.as_fd(), text, pidfd).trying(what)
    }
}

fn connect_to(what: &str, path: &Path) -> Result<OwnedFd, HostError> {
    listener::connect_to(path).trying(|| format!("connect to the {what} {path:?}"))
}
