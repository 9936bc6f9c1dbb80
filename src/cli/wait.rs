//! `wait`: the exit code of a sandbox's application, now or when it ends; again and again, also after the end.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::time;
use crate::control::{Client, ControlError, ErrorCode};
use crate::engine::{self, Depth, Probe};
use crate::host::kept::root_container;
use crate::host::look::Seen;
use crate::host::mend::Mender;
use crate::host::probe::{self, Prober};
use crate::model::record::{Boot, Exit, PidNamespace, ProcessRef, Snapshot};
use crate::model::{Id, Phase};
use crate::store::Folder;
use crate::sys::patience;
use crate::sys::pidfd::{self, Ended};
use crate::sys::told;

/// How long a process that somebody waits for is watched before it is asked again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "text")]
    format: Format,
    /// Wait for this process of the sandbox (started with exec --detach) instead; answered once
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// The id of the sandbox
    id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let exit = match arguments.pid {
        Some(pid) => of_process(context, &arguments.id, pid)?,
        None => {
            let exit = of_sandbox(context, &arguments.id)?;
            note_end(context, &arguments.id, exit);
            exit
        }
    };
    if exit.is_unknown() {
        let id = &arguments.id;
        context.log.warn(&format!(
            "the exit status of {id:?} is not known, {} stands for it: another process reaped it, its caller as a rule, \
             and kernels before Linux 6.15 tell the status to nobody else",
            exit.code
        ));
    }
    match arguments.format {
        Format::Text => println!("{}", exit.code),
        Format::Json => println!(
            "{}",
            json!({ "id": arguments.id, "exitCode": exit.code, "signal": exit.signal,
                    "at": time::rfc3339(exit.at), "inferred": exit.inferred })
        ),
    }
    Ok(Done::Well)
}

/// Now that it was seen. What keeps the journal from having it already is no matter of ours: it will have it.
fn note_end(context: &Context, id: &str, exit: Exit) {
    let (Ok(id), Ok(Some(root))) = (Id::parse(id), context.open_root()) else { return };
    let facts = |folder: &Folder, snapshot: &Snapshot| Prober.facts(folder, snapshot, Depth::Shallow);
    if let Err(error) = engine::note_ends(&root, &id, facts, &Mender, Some(exit)) {
        context.log.debug(&format!(
            "the end of {:?} is not in the journal yet: {}",
            id.as_str(),
            told::on_one_line(&error)
        ));
    }
}

fn of_sandbox(context: &Context, id: &str) -> Result<Exit, Failure> {
    loop {
        let (_, id, seen) = context.see(id)?;
        if let Some(exit) = known_exit(&seen) {
            return Ok(exit);
        }
        let asked = Client::connect(seen.folder.dir(), None).map_err(Unheard::Before);
        match asked.and_then(|mut client| client.wait(&id, None).map_err(Unheard::Meanwhile)) {
            Ok(exited) => return Ok(exited.exit()),
            Err(unheard) if unheard.is_end() => match context.see(id.as_str()) {
                // A supervisor answers all who wait before it leaves, unless it is killed.
                Err(_) if matches!(unheard, Unheard::Meanwhile(_)) => return Ok(engine::inferred(engine::now())),
                looked => {
                    let (_, _, seen) = looked?;
                    match known_exit(&seen) {
                        // The end came between the look and the call.
                        Some(exit) => return Ok(exit),
                        None if seen.phase() == Phase::Creating => let_its_maker_go_on(&seen)?,
                        None if !seen.facts.supervisor_alive => return without_supervisor(context, &id, &seen),
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
                    pidfd::wait_exit(init.as_fd(), None)?;
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
pub fn seen_without_answer(context: &Context, id: &str) -> Result<Seen, Failure> {
    let deadline = Instant::now() + patience::WHOEVER_HUNG_UP;
    loop {
        let (_, _, seen) = context.see(id)?;
        if !seen.phase().is_alive() || !seen.facts.supervisor_alive || Instant::now() >= deadline {
            return Ok(seen);
        }
        let_it_go(&seen)?;
    }
}

/// A supervisor that does not answer any more and is not gone yet either: its end is waited for, but not for long, since
/// it may as well answer again.
fn let_it_go(seen: &Seen) -> Result<(), Failure> {
    let Some(snapshot) = &seen.snapshot else { return Ok(()) };
    watch(&snapshot.sandbox.supervisor, &snapshot.sandbox.boot)
}

/// The command that is making the sandbox has a moment to go on with it.
fn let_its_maker_go_on(seen: &Seen) -> Result<(), Failure> {
    match seen.folder.intent_unlocked()? {
        Some(intent) => watch(&intent.holder, &intent.boot),
        None => Ok(()),
    }
}

fn watch(process: &ProcessRef, boot: &Boot) -> Result<(), Failure> {
    if let Some(pidfd) = probe::open_if_alive(process, boot)? {
        pidfd::wait_exit(pidfd.as_fd(), Some(Instant::now() + BETWEEN_ATTEMPTS))?;
    }
    Ok(())
}

/// The end is waited for by the init's own pidfd. Once somebody has reaped it, the kernel tells how it ended to whoever
/// holds one (Linux 6.15); elsewhere nobody knows.
fn without_supervisor(context: &Context, id: &Id, seen: &Seen) -> Result<Exit, Failure> {
    let namespace = seen.snapshot.as_ref().map_or(PidNamespace::Own, |snapshot| snapshot.sandbox.pid_namespace);
    let nobody_saw = || engine::nobody_saw(namespace, engine::now());
    let Some(init) = init_of(seen)? else { return Ok(nobody_saw()) };
    pidfd::wait_exit(init.as_fd(), None)?;
    let at = engine::now();
    let deadline = Instant::now() + patience::A_REAPER;
    let status = loop {
        match pidfd::exit_info(init.as_fd()) {
            Ok(None) if Instant::now() < deadline => std::thread::sleep(BETWEEN_LOOKS),
            other => break other.ok().flatten(),
        }
    };
    // One that it was given meanwhile has it on record.
    if let Ok((_, _, seen)) = context.see(id.as_str())
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

fn init_of(seen: &Seen) -> Result<Option<OwnedFd>, Failure> {
    let Some(snapshot) = &seen.snapshot else { return Ok(None) };
    let Some(container) = root_container(snapshot) else { return Ok(None) };
    Ok(probe::open_if_alive(&container.init, &snapshot.sandbox.boot)?)
}

fn known_exit(seen: &Seen) -> Option<Exit> {
    seen.state().filter(|state| state.phase == Phase::Stopped)?.exit
}

/// `pid` as the host sees it; the supervisor knows it by the number in the sandbox.
fn of_process(context: &Context, id: &str, pid: i32) -> Result<Exit, Failure> {
    let (_, id, seen) = context.see(id)?;
    if pid <= 0 {
        return Err(Failure::new(format!("--pid {pid}: a process id is above 0")));
    }
    let mut client = Client::connect(seen.folder.dir(), None)?;
    let inside = client
        .state(None)?
        .into_iter()
        .flat_map(|container| container.pids)
        .find(|process| process.host_pid == pid)
        .map_or(pid, |process| process.pid);
    Ok(client.wait_pid(&id, inside, None)?.exit())
}
