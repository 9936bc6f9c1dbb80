//! Who the application is: limits, user and groups, capabilities, working directory.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::{SetupError, Step, forgiven};
use crate::spec::plan::{CapabilitySets, OriginalGroups, ProcessPlan};
use crate::sys::privilege;
use crate::sys::process::{self, SchedulerAttributes};

/// What needs privilege over the process itself and must happen before its user changes.
pub fn apply_limits(plan: &ProcessPlan) -> Result<(), SetupError> {
    for (resource, soft, hard) in &plan.rlimits {
        process::set_rlimit(*resource, *soft, *hard)
            .step(|| format!("set {} to {soft}:{hard} (soft:hard)", crate::spec::rlimit_name(*resource)))?;
    }
    if let Some(scheduler) = &plan.scheduler {
        let mut attributes = SchedulerAttributes::default();
        attributes.policy = scheduler.policy;
        attributes.flags = scheduler.flags;
        attributes.nice = scheduler.nice;
        attributes.priority = scheduler.priority;
        attributes.runtime = scheduler.runtime;
        attributes.deadline = scheduler.deadline;
        attributes.period = scheduler.period;
        process::set_scheduler(attributes).step(|| match scheduler.priority {
            0 => "set process.scheduler".into(),
            // sched(7): with CONFIG_RT_GROUP_SCHED a cgroup has no time for them but what it is given.
            _ => "set process.scheduler (a v1 cpu cgroup also needs linux.resources.cpu.realtimeRuntime)".to_owned(),
        })?;
    }
    if let Some(priority) = plan.io_priority {
        process::set_io_priority(priority).step(|| "set process.ioPriority".into())?;
    }
    if let Some(policy) = &plan.memory_policy {
        process::set_memory_policy(policy.mode, &policy.nodes).step(|| "set linux.memoryPolicy".into())?;
    }
    if let Some(persona) = plan.personality {
        process::set_personality(persona).step(|| "set linux.personality".into())?;
    }
    Ok(())
}

/// An empty mask leaves the choice to the kernel.
pub fn run_on(cpus: &[u64], field: &str) -> Result<(), SetupError> {
    if cpus.is_empty() {
        return Ok(());
    }
    process::set_affinity(cpus).step(|| format!("set process.execCPUAffinity.{field}"))
}

/// /proc/self/oom_score_adj; written while /proc is still the host's.
pub fn adjust_oom_score(plan: &ProcessPlan) -> Result<(), SetupError> {
    let Some(score) = plan.oom_score_adj else { return Ok(()) };
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).step(|| format!("set oomScoreAdj to {score}"))
}

/// A label for the next execve; written while /proc is still the host's.
pub fn label_next_exec(plan: &ProcessPlan) -> Result<(), SetupError> {
    if let Some(profile) = plan.apparmor_profile.as_deref().filter(|profile| !profile.is_empty()) {
        if !enabled("/sys/module/apparmor/parameters/enabled") {
            return Err(SetupError::Refused(format!(
                "process.apparmorProfile is {profile:?}, but this kernel has no AppArmor"
            )));
        }
        let text = format!("exec {profile}");
        write_apparmor(Path::new("/proc/self/attr"), &text)
            .step(|| format!("apply the AppArmor profile {profile:?}"))?;
    }
    if let Some(label) = plan.selinux_label.as_deref().filter(|label| !label.is_empty()) {
        if !Path::new("/sys/fs/selinux/enforce").exists() {
            return Err(SetupError::Refused(format!(
                "process.selinuxLabel is {label:?}, but this kernel has no SELinux"
            )));
        }
        std::fs::write("/proc/self/attr/exec", label).step(|| format!("apply the SELinux label {label:?}"))?;
    }
    Ok(())
}

/// Never to attr/exec where there is a file for AppArmor alone: the one may be another module's.
fn write_apparmor(attributes: &Path, text: &str) -> io::Result<()> {
    match std::fs::write(attributes.join("apparmor/exec"), text) {
        Err(error) if forgiven::NO_LABEL_FOLDER.covers(&error) => std::fs::write(attributes.join("exec"), text),
        other => other,
    }
}

fn enabled(parameter: &str) -> bool {
    crate::sys::text::read(parameter).is_ok_and(|text| text.trim() == "Y")
}

/// Whether the user namespace lets its processes set their groups: one made by an ordinary user does not
/// (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Groups {
    /// setgroups(2) may be called there.
    Settable,
    /// It may not, by anybody (`deny` in /proc/PID/setgroups).
    Denied,
}

impl Groups {
    /// Of our own user namespace; asked while /proc is still the host's, since a container's says what the image likes.
    pub fn of_ourselves() -> Result<Groups, SetupError> {
        Groups::of("self")
    }

    /// Of the user namespace of a process that we are about to join; asked while /proc is still the host's.
    pub fn of_process(pidfd: BorrowedFd<'_>) -> Result<Groups, SetupError> {
        let what = || "find the process whose user namespace is to be joined".to_owned();
        let pid = crate::sys::pidfd::pid_of(pidfd).step(what)?.ok_or(io::ErrorKind::NotFound).step(what)?;
        Groups::of(&pid.to_string())
    }

    fn of(process: &str) -> Result<Groups, SetupError> {
        match crate::sys::text::read(format!("/proc/{process}/setgroups")) {
            Ok(text) if text.trim() == "deny" => Ok(Groups::Denied),
            Ok(_) => Ok(Groups::Settable),
            Err(error) if forgiven::NO_SETGROUPS_FILE.covers(&error) => Ok(Groups::Settable),
            Err(error) => Err(error).step(|| format!("read whether process {process} may set its groups")),
        }
    }
}

/// The session keyring of the container: what the caller's holds stays the caller's. Nothing but a new one takes its
/// place, so whatever else the kernel says is an error.
pub fn new_keyring(name: &CStr) -> Result<(), SetupError> {
    let Err(source) = process::new_session_keyring(name) else { return Ok(()) };
    if forgiven::NO_KEYRINGS.covers(&source) && process::has_no_keyrings() {
        return Ok(());
    }
    let hint = match source.raw_os_error() {
        Some(libc::EDQUOT) => "the key quota of the container's root is used up, see /proc/key-users; ",
        Some(libc::EPERM | libc::EACCES) => "a filter or a security module that we run under forbids it; ",
        _ => "",
    };
    let what = format!("join a new session keyring ({hint}with --no-new-keyring the container has the caller's)");
    Err(SetupError::Step { what, source })
}

/// Whether the process is in its working directory already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    Entered,
    /// Only its own user may (NFS).
    StillToEnter,
}

/// Before the user changes, for a folder that only root may enter, and before any filter, which may deny the look at it.
pub fn enter_early(cwd: &Path) -> Result<Cwd, SetupError> {
    match enter_cwd(cwd) {
        Ok(()) => verify_cwd(cwd).map(|()| Cwd::Entered),
        Err(_) => Ok(Cwd::StillToEnter),
    }
}

/// User, groups, capabilities and working directory, in the one order that works.
pub fn become_user(plan: &ProcessPlan, groups: Groups, cwd: Cwd) -> Result<(), SetupError> {
    privilege::limit_bounding_set(plan.capabilities.bounding).step(|| "limit the bounding set".into())?;
    nix::sys::prctl::set_keepcaps(true).step(|| "keep capabilities across the change of user".into())?;
    let additional: Vec<Gid> = plan.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_groups(plan.original_groups, &additional, groups)?;
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    setresgid(gid, gid, gid).step(|| format!("become gid {gid}"))?;
    setresuid(uid, uid, uid).step(|| format!("become uid {uid}"))?;
    nix::sys::prctl::set_keepcaps(false).step(|| "let go of the capabilities of the old user".into())?;
    if plan.securebits != 0 {
        crate::sys::privilege::set_securebits(plan.securebits).step(|| "set the securebits".into())?;
    }
    set_capabilities(&plan.capabilities)?;
    if cwd == Cwd::StillToEnter {
        enter_cwd(&plan.cwd)?;
        verify_cwd(&plan.cwd)?;
    }
    Ok(())
}

/// Before any filter, which may deny even this.
pub fn set_umask(plan: &ProcessPlan) {
    if let Some(umask) = plan.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
}

/// Where it is denied, having none to set is fine: the caller's stay, as in every such namespace. Nobody has changed them
/// on the way here, so that those that are to be kept are the caller's.
fn set_groups(original: OriginalGroups, additional: &[Gid], groups: Groups) -> Result<(), SetupError> {
    if original == OriginalGroups::Kept {
        return Ok(());
    }
    let denied = additional.is_empty() && groups == Groups::Denied;
    match setgroups(additional).map_err(io::Error::from) {
        Err(error) if denied && forgiven::GROUPS_ARE_DENIED.covers(&error) => Ok(()),
        other => other.step(|| format!("set the additional groups {additional:?}")),
    }
}

fn enter_cwd(cwd: &Path) -> Result<(), SetupError> {
    nix::unistd::chdir(cwd).step(|| format!("chdir to cwd {cwd:?}"))
}

/// A folder that is not below the root (a leaked descriptor of the host's) has no path here (CVE-2024-21626).
fn verify_cwd(cwd: &Path) -> Result<(), SetupError> {
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() && !path.starts_with("(unreachable)") => Ok(()),
        // A filter's word; the kernel has none of these for a folder.
        Err(errno @ (nix::Error::EPERM | nix::Error::ENOSYS)) => Err(errno).step(|| {
            format!("see whether cwd {cwd:?} is inside the container (does the seccomp profile deny getcwd?)")
        }),
        _ => Err(SetupError::Refused(format!("cwd {cwd:?} is outside the container's root"))),
    }
}

/// Only what we hold can be given; the rest is left out.
fn set_capabilities(sets: &CapabilitySets) -> Result<(), SetupError> {
    let held = caps::read(None, CapSet::Permitted).map_err(|error| whole_set_error("read the permitted set", error))?;
    let available = |mask: u64| -> CapsHashSet {
        caps::all().into_iter().filter(|c| mask & (1 << c.index()) != 0 && held.contains(c)).collect()
    };
    let permitted = available(sets.permitted);
    let effective = available(sets.effective & sets.permitted);
    let inheritable = available(sets.inheritable);
    // Effective within permitted at every moment, and inheritable while we still may raise it.
    caps::set(None, CapSet::Inheritable, &inheritable)
        .map_err(|error| whole_set_error("set the inheritable capabilities", error))?;
    let now = caps::read(None, CapSet::Effective).map_err(|error| whole_set_error("read the effective set", error))?;
    let still: CapsHashSet = now.intersection(&permitted).copied().collect();
    caps::set(None, CapSet::Effective, &still)
        .map_err(|error| whole_set_error("lower the effective capabilities", error))?;
    caps::set(None, CapSet::Permitted, &permitted)
        .map_err(|error| whole_set_error("set the permitted capabilities", error))?;
    caps::set(None, CapSet::Effective, &effective)
        .map_err(|error| whole_set_error("set the effective capabilities", error))?;
    caps::clear(None, CapSet::Ambient).map_err(|error| whole_set_error("clear the ambient capabilities", error))?;
    for capability in available(sets.ambient & sets.permitted & sets.inheritable) {
        caps::raise(None, CapSet::Ambient, capability)
            .map_err(|error| caps_error("raise ambient", capability, error))?;
    }
    Ok(())
}

fn caps_error(what: &str, capability: Capability, error: caps::errors::CapsError) -> SetupError {
    SetupError::Step { what: format!("{what} {capability}"), source: io::Error::other(error.to_string()) }
}

fn whole_set_error(what: &str, error: caps::errors::CapsError) -> SetupError {
    SetupError::Step { what: what.to_owned(), source: io::Error::other(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_goes_to_the_file_that_is_apparmors_alone_or_else_is_an_error() {
        let attributes = tempfile::tempdir().unwrap();
        let of_all = attributes.path().join("exec");
        write_apparmor(attributes.path(), "exec one").unwrap();
        assert_eq!(std::fs::read_to_string(&of_all).unwrap(), "exec one");
        // It is there and cannot be written to.
        std::fs::create_dir_all(attributes.path().join("apparmor/exec")).unwrap();
        assert!(write_apparmor(attributes.path(), "exec two").is_err());
        assert_eq!(std::fs::read_to_string(&of_all).unwrap(), "exec one");
    }

    #[test]
    fn whether_groups_may_be_set_is_known_or_an_error() {
        assert!(Groups::of("self").is_ok());
        assert_eq!(Groups::of("no-such-process").unwrap(), Groups::Settable);
        assert!(Groups::of("self/status").is_err(), "a file that cannot be looked below");
    }
}
