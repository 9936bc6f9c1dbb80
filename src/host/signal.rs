//! Signals that somebody asks for: who is meant, and that it is noted. Killing what is to be deleted is `destroy`'s.
//!
//! A crash in between leaves a signal that was sent and that the journal lacks.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::kept::root_container;
use super::look::{self, Seen, denied};
use super::{Failed, HostError, Trying, kill, probe, rootless};
use crate::cgroup;
use crate::engine::taken::{self, Leftovers};
use crate::engine::{EngineError, Facts, Noted, Recorder};
use crate::model::record::{CgroupRecord, ContainerRecord, SignalAsked, Snapshot};
use crate::model::{Event, Id, Phase};
use crate::store::Root;
use crate::sys::patience;
use crate::sys::told;
use crate::sys::{pidfd, procfs};

/// It was sent, or there was nobody left to send it to.
pub struct Sent {
    /// Why the journal lacks it, if it does.
    pub unnoted: Option<String>,
}

/// To the application alone, through a pidfd whose process is the very one of the record.
pub fn send(root: &Root, id: &Id, seen: &Seen, signal: i32) -> Result<Sent, Failed> {
    let snapshot = seen.allowing(id, Event::SignalRequested)?;
    let container = container_of(snapshot)?;
    let has_ended = || denied(id, Phase::Stopped, Event::SignalRequested);
    let init = probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?.ok_or_else(has_ended)?;
    let sent = noting(root, snapshot, signal, || {
        // Without a supervisor the init's own, where whoever made the one around it is root, too.
        rootless::join_sandbox(&snapshot.sandbox, Some(init.as_fd()))?;
        match pidfd::send_signal(init.as_fd(), signal) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Err(has_ended().into()),
            other => Ok(other.trying(|| format!("cannot signal container {:?}", id.as_str()))?),
        }
    })?;
    if signal == libc::SIGKILL {
        see_it_end(init.as_fd(), &container.cgroup)?;
    }
    Ok(sent)
}

/// Also when the application itself is gone: what it left in its cgroup is meant, and nothing else that is there now.
pub fn send_to_all(root: &Root, id: &Id, seen: &Seen, signal: i32) -> Result<Sent, Failed> {
    let denial = seen.allowing(id, Event::SignalRequested).err();
    let Some(snapshot) = &seen.snapshot else { return send(root, id, seen, signal) };
    let container = container_of(snapshot)?;
    if container.cgroup.folders.is_empty() {
        return send(root, id, seen, signal);
    }
    if let Some(denial) = denial {
        if denial.from != Phase::Stopped {
            return Err(denial.into());
        }
        // Callers ask for this once the application has ended: that nothing is left is what they want.
        if cgroup::processes(&container.cgroup).map_err(HostError::from)?.is_empty() {
            return Ok(Sent { unnoted: None });
        }
        if leftovers(root, snapshot, &seen.facts)? == Leftovers::Strangers {
            return Err(denial.into());
        }
    }
    // Without the privilege to make cgroups there are none; when the init dies, the supervisor ends all others.
    if !cgroup::exists(&container.cgroup).map_err(HostError::from)? {
        return send(root, id, seen, signal);
    }
    noting(root, snapshot, signal, || Ok(signal_all(snapshot, container, signal)?))
}

/// The processes that a sandbox which has ended left in its cgroup.
pub fn left_over(root: &Root, snapshot: &Snapshot, facts: &Facts) -> Result<Vec<i32>, Failed> {
    let container = container_of(snapshot)?;
    match leftovers(root, snapshot, facts)? {
        Leftovers::Ours => Ok(cgroup::processes(&container.cgroup).map_err(HostError::from)?),
        Leftovers::Strangers => Ok(Vec::new()),
    }
}

/// Who asks for this signal, for the journal; none for 0, which signals nobody.
pub fn asked(signal: i32) -> Option<SignalAsked> {
    let number = u8::try_from(signal).ok().filter(|number| *number > 0)?;
    let caller = nix::unistd::getppid().as_raw();
    let program = procfs::stat(caller).ok().flatten().map(|stat| stat.comm).unwrap_or_default();
    Some(SignalAsked { number, uid: nix::unistd::getuid().as_raw(), caller, program })
}

/// Sends, with an entry in the journal where nothing stands in its way. Nothing keeps the signal from being sent.
fn noting(
    root: &Root,
    snapshot: &Snapshot,
    signal: i32,
    send: impl FnOnce() -> Result<(), Failed>,
) -> Result<Sent, Failed> {
    let Some(asked) = asked(signal) else { return send().map(|()| Sent { unnoted: None }) };
    let noted = Noted::begin(root, &snapshot.sandbox).map_err(|error| told::on_one_line(&error));
    send()?;
    let unnoted = match noted {
        Ok(None) => None,
        Ok(Some(noted)) => {
            let outcome = noted.sent(asked);
            Recorder::fold_much(root, &snapshot.sandbox.id);
            outcome.err().map(|error| told::on_one_line(&error))
        }
        Err(why) => Some(why),
    };
    Ok(Sent { unnoted })
}

/// A killed process may be held: in a frozen v1 cgroup even SIGKILL waits for the thaw, a pause may be under way, and
/// below a small quota it does not come round to ending. Whatever has not ended soon is let go, a bounded number of times.
fn see_it_end(killed: BorrowedFd<'_>, cgroup: &CgroupRecord) -> Result<(), HostError> {
    const SOON: Duration = Duration::from_millis(10);
    let what = || "wait for a killed process".to_owned();
    for _ in 0..20 {
        if cgroup.folders.is_empty() || pidfd::wait_exit(killed, Some(Instant::now() + SOON)).trying(what)? {
            break;
        }
        cgroup::let_end(cgroup)?;
    }
    Ok(())
}

fn signal_all(snapshot: &Snapshot, container: &ContainerRecord, signal: i32) -> Result<(), HostError> {
    if signal != libc::SIGKILL {
        cgroup::signal_all(&container.cgroup, signal)?;
        return Ok(());
    }
    let deadline = kill::deadline();
    let init = probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?;
    // First, so that its exit code says what happened, and not what it made of the end of its children. It may not be ours
    // to signal: then it is killed with the others, or nobody is.
    if let Some(init) = &init {
        let _ = pidfd::send_signal(init.as_fd(), signal);
    }
    cgroup::kill_and_wait(&container.cgroup, deadline)?;
    // It is listed no more shortly before it has ended, and it may have moved to a cgroup that is not ours.
    let Some(init) = init else { return Ok(()) };
    match pidfd::wait_exit(init.as_fd(), Some(deadline)).trying(|| "wait for a killed process".into())? {
        true => Ok(()),
        false => Err(HostError::Timeout {
            what: format!("the end of the killed container {:?}", container.id.as_str()),
            seconds: patience::A_KILLED_PROCESS.as_secs(),
        }),
    }
}

fn leftovers(root: &Root, snapshot: &Snapshot, facts: &Facts) -> Result<Leftovers, Failed> {
    let boot_id = procfs::boot_id().trying(|| "read the boot id".into())?;
    taken::leftovers(snapshot, facts, &boot_id, || {
        // One that cannot be read is nobody's that we know of.
        Ok(look::all(root)?.into_iter().flatten().filter_map(|seen| seen.snapshot).collect())
    })
}

fn container_of(snapshot: &Snapshot) -> Result<&ContainerRecord, Failed> {
    root_container(snapshot).ok_or_else(|| EngineError::Vanished { id: snapshot.sandbox.id.to_string() })
}
