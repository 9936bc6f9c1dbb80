//! What can fail with cgroups. One variant an operation; the reason is the source.

use std::io;
use std::path::PathBuf;

use super::systemd::BusError;
use crate::sys::told;

/// What anything here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What could not be done with a cgroup; each names the folder, file or field.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path:?} to find the cgroup hierarchies")]
    ReadHierarchies { path: &'static str, source: io::Error },
    #[error("no cgroup hierarchy is mounted: mount one, or use --cgroup-manager disabled")]
    NoHierarchy,
    #[error("invalid linux.cgroupsPath {path:?}: {why}")]
    BadPath { path: String, why: &'static str },
    #[error("cannot {what}, which --cgroup-manager systemd needs")]
    Systemd { what: String, source: Box<BusError> },
    #[error("invalid annotation {key:?}: {value:?}: {why}")]
    BadAnnotation { key: String, value: String, why: &'static str },

    #[error("cannot make the cgroup {folder:?}")]
    Make { folder: PathBuf, source: io::Error },
    #[error("container's cgroup is not empty: {count} process(es) found in {folder:?}")]
    NotEmpty { folder: PathBuf, count: usize },
    /// runc's words, which its callers look for.
    #[error("container's cgroup unexpectedly frozen: {folder:?} was there and is frozen; thaw it, or remove it")]
    Frozen { folder: PathBuf },
    #[error("container's cgroup unexpectedly frozen: it is in {folder:?}, which is; thaw that first")]
    FrozenAbove { folder: PathBuf },
    #[error(
        "cannot join the container's cgroup: {folder:?} is frozen, and not by a pause; --ignore-paused waits for its thaw"
    )]
    FrozenInside { folder: PathBuf },
    #[error("cannot give {path:?} to user {uid}")]
    Delegate { path: PathBuf, uid: u32, source: io::Error },

    #[error("cannot set {field}: the cgroup controller {controller} is not available")]
    NoController { controller: String, field: String },
    #[error("cannot set {field}: this kernel offers no {file} in {folder:?}")]
    NoFile { field: String, file: String, folder: PathBuf },
    #[error("cannot set {field}: {value:?} is invalid: {why}")]
    BadLimit { field: String, value: String, why: &'static str },
    #[error("cannot set {field}: writing {value:?} to {file:?} failed")]
    Limit { field: String, value: String, file: PathBuf, source: io::Error },
    #[error("cannot set {field}: writing {value:?} to {file:?} failed ({hint})")]
    NoRealtime { field: String, value: String, file: PathBuf, hint: String, source: io::Error },
    #[error("cannot set memory.limit to {limit}: {usage} bytes are in use, and checkBeforeUpdate is set")]
    InUse { limit: i64, usage: i64 },
    /// runc's words, which its callers look for.
    #[error("invalid configuration: cannot set {field}: it needs cgroup v2, and this machine's controllers are on v1")]
    OnlyV2 { field: &'static str },
    #[error("cannot set {field}: cgroup v2 has nothing like it")]
    OnlyV1 { field: &'static str },
    #[error("{}; and these could not be set back: {}", told::on_one_line(.first.as_ref()), .left.join("; "))]
    NotSetBack { first: Box<Error>, left: Vec<String> },
    #[error("cannot attach the device rules to the cgroup {folder:?}")]
    DeviceProgram { folder: PathBuf, source: io::Error },

    #[error("--cgroup {asked:?}: {why}")]
    BadChoice { asked: String, why: &'static str },
    #[error("--cgroup: unknown controller {name}")]
    UnknownController { name: String },
    #[error("--cgroup: {path} is not a sub cgroup path")]
    NotBelow { path: String },
    #[error("--cgroup: adding pid 0 (the process itself) to {}", procs.display())]
    NoSuchCgroup { procs: PathBuf, source: io::Error },
    #[error("cannot open the cgroup {folder:?} for joining")]
    Open { folder: PathBuf, source: io::Error },
    #[error("cannot read {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot watch the cgroup {folder:?} for want of memory")]
    WatchOom { folder: PathBuf, source: io::Error },
    #[error(
        "cannot freeze or thaw: the container has no cgroup of its own to be frozen: that takes root, or a cgroup that is \
         delegated to this user, and another manager than --cgroup-manager disabled"
    )]
    NoFreezer,
    #[error(
        "there is nothing to limit: the container has no cgroup of its own: that takes root, or a cgroup that is delegated \
         to this user, and another manager than --cgroup-manager disabled"
    )]
    NothingToLimit,
    #[error("cannot freeze or thaw the cgroup {folder:?}")]
    Freeze { folder: PathBuf, source: io::Error },
    #[error("cannot freeze the cgroup {folder:?} in time: it was thawed again")]
    FreezeTimeout { folder: PathBuf },
    #[error("cannot send signal {signal} to every process of the container")]
    Signal { signal: i32, source: io::Error },
    #[error("cannot kill the cgroup {folder:?}")]
    Kill { folder: PathBuf, source: io::Error },
    #[error("{count} process(es) in the cgroup {folder:?} did not end in time")]
    StillPopulated { folder: PathBuf, count: usize },
    #[error("cannot remove the cgroup {folder:?}")]
    Remove { folder: PathBuf, source: io::Error },
}
