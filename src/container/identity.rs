//! Who the application is: limits, user and groups, capabilities, working directory.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use serde::{Deserialize, Serialize};

use super::{SetupError, Step};
use crate::spec::plan::{CapabilitySets, ProcessPlan};
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
        std::fs::write("/proc/self/attr/apparmor/exec", &text)
            .or_else(|_| std::fs::write("/proc/self/attr/exec", &text))
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

fn enabled(parameter: &str) -> bool {
    std::fs::read_to_string(parameter).is_ok_and(|text| text.trim() == "Y")
}

/// Whether the user namespace lets its processes set their groups: one made by an ordinary user does not
/// (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Groups {
    Settable,
    Denied,
}

impl Groups {
    /// Of our own user namespace; asked while /proc is still the host's, since a container's says what the image likes.
    pub fn of_ourselves() -> Groups {
        Groups::of("self")
    }

    /// Of the user namespace of a process that we are about to join; asked while /proc is still the host's.
    pub fn of_process(pidfd: BorrowedFd<'_>) -> Groups {
        let about = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
        let pid = about.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.map_or(Groups::Settable, |pid| Groups::of(pid.trim()))
    }

    /// What cannot be read is taken as settable: then a refusal of the kernel is an error.
    fn of(process: &str) -> Groups {
        match std::fs::read_to_string(format!("/proc/{process}/setgroups")) {
            Ok(text) if text.trim() == "deny" => Groups::Denied,
            _ => Groups::Settable,
        }
    }
}

/// User, groups, capabilities and working directory, in the one order that works.
pub fn become_user(plan: &ProcessPlan, groups: Groups) -> Result<(), SetupError> {
    drop_bounding(plan.capabilities.bounding)?;
    // Before the user changes, for a folder that only root may enter; else afterwards, for one that root may not (NFS).
    let entered = enter_cwd(&plan.cwd).is_ok();
    nix::sys::prctl::set_keepcaps(true).step(|| "keep capabilities across the change of user".into())?;
    let additional: Vec<Gid> = plan.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_groups(&additional, groups)?;
    let (uid, gid) = (Uid::from_raw(plan.uid), Gid::from_raw(plan.gid));
    setresgid(gid, gid, gid).step(|| format!("become gid {gid}"))?;
    setresuid(uid, uid, uid).step(|| format!("become uid {uid}"))?;
    nix::sys::prctl::set_keepcaps(false).step(|| "let go of the capabilities of the old user".into())?;
    set_capabilities(&plan.capabilities)?;
    if !entered {
        enter_cwd(&plan.cwd)?;
    }
    verify_cwd(&plan.cwd)?;
    if let Some(umask) = plan.umask {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    }
    Ok(())
}

/// Where it is denied, having none to set is fine: the caller's stay, as in every such namespace.
fn set_groups(additional: &[Gid], groups: Groups) -> Result<(), SetupError> {
    match setgroups(additional) {
        Err(nix::Error::EPERM) if additional.is_empty() && groups == Groups::Denied => Ok(()),
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
        _ => Err(SetupError::Refused(format!("cwd {cwd:?} is outside the container's root"))),
    }
}

fn drop_bounding(keep: u64) -> Result<(), SetupError> {
    for capability in caps::all() {
        if keep & (1 << capability.index()) != 0 {
            continue;
        }
        match caps::drop(None, CapSet::Bounding, capability) {
            Ok(()) => {}
            // This kernel does not know it, so nobody has it.
            Err(_) if !caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) => {}
            Err(error) => return Err(caps_error("drop from the bounding set", capability, error)),
        }
    }
    Ok(())
}

/// Only what we hold can be given: anything else is a clear error, not a silent loss.
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
    let still: CapsHashSet =
        caps::read(None, CapSet::Effective).unwrap_or_default().intersection(&permitted).copied().collect();
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
