//! What the creator of a process tells the program that will become it.
//!
//! Whatever enters a container starts as a program of its own ([`super::helper`]): its memory, arguments and environment
//! hold nothing of the command that wanted it, and its descriptors are those that the letter names. A container that may
//! trace what enters finds there what it is given, and nothing of whoever gives it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
use serde::{Deserialize, Serialize};

use super::{init, join};
use crate::spec::plan::NamespaceKind;
use crate::sys::clone::Parent;

/// All that a program which enters a container is told.
#[derive(Serialize, Deserialize)]
pub struct Letter {
    /// Where the helper reports the process that it has cloned.
    #[serde(with = "crate::sys::carried")]
    pub channel: OwnedFd,
    /// `tasks` of each v1 cgroup to join.
    #[serde(with = "crate::sys::carried")]
    pub tasks: Vec<OwnedFd>,
    /// Whose child the process becomes.
    pub parent: Parent,
    /// What follows.
    pub then: Then,
    /// What is to be made.
    pub errand: Errand,
}

/// What the helper does once it has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Then {
    /// It exits, and the kernel hands on what it leaves behind.
    Leave,
    /// As the parent of a process that nobody else would reap.
    Stay,
}

/// What a helper is sent for.
#[derive(Serialize, Deserialize)]
pub enum Errand {
    /// The init of a new container, with the namespaces that it joins by path, in the order in which they are joined.
    #[allow(missing_docs)] // Their types say it.
    Init { joined: Vec<Joined>, init: Box<init::Donations> },
    /// One more process of a container.
    #[allow(missing_docs)] // Their types say it.
    Exec { target: join::Target, process: Box<join::Donations> },
}

/// A namespace of somebody else's that the container is to be in.
#[derive(Serialize, Deserialize)]
pub struct Joined {
    /// There is one of each at most.
    pub kind: NamespaceKind,
    /// As setns(2) takes it.
    #[serde(with = "crate::sys::carried")]
    pub namespace: OwnedFd,
}

impl Letter {
    /// A file in memory that holds it.
    pub fn write(&self) -> io::Result<OwnedFd> {
        let bytes = postcard::to_stdvec(self).map_err(io::Error::other)?;
        let mut file = File::from(memfd_create(c"letter", MemFdCreateFlag::MFD_CLOEXEC)?);
        file.write_all(&bytes)?;
        file.rewind()?;
        Ok(file.into())
    }

    /// Takes every descriptor that it names.
    pub fn read(letter: OwnedFd) -> io::Result<Letter> {
        let mut bytes = Vec::new();
        File::from(letter).read_to_end(&mut bytes)?;
        postcard::from_bytes(&bytes).map_err(io::Error::other)
    }

    /// The descriptors that have to be open when it is read, those of the application apart.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.channel.as_raw_fd()];
        all.extend(self.tasks.iter().map(AsRawFd::as_raw_fd));
        match &self.errand {
            Errand::Init { joined, init } => {
                all.extend(joined.iter().map(|joined| joined.namespace.as_raw_fd()));
                all.extend(init.descriptors());
            }
            Errand::Exec { target, process } => {
                all.extend(target.descriptors());
                all.extend(process.descriptors());
            }
        }
        all
    }

    /// How many descriptors from 3 on are the application's.
    pub fn preserved(&self) -> u32 {
        match &self.errand {
            Errand::Init { init, .. } => init.preserved_fds,
            Errand::Exec { process, .. } => process.preserved_fds,
        }
    }
}
