//! The end of an application, and of any process that a supervisor keeps: known already, told by the supervisor, or seen.
//!
//! Changes nothing, but that an end which was seen is noted. A crash leaves nothing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::kept::root_container;
use super::look::{self, Seen};
use super::mend::Mender;
use super::probe::{self, Prober};
use super::{Failed, HostError, Trying};
use crate::control::{Client, ControlError, ErrorCode};
use crate::engine::{self, Depth, Probe};
use crate::model::record::{Boot, Exit, PidNamespace, ProcessRef, Snapshot};
use crate::model::{Id, Phase};
use crate::store::{Folder, Root};
use crate::sys::patience;
use crate::sys::pidfd::{self, Ended};

/// How long a process that somebody waits for is watched before it is asked again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Of the sandbox with this id: its exit, now or when it has ended.
pub fn of_sandbox(root: &Root, id: &Id) -> Result<Exit, HostError> {
    loop {
        let seen = look::one(root, id)?;
        if let Some(exit) = known_exit(&seen) {
            return Ok(exit);
        }
        let asked = Client::connect(seen.folder.dir(), None).map_err(Unheard::Before);
        match asked.and_then(|mut client| client.wait(id, None).map_err(Unheard::Meanwhile)) {
            Ok(exited) => return Ok(exited.exit()),
            Err(unheard) if unheard.is_end() => match look::one(root, id) {
                // A supervisor answers all who wait before it leaves, unless it is killed.
                Err(_) if matches!(unheard, Unheard::Meanwhile(_)) => return Ok(engine::inferred(engine::now())),
                looked => {
                    let seen = looked?;
                    match known_exit(&seen) {
                        // The end came between the look and the call.
                        Some(exit) => return Ok(exit),
                        None if seen.phase() == Phase::Creating => let_its_maker_go_on(&seen)?,
                        None if !seen.facts.supervisor_alive => return without_supervisor(root, id, &seen),
                        None => let_it_go(&seen)?,
                    }
                }
            },
            // Its supervisor is there, and has not been given the container yet.
            Err(Unheard::Meanwhile(ControlError::Refused { code: ErrorCode::NotFound, .. }))
                if seen.phase() == Phase::Creating =>
            {
                let_its_maker_go_on(&seen)?
            }
            // The one that it was given just now does not have it yet, or never will.
            Err(Unheard::Meanwhile(ControlError::Refused { code: ErrorCode::NotFound, .. }))
                if seen.phase().is_alive() =>
            {
                let_it_go(&seen)?
            }
            // So many others wait that it takes on no more of them. It will write the end down all the same.
            Err(Unheard::Before(ref error) | Unheard::Meanwhile(ref error)) if error.is_busy() => {
                if let Some(init) = init_of(&seen)? {
                    see_it_end(init.as_fd(), None)?;
                }
            }
            Err(Unheard::Before(error) | Unheard::Meanwhile(error)) => return Err(error.into()),
        }
    }
}

/// Why a supervisor gave no answer: before it had understood the question, or while it was to answer.
enum Unheard {
    Before(ControlError),
    Meanwhile(ControlError),
}

impl Unheard {
    /// That of the supervisor, or of its connections.
    fn is_end(&self) -> bool {
        let (Unheard::Before(error) | Unheard::Meanwhile(error)) = self;
        matches!(error, ControlError::Gone | ControlError::Transport { .. })
    }
}

/// What is to be seen of a sandbox whose supervisor has hung up: it is given a moment to be gone, and all with it.
pub fn seen_without_answer(root: &Root, id: &Id) -> Result<Seen, HostError> {
    let deadline = Instant::now() + patience::WHOEVER_HUNG_UP;
    loop {
        let seen = look::one(root, id)?;
        if !seen.phase().is_alive() || !seen.facts.supervisor_alive || Instant::now() >= deadline {
            return Ok(seen);
        }
        let_it_go(&seen)?;
    }
}

/// A supervisor that does not answer any more and is not gone yet either: its end is waited for, but not for long, since
/// it may as well answer again.
fn let_it_go(seen: &Seen) -> Result<(), HostError> {
    let Some(snapshot) = &seen.snapshot else { return Ok(()) };
    watch(&snapshot.sandbox.supervisor, &snapshot.sandbox.boot)
}

/// The command that is making the sandbox has a moment to go on with it.
fn let_its_maker_go_on(seen: &Seen) -> Result<(), HostError> {
    match seen.folder.intent_unlocked()? {
        Some(intent) => watch(&intent.holder, &intent.boot),
        None => Ok(()),
    }
}

fn watch(process: &ProcessRef, boot: &Boot) -> Result<(), HostError> {
    if let Some(pidfd) = probe::open_if_alive(process, boot)? {
        see_it_end(pidfd.as_fd(), Some(Instant::now() + BETWEEN_ATTEMPTS))?;
    }
    Ok(())
}

/// The end is waited for by the init's own pidfd. Once somebody has reaped it, the kernel tells how it ended to whoever
/// holds one (Linux 6.15); elsewhere nobody knows.
fn without_supervisor(root: &Root, id: &Id, seen: &Seen) -> Result<Exit, HostError> {
    let namespace = seen.snapshot.as_ref().map_or(PidNamespace::Own, |snapshot| snapshot.sandbox.pid_namespace);
    let nobody_saw = || engine::nobody_saw(namespace, engine::now());
    let Some(init) = init_of(seen)? else { return Ok(nobody_saw()) };
    see_it_end(init.as_fd(), None)?;
    let at = engine::now();
    let deadline = Instant::now() + patience::A_REAPER;
    let status = loop {
        match pidfd::exit_info(init.as_fd()) {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(BETWEEN_LOOKS),
            other => break other.ok().flatten(),
        }
    };
    // One that it was given meanwhile has it on record.
    if let Ok(seen) = look::one(root, id)
        && let Some(exit) = known_exit(&seen).filter(|exit| !exit.inferred)
    {
        return Ok(exit);
    }
    let seen = |status| {
        let Ended { code, signal } = Ended::of(status);
        Exit { code, signal, at, inferred: false }
    };
    Ok(status.map_or_else(nobody_saw, seen))
}

fn init_of(seen: &Seen) -> Result<Option<OwnedFd>, HostError> {
    let Some(snapshot) = &seen.snapshot else { return Ok(None) };
    let Some(container) = root_container(snapshot) else { return Ok(None) };
    probe::open_if_alive(&container.init, &snapshot.sandbox.boot)
}

fn known_exit(seen: &Seen) -> Option<Exit> {
    seen.state().filter(|state| state.phase == Phase::Stopped)?.exit
}

fn see_it_end(pidfd: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<(), HostError> {
    pidfd::wait_exit(pidfd, deadline).map(drop).trying(|| "wait for the end of a process".into())
}

/// Of any process of it that its supervisor keeps; `pid` as the host sees it.
pub fn of_process(root: &Root, id: &Id, pid: i32) -> Result<Exit, HostError> {
    let seen = look::one(root, id)?;
    let mut client = Client::connect(seen.folder.dir(), None)?;
    // The supervisor knows it by the number in the sandbox.
    let inside = client
        .state(None)?
        .into_iter()
        .flat_map(|container| container.pids)
        .find(|process| process.host_pid == pid)
        .map_or(pid, |process| process.pid);
    Ok(client.wait_pid(id, inside, None)?.exit())
}

/// Now that the end was seen. What keeps the journal from having it already is no matter of ours: it will have it.
pub fn note_end(root: &Root, id: &Id, exit: Exit) -> Result<(), Failed> {
    let facts = |folder: &Folder, snapshot: &Snapshot| Prober.facts(folder, snapshot, Depth::Shallow);
    engine::note_ends(root, id, facts, &Mender, Some(exit))
}
