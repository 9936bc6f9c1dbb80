//! The seccomp agent: it is sent the listener of a filter with SCMP_ACT_NOTIFY, and a document that says whose it is
//! (runtime-spec, config-linux.md, "The Container Process State").

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, sockopt};
use nix::sys::socket::{ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, setsockopt, socket};
use nix::sys::time::TimeVal;
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::{HostError, Trying};

/// How long an agent may take to accept a connection and the message.
const PATIENCE_SECONDS: i64 = 10;

/// Whom to tell about a listener. It is connected to when there is one: an agent may serve one connection at a time, and
/// hooks before that may take long.
pub struct Agent {
    path: PathBuf,
    metadata: Option<String>,
    /// The container's state, as hooks see it.
    state: Value,
}

impl Agent {
    /// None when the profile names none. That nobody can be there is said now, before anything is made.
    pub fn of(profile: Option<&LinuxSeccomp>, notify: bool, state: Value) -> Result<Option<Agent>, HostError> {
        let Some(profile) = profile.filter(|_| notify) else { return Ok(None) };
        let Some(path) = profile.listener_path() else { return Ok(None) };
        let agent = Agent { path: path.clone(), metadata: profile.listener_metadata().clone(), state };
        let found = std::fs::metadata(path).trying(|| agent.unreachable())?;
        if !found.file_type().is_socket() {
            let text = format!("{}: it is not a socket", agent.unreachable());
            return Err(HostError::Container { text, exit_code: 1 });
        }
        Ok(Some(agent))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pid of an init that did not exist when this was made.
    pub fn set_init(&mut self, pid: i32) {
        self.state["pid"] = pid.into();
    }

    /// One message: the document, and beside it the descriptor.
    pub fn hand_over(&self, listener: BorrowedFd<'_>, pid: i32) -> Result<(), HostError> {
        let stream = self.connect()?;
        let mut document = json!({
            "ociVersion": self.state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "state": self.state,
        });
        if let Some(metadata) = &self.metadata {
            document["metadata"] = metadata.as_str().into();
        }
        let text = document.to_string();
        let rights = [listener.as_raw_fd()];
        let control = [ControlMessage::ScmRights(&rights)];
        let parts = [std::io::IoSlice::new(text.as_bytes())];
        let what = || format!("cannot send the seccomp listener to the agent at {:?}", self.path);
        let sent = sendmsg::<UnixAddr>(stream.as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None);
        match sent.trying(what)? {
            length if length == text.len() => Ok(()),
            _ => {
                let text = format!("{}: it took only a part of the message", what());
                Err(HostError::Container { text, exit_code: 1 })
            }
        }
    }

    fn connect(&self) -> Result<OwnedFd, HostError> {
        let what = || self.unreachable();
        let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).trying(what)?;
        // Bounds connect(2) too (unix(7)): an agent that never accepts must not hold a sandbox's lock for ever.
        setsockopt(&stream, sockopt::SendTimeout, &TimeVal::new(PATIENCE_SECONDS, 0)).trying(what)?;
        // Long paths do not fit into sockaddr_un: go through the folder's descriptor.
        let folder = std::fs::File::open(self.path.parent().unwrap_or(Path::new("/"))).trying(what)?;
        let name = self.path.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name);
        connect(stream.as_raw_fd(), &UnixAddr::new(&short).trying(what)?).trying(what)?;
        Ok(stream)
    }

    /// runc's words, for whoever looks for them.
    fn unreachable(&self) -> String {
        format!(
            "failed to connect with seccomp agent specified in the seccomp profile (linux.seccomp.listenerPath {:?})",
            self.path
        )
    }
}
