//! The facts of a sandbox, looked up on this machine.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{HostError, Trying};
use crate::cgroup;
use crate::control::method::ContainerStatus;
use crate::control::{Client, ControlError};
use crate::engine::{Depth, Facts, Probe};
use crate::model::Phase;
use crate::model::record::{Boot, ContainerRecord, PidNamespace, ProcessRef, Snapshot};
use crate::store::Folder;
use crate::sys::patience;
use crate::sys::{pidfd, procfs};

const END_SLICE: Duration = Duration::from_millis(10);

/// By /proc, cgroups, the exits file and, for [`Depth::Deep`], the supervisor's own word.
pub struct Prober;

impl Probe for Prober {
    fn facts(&self, folder: &Folder, snapshot: &Snapshot, depth: Depth) -> Facts {
        let boot = &snapshot.sandbox.boot;
        let mut facts =
            Facts { supervisor_alive: procfs::is_alive(&snapshot.sandbox.supervisor, boot), ..Facts::default() };
        for (id, container) in &snapshot.containers {
            facts.inits.insert(id.clone(), procfs::is_alive(&container.init, boot));
            if depth != Depth::Shallow
                && let Ok(frozen) = cgroup::is_frozen(&container.cgroup)
            {
                facts.frozen.insert(id.clone(), frozen);
            }
        }
        if depth == Depth::Deep
            && let Ok(Some(limits)) = folder.read_limits()
        {
            // Only the root container's can be changed.
            facts.limited.insert(snapshot.sandbox.id.to_string(), limits.seq);
        }
        facts.exits = folder.read_exits().unwrap_or_default();
        if !facts.supervisor_alive {
            see_them_end(snapshot, &mut facts);
        }
        if depth == Depth::Deep {
            facts.released = match (facts.supervisor_alive, snapshot.sandbox.pid_namespace) {
                (true, _) => ask(folder),
                (false, PidNamespace::Foreign) => Some(went_on(snapshot, &facts)),
                (false, PidNamespace::Own) => None,
            };
        }
        if facts.supervisor_alive && unwritten(snapshot, &facts).next().is_some() {
            wait_for_records(folder, snapshot, &facts);
            facts.exits = folder.read_exits().unwrap_or_default();
            facts.supervisor_alive = procfs::is_alive(&snapshot.sandbox.supervisor, boot);
        }
        facts
    }
}

/// Those that end with their supervisor are given the moment that this takes: what the kernel kills with pid 1 of its PID
/// namespace; elsewhere an init that has not been started, which sees the end of its socket. What is frozen cannot end.
fn see_them_end(snapshot: &Snapshot, facts: &mut Facts) {
    let deadline = Instant::now() + patience::THOSE_WHO_END_TOGETHER;
    let boot = &snapshot.sandbox.boot;
    for (id, container) in &snapshot.containers {
        let ends = snapshot.sandbox.pid_namespace == PidNamespace::Own
            || matches!(phase_of(snapshot, id), Some(Phase::Creating | Phase::Booted));
        if !ends || !facts.init_alive(id) {
            continue;
        }
        let frozen = || container.cgroup.freezer.is_some() && cgroup::is_frozen(&container.cgroup).unwrap_or(false);
        let Ok(pidfd) = pidfd::open(container.init.pid) else { continue };
        let mut lives = procfs::is_alive(&container.init, boot);
        while lives && Instant::now() < deadline && !frozen() {
            // A process may be past doing anything before its pidfd says so.
            let slice = (Instant::now() + END_SLICE).min(deadline);
            let ended = pidfd::wait_exit(pidfd.as_fd(), Some(slice)).unwrap_or(true);
            lives = !ended && procfs::is_alive(&container.init, boot);
        }
        facts.inits.insert(id.clone(), lives);
    }
}

/// Which inits have not ended with the one that could have started them: those that it had started. One that is stopped
/// says nothing.
fn went_on(snapshot: &Snapshot, facts: &Facts) -> BTreeMap<String, bool> {
    let runs = |pid: i32| procfs::stat(pid).ok().flatten().is_some_and(|stat| !matches!(stat.state, 'T' | 't'));
    let goes_on = |(id, container): (&String, &ContainerRecord)| {
        let frozen = container.cgroup.freezer.is_some() && cgroup::is_frozen(&container.cgroup).unwrap_or(false);
        (id.clone(), facts.init_alive(id) && !frozen && runs(container.init.pid))
    };
    snapshot.containers.iter().map(goes_on).collect()
}

fn phase_of(snapshot: &Snapshot, id: &str) -> Option<Phase> {
    if id == snapshot.sandbox.id.as_str() {
        return Some(snapshot.state.sandbox.phase);
    }
    snapshot.state.containers.get(id).map(|state| state.phase)
}

/// What the supervisor says of its containers.
pub fn ask_state(folder: &Folder) -> Result<Vec<ContainerStatus>, ControlError> {
    let deadline = Some(Instant::now() + patience::A_WITNESS);
    Client::connect(folder.dir(), deadline)?.state(deadline)
}

fn ask(folder: &Folder) -> Option<BTreeMap<String, bool>> {
    let containers = ask_state(folder).ok()?;
    // A supervisor of an older sandkeep says only whether the application runs.
    let released = |container: &ContainerStatus| container.released || container.started;
    Some(containers.iter().map(|container| (container.cid.clone(), released(container))).collect())
}

/// Containers whose init is dead and whose end is not written down yet.
fn unwritten<'s>(snapshot: &'s Snapshot, facts: &'s Facts) -> impl Iterator<Item = &'s str> {
    let root = snapshot.sandbox.id.as_str();
    snapshot.containers.keys().map(String::as_str).filter(move |id| {
        let state = if *id == root { Some(&snapshot.state.sandbox) } else { snapshot.state.containers.get(*id) };
        state.is_some_and(|state| state.phase.is_alive() || (state.phase == Phase::Stopped && state.exit.is_none()))
            && !facts.inits.get(*id).copied().unwrap_or(false)
            && !facts.exits.iter().any(|record| record.container == *id)
    })
}

/// The supervisor is about to write it down: give it the moment it needs.
fn wait_for_records(folder: &Folder, snapshot: &Snapshot, facts: &Facts) {
    let deadline = Some(Instant::now() + patience::A_WITNESS);
    let Ok(mut client) = Client::connect(folder.dir(), deadline) else { return };
    for id in unwritten(snapshot, facts) {
        if let Ok(id) = crate::model::Id::parse(id) {
            let _ = client.wait(&id, deadline);
        }
    }
}

/// A pidfd of the process, if it is alive and is the very one of the record.
pub fn open_if_alive(process: &ProcessRef, boot: &Boot) -> Result<Option<OwnedFd>, HostError> {
    let opened = match pidfd::open(process.pid) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::EINVAL)) => return Ok(None),
        other => other.trying(|| format!("open a pidfd of process {}", process.pid))?,
    };
    // Checked after the opening: the number cannot change hands any more.
    if !procfs::is_alive(process, boot) || pidfd::wait_exit(opened.as_fd(), Some(Instant::now())).unwrap_or(false) {
        return Ok(None);
    }
    Ok(Some(opened))
}
