//! What the caller asked for, beside the plan.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cgroup::Driver;
use crate::container::init;
use crate::host::console::PidfdSocket;
use crate::model::Id;
use crate::model::record::{Nanos, Reaper};

/// What a birth is told, checked.
pub struct Options {
    /// Of the sandbox and of its root container.
    pub id: Id,
    /// Absolute.
    pub bundle: PathBuf,
    /// Of config.json, kept as they are.
    pub spec_bytes: Vec<u8>,
    /// Of these bytes, as [`crate::spec::digest`] has it.
    pub spec_digest: String,
    /// Whose child the init is to be.
    pub reaper: Reaper,
    /// The sandbox dies with this process.
    pub attached: bool,
    /// Who makes the container's cgroup.
    pub cgroup_driver: Driver,
    /// So many descriptors from 3 on are the application's, those of socket activation included.
    pub preserve_fds: u32,
    /// Who gets the pidfd of the init.
    pub pidfd_socket: Option<PidfdSocket>,
    /// Some of them are from socket activation.
    pub listen: Option<init::Listen>,
    /// NOTIFY_SOCKET of the caller, whom the container tells when it is ready.
    pub service_manager: Option<OsString>,
    /// The container gets a session keyring of its own.
    pub new_keyring: bool,
    /// What is told as the time of creation.
    pub created: Nanos,
    /// The log file of the command, for the supervisor's errors.
    pub log: Option<std::fs::File>,
    /// Everything the supervisor does goes there too.
    pub debug: bool,
}
