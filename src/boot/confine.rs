//! Gives up everything that the loop does not need, in the order in which each step is still allowed.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use caps::Capability;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, getgroups, pivot_root, setgroups, setsid};

use super::args::NAME;
use crate::sys::{descriptors, privilege, signals};

/// Far above what one sandbox needs; each adopted process and each connection costs one.
const MAX_DESCRIPTORS: u64 = 16 * 1024;

/// One failed step.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("the supervisor cannot {step}")]
    Step { step: &'static str, source: io::Error },
    #[error("the supervisor cannot install its system call filter")]
    Filter(#[from] libseccomp::error::SeccompError),
}

/// A session of its own, default signals, a name.
pub fn be_a_daemon() -> Result<(), ConfineError> {
    step("reset its signals", signals::reset())?;
    // Fails only for the leader of a process group, which already has what we want.
    let _ = setsid();
    let name = CString::new(NAME).map_err(io::Error::other);
    step("set its name", name.and_then(|name| Ok(prctl::set_name(&name)?)))?;
    step("raise its descriptor limit", privilege::raise_descriptor_limit(MAX_DESCRIPTORS))
}

/// Cgroups of v1: `0` written into `tasks` means the writer itself. On v2 the supervisor was born where it belongs.
pub fn join_cgroups(files: Vec<OwnedFd>) -> Result<(), ConfineError> {
    for file in files {
        step("join its cgroup", File::from(file).write_all(b"0"))?;
    }
    Ok(())
}

/// Mount, IPC and UTS namespaces of its own, and a root with nothing in it but a null device: a tmpfs that nobody can
/// write to.
pub fn leave_the_host() -> Result<(), ConfineError> {
    let namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    step("make namespaces of its own", unshare(namespaces).map_err(io::Error::from))?;
    step("make an empty root", empty_root().map_err(io::Error::from))?;
    step("open a null device of its own", own_null())
}

/// CAP_KILL only, uid 0, no groups, nothing to be gained by an exec, and not to be traced or looked into by a process
/// of the sandbox: without this, root in the sandbox could read our memory and our descriptors.
pub fn drop_privileges() -> Result<(), ConfineError> {
    match setgroups(&[]) {
        // In a user namespace that an ordinary user mapped, groups cannot be set, and none was ever gained.
        Err(Errno::EPERM) if getgroups().is_ok() => {}
        other => step("leave its groups", other.map_err(io::Error::from))?,
    }
    step("give up new privileges", prctl::set_no_new_privs().map_err(io::Error::from))?;
    step("drop its capabilities", privilege::keep_only(&[Capability::CAP_KILL]))?;
    // After the last change of credentials, which would reset it.
    step("hide from its sandbox", prctl::set_dumpable(false).map_err(io::Error::from))
}

fn empty_root() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    // Nothing of what follows may show anywhere else.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    // Any folder will do; this one is everywhere. Two inodes: the root itself, and the null device.
    mount(Some("sandkeep"), "/proc", Some("tmpfs"), flags, Some("mode=0500,size=4k,nr_inodes=2"))?;
    chdir("/proc")?;
    match mknod("null", SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3)) {
        // In a user namespace no device can be made, and the host's is nobody's in there.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error),
    }
    mount(NONE, "/proc", NONE, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, NONE)?;
    // The old root comes to lie upon the new one (pivot_root(2), NOTES), and is taken off.
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")
}

/// Whoever may look into us (CAP_SYS_PTRACE) finds no node of the host's behind our standard descriptors, whose mode and
/// owner could be changed through them.
fn own_null() -> io::Result<()> {
    let null = match File::options().read(true).write(true).open("/null") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    (0..3).try_for_each(|number| descriptors::place(null.as_fd(), number))
}

fn step(step: &'static str, outcome: io::Result<()>) -> Result<(), ConfineError> {
    outcome.map_err(|source| ConfineError::Step { step, source })
}
