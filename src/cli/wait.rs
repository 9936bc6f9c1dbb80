//! `wait`: the exit code of a sandbox's application, now or when it ends; again and again, also after the end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::look::{self, Seen};
use super::time;
use crate::control::{Client, ControlError};
use crate::engine;
use crate::host::probe;
use crate::model::record::Exit;
use crate::model::{Id, Phase};
use crate::sys::pidfd;

/// How long a supervisor that hung up is watched before it is asked again.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);

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

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let exit = match arguments.pid {
        Some(pid) => of_process(context, &arguments.id, pid)?,
        None => of_sandbox(context, &arguments.id)?,
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
    Ok(0)
}

fn of_sandbox(context: &Context, id: &str) -> Result<Exit, Failure> {
    loop {
        let (id, seen) = look::at(context, id)?;
        if let Some(exit) = known_exit(&seen) {
            return Ok(exit);
        }
        let asked = Client::connect(seen.folder.dir(), None).and_then(|mut client| client.wait(&id, None));
        match asked {
            Ok(exited) => return Ok(exited.exit()),
            // The end came between the look and the call: it is on disk, or will be inferred.
            Err(ControlError::Gone | ControlError::Transport { .. }) => {
                let (_, seen) = look::at(context, id.as_str())?;
                match known_exit(&seen) {
                    Some(exit) => return Ok(exit),
                    None if !seen.facts.supervisor_alive => return Ok(engine::inferred(engine::now())),
                    None => let_it_go(&seen)?,
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A supervisor that does not answer any more and is not gone yet either: its end is waited for, but not for long, since
/// it may as well answer again.
fn let_it_go(seen: &Seen) -> Result<(), Failure> {
    let Some(snapshot) = &seen.snapshot else { return Ok(()) };
    if let Some(supervisor) = probe::open_if_alive(&snapshot.sandbox.supervisor, &snapshot.sandbox.boot)? {
        pidfd::wait_exit(supervisor.as_fd(), Some(Instant::now() + BETWEEN_ATTEMPTS))?;
    }
    Ok(())
}

fn known_exit(seen: &Seen) -> Option<Exit> {
    seen.state().filter(|state| state.phase == Phase::Stopped)?.exit
}

/// `pid` as the host sees it; the supervisor knows it by the number in the sandbox.
fn of_process(context: &Context, id: &str, pid: i32) -> Result<Exit, Failure> {
    let (id, seen): (Id, Seen) = look::at(context, id)?;
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
