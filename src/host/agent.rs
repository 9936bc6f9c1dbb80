//! The seccomp agent: it is sent the listener of a filter with SCMP_ACT_NOTIFY, and a document that says whose it is
//! (runtime-spec, config-linux.md, "The Container Process State").

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::{HostError, Trying, listener};

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
            return Err(HostError::AgentIsNoSocket { trying: agent.unreachable() });
        }
        Ok(Some(agent))
    }

    /// Of its socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pid of an init that did not exist when this was made.
    pub fn set_init(&mut self, pid: i32) {
        self.state["pid"] = pid.into();
    }

    /// One message: the document, and beside it the descriptor.
    pub fn hand_over(&self, calls: BorrowedFd<'_>, pid: i32) -> Result<(), HostError> {
        let stream = listener::connect_to(&self.path).trying(|| self.unreachable())?;
        let mut document = json!({
            "ociVersion": self.state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "state": self.state,
        });
        if let Some(metadata) = &self.metadata {
            document["metadata"] = metadata.as_str().into();
        }
        let what = || format!("cannot send the seccomp listener to the agent at {:?}", self.path);
        listener::send(stream.as_fd(), &document.to_string(), calls).trying(what)
    }

    /// runc's words, for whoever looks for them.
    fn unreachable(&self) -> String {
        format!(
            "failed to connect with seccomp agent specified in the seccomp profile (linux.seccomp.listenerPath {:?})",
            self.path
        )
    }
}
