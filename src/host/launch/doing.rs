//! What a process on its way is doing.

use std::fmt;
use std::path::PathBuf;

/// What a process on its way is doing: what it died of or hangs in is told by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Its helper joins what is to be joined, and clones it.
    Cloning,
    /// Its namespaces are made, and its ids mapped.
    Namespaces,
    /// Its file systems are mounted.
    Mounts,
    /// From the mounts to the rootfs as /.
    Root,
    /// The same with the createContainer hooks in between, which take as long as they take.
    Hooks,
    /// From there on it is only itself that it changes.
    Identity,
    /// The same of one more process of a container, whose mounts and root are there.
    Joining,
    /// Somebody else decides about each of its system calls.
    Asking {
        /// Its socket.
        agent: PathBuf,
    },
    /// It is ready, and is being looked at and handed over.
    Waiting,
    /// The application's program is loaded.
    Executing,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doing::Cloning => f.write_str("joining namespaces and being cloned"),
            Doing::Namespaces => f.write_str("making the namespaces"),
            Doing::Mounts => f.write_str("mounting the container's file systems"),
            Doing::Root => f.write_str("making the rootfs the root"),
            Doing::Hooks => f.write_str("running the createContainer hooks and making the rootfs the root"),
            Doing::Identity => f.write_str("becoming the application's user"),
            Doing::Joining => f.write_str("setting up the process"),
            Doing::Asking { agent } => {
                write!(f, "setting up the container, about which the seccomp agent at {agent:?} is asked")
            }
            Doing::Waiting => f.write_str("waiting to be started"),
            Doing::Executing => f.write_str("executing the program"),
        }
    }
}
