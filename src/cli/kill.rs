//! `kill`: a signal for the application, or with --all for every process of its cgroup.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::look;
use crate::cgroup;
use crate::container::one_line;
use crate::engine::{Facts, Noted, Recorder, pod_of};
use crate::host::kept::root_container;
use crate::host::{self, probe, rootless};
use crate::model::record::{CgroupRecord, ContainerRecord, PidNamespace, SignalAsked, Snapshot};
use crate::model::{Denial, Event, Id, Machine, Phase};
use crate::sys::{pidfd, procfs};

#[derive(Args)]
pub struct Arguments {
    /// Every process of the container
    #[arg(short, long)]
    all: bool,
    /// Not supported
    #[arg(short, long, hide = true)]
    regex: bool,
    /// The id of the sandbox
    id: String,
    /// A number or a name, with or without SIG
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    super::unsupported::refuse_regex("kill", arguments.regex)?;
    let signal = parse_signal(&arguments.signal)?;
    if arguments.all {
        send_to_all(context, &arguments.id, signal)?
    } else {
        send(context, &arguments.id, signal)?
    }
    Ok(0)
}

/// To the application alone, through a pidfd whose process is the very one of the record.
pub fn send(context: &Context, id: &str, signal: i32) -> Result<(), Failure> {
    let (id, seen) = look::at(context, id)?;
    let snapshot = seen.snapshot.as_ref().ok_or_else(|| denied(&id, seen.phase()))?;
    pod_of(snapshot).step(id.as_str(), id.as_str(), Event::SignalRequested)?;
    let container = root_container(snapshot).ok_or_else(|| Failure::does_not_exist(id.as_str()))?;
    let init = probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?;
    let init = init.ok_or_else(|| denied(&id, Phase::Stopped))?;
    let asked = asked(signal);
    noting(context, snapshot, asked, || {
        if rootless::needed() {
            // Without a supervisor the init's own, where whoever made the one around it is root, too.
            let supervisor = probe::open_if_alive(&snapshot.sandbox.supervisor, &snapshot.sandbox.boot)?;
            rootless::join_namespace_of(supervisor.as_ref().unwrap_or(&init).as_fd())?;
        }
        pidfd::send_signal(init.as_fd(), signal).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => denied(&id, Phase::Stopped),
            _ => Failure::new(format!("cannot signal container {:?}: {error}", id.as_str())),
        })
    })?;
    if signal == libc::SIGKILL {
        see_it_end(init.as_fd(), &container.cgroup)?;
    }
    Ok(())
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
    context: &Context,
    snapshot: &Snapshot,
    asked: Option<SignalAsked>,
    send: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let untold = |why: String| context.log.debug(&format!("the journal lacks this signal: {why}"));
    let (Some(asked), Some(root)) = (asked, context.open_root()?) else { return send() };
    let noted = Noted::begin(&root, &snapshot.sandbox).map_err(|error| untold(one_line(&error))).ok().flatten();
    send()?;
    if let Some(noted) = noted {
        let _ = noted.sent(asked).map_err(|error| untold(one_line(&error)));
        Recorder::fold_much(&root, &snapshot.sandbox.id);
    }
    Ok(())
}

/// A killed process may be held: in a frozen v1 cgroup even SIGKILL waits for the thaw, a pause may be under way, and
/// below a small quota it does not come round to ending. Whatever has not ended soon is let go, a bounded number of times.
fn see_it_end(killed: BorrowedFd<'_>, cgroup: &CgroupRecord) -> Result<(), Failure> {
    const SOON: Duration = Duration::from_millis(10);
    for _ in 0..20 {
        if cgroup.folders.is_empty() || pidfd::wait_exit(killed, Some(Instant::now() + SOON))? {
            break;
        }
        cgroup::let_end(cgroup)?;
    }
    Ok(())
}

/// Also when the application itself is gone: what it left in its cgroup is meant, and nothing else that is there now.
fn send_to_all(context: &Context, id: &str, signal: i32) -> Result<(), Failure> {
    let (id, seen) = look::at(context, id)?;
    let snapshot = seen.snapshot.as_ref().ok_or_else(|| denied(&id, seen.phase()))?;
    let container = root_container(snapshot).ok_or_else(|| Failure::does_not_exist(id.as_str()))?;
    if container.cgroup.folders.is_empty() {
        return send(context, id.as_str(), signal);
    }
    if let Err(denial) = pod_of(snapshot).step(id.as_str(), id.as_str(), Event::SignalRequested) {
        if denial.from != Phase::Stopped {
            return Err(denial.into());
        }
        // Engines ask for this once the application has ended: that nothing is left is what they want.
        if cgroup::processes(&container.cgroup)?.is_empty() {
            return Ok(());
        }
        if leftovers(context, snapshot, &seen.facts)? == Leftovers::Strangers {
            return Err(denial.into());
        }
    }
    // Without the privilege to make cgroups there are none; when the init dies, the supervisor ends all others.
    if !cgroup::exists(&container.cgroup)? {
        return send(context, id.as_str(), signal);
    }
    noting(context, snapshot, asked(signal), || signal_all(snapshot, container, signal))
}

fn signal_all(snapshot: &Snapshot, container: &ContainerRecord, signal: i32) -> Result<(), Failure> {
    if signal != libc::SIGKILL {
        cgroup::signal_all(&container.cgroup, signal)?;
        return Ok(());
    }
    let deadline = host::kill::deadline();
    let init = probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?;
    // First, so that its exit code says what happened, and not what it made of the end of its children. It may not be ours
    // to signal: then it is killed with the others, or nobody is.
    if let Some(init) = &init {
        let _ = pidfd::send_signal(init.as_fd(), signal);
    }
    cgroup::kill_and_wait(&container.cgroup, deadline)?;
    // It is listed no more shortly before it has ended, and it may have moved to a cgroup that is not ours.
    if let Some(init) = init
        && !pidfd::wait_exit(init.as_fd(), Some(deadline))?
    {
        let id = container.id.as_str();
        return Err(Failure::new(format!("container {id:?} was killed, and its process has not ended yet")));
    }
    Ok(())
}

/// The processes that a sandbox which has ended left in its cgroup.
pub fn left_over(context: &Context, snapshot: &Snapshot, facts: &Facts) -> Result<Vec<i32>, Failure> {
    let Some(container) = root_container(snapshot) else { return Ok(Vec::new()) };
    match leftovers(context, snapshot, facts)? {
        Leftovers::Ours => Ok(cgroup::processes(&container.cgroup)?),
        Leftovers::Strangers => Ok(Vec::new()),
    }
}

/// Whose processes can be in the cgroup of a sandbox that has ended?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftovers {
    Ours,
    /// The cgroup's name is somebody else's by now.
    Strangers,
}

fn leftovers(context: &Context, snapshot: &Snapshot, facts: &Facts) -> Result<Leftovers, Failure> {
    if facts.supervisor_alive {
        return Ok(Leftovers::Ours);
    }
    // In a PID namespace of its own nothing outlives the supervisor, and nowhere does anything outlive the machine.
    let sandbox = &snapshot.sandbox;
    let outlives = sandbox.pid_namespace == PidNamespace::Foreign && procfs::boot_id()? == sandbox.boot.boot_id;
    if !outlives || is_taken_over(context, snapshot)? {
        return Ok(Leftovers::Strangers);
    }
    Ok(Leftovers::Ours)
}

/// Whether another sandbox that has not ended is in the same cgroup: a name is free once nothing is left in it.
fn is_taken_over(context: &Context, ours: &Snapshot) -> Result<bool, Failure> {
    let folders = |snapshot: &Snapshot| -> Vec<PathBuf> {
        snapshot.containers.values().flat_map(|container| container.cgroup.folders.clone()).collect()
    };
    let (Some(root), here) = (context.open_root()?, folders(ours)) else { return Ok(false) };
    // One that cannot be read is nobody's that we know of.
    let others = look::all(&root)?.into_iter().flatten().filter_map(|seen| seen.snapshot);
    Ok(others
        .filter(|other| other.sandbox.incarnation != ours.sandbox.incarnation)
        .filter(|other| other.state.sandbox.phase.is_alive())
        .any(|other| folders(&other).iter().any(|folder| here.contains(folder))))
}

fn denied(id: &Id, from: Phase) -> Failure {
    let event = Event::SignalRequested;
    Denial { machine: Machine::Sandbox, id: id.to_string(), from, event, sandbox: None }.into()
}

/// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`.
pub fn parse_signal(text: &str) -> Result<i32, Failure> {
    let unknown = || Failure::new(format!("unknown signal {text:?}: give a number up to 64 or a name like SIGTERM"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(34, offset).ok_or_else(unknown);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(64, offset).ok_or_else(unknown);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().map(|signal| signal as i32).map_err(|_| unknown())
}

/// `SIGTERM`, `SIGRTMIN+3`; what has no name is its number.
pub fn name_of(signal: u8) -> String {
    match i32::from(signal) {
        number @ 34..=64 => format!("SIGRTMIN+{}", number - 34),
        number => nix::sys::signal::Signal::try_from(number).map_or(number.to_string(), |signal| signal.to_string()),
    }
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
    Some(base + offset).filter(|number| (34..=64).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_number_and_by_every_usual_name() {
        for (text, number) in
            [("9", 9), ("0", 0), ("KILL", 9), ("SIGTERM", 15), ("sigusr1", 10), ("RTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(parse_signal(text).ok(), Some(number), "{text}");
        }
        for signal in 1..=64 {
            assert_eq!(parse_signal(&name_of(signal)).ok(), Some(i32::from(signal)));
        }
        assert_eq!((&*name_of(15), &*name_of(37)), ("SIGTERM", "SIGRTMIN+3"));
        for text in ["65", "-1", "", "SIGFOO", "RTMIN+99"] {
            assert!(parse_signal(text).is_err(), "{text:?} was accepted");
        }
    }
}
