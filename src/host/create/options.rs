//! What the caller asked for, beside the plan.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cgroup::Driver;
use crate::container::init;
use crate::host::console::PidfdSocket;
use crate::model::Id;
use crate::model::record::{Nanos, Reaper};

pub struct Options {
    pub id: Id,
    pub bundle: PathBuf,
    pub spec_bytes: Vec<u8>,
    pub spec_digest: String,
    pub reaper: Reaper,
    /// The sandbox dies with this process.
    pub attached: bool,
    pub cgroup_driver: Driver,
    pub preserve_fds: u32,
    /// Who gets the pidfd of the init.
    pub pidfd_socket: Option<PidfdSocket>,
    /// Some of them are from socket activation.
    pub listen: Option<init::Listen>,
    /// NOTIFY_SOCKET of the caller, whom the container tells when it is ready.
    pub service_manager: Option<OsString>,
    pub new_keyring: bool,
    pub created: Nanos,
    /// The log file of the command, for the supervisor's errors.
    pub log: Option<std::fs::File>,
    /// Everything the supervisor does goes there too.
    pub debug: bool,
}
