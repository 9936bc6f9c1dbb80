//! `run`: create, start, wait in the foreground, delete.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::launch_flags::{LaunchArguments, Mode, tell_processes, terminal_for};
use super::start::await_ready;
use crate::host::claim::{self, Made};
use crate::host::create::{Newborn, killed_with_supervisor};
use crate::host::foreground::{self, End, Forwarding, Screen};
use crate::host::launch::Launched;
use crate::host::notify::Notices;
use crate::host::request::{Lifetime, Request};
use crate::host::unreached::Unreached;
use crate::host::{delete, pidfile, start};
use crate::model::record::Reaper;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub launch: LaunchArguments,
    /// Return once the application runs
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the sandbox after its end
    #[arg(long)]
    pub keep: bool,
    /// Accepted for runc's sake
    #[arg(long)]
    pub no_subreaper: bool,
    /// The id of the new sandbox
    pub id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let launch = &arguments.launch;
    let (reaper, lifetime, mode) = if arguments.detach {
        (launch.reaper(), Lifetime::Own, Mode::Detached)
    } else {
        (Reaper::Caller, Lifetime::Attached, Mode::Foreground)
    };
    let request = launch.request(context, &arguments.id, reaper, lifetime)?;
    let ending = if arguments.keep { Ending::Keep } else { Ending::Delete };
    let course = Course {
        mode,
        ending,
        console_socket: launch.console_socket.as_deref(),
        pid_file: launch.pid_file.as_deref(),
        time: None,
        network_hint: None,
    };
    execute(context, &request, &course)
}

/// How a run goes once it is made.
pub struct Course<'a> {
    pub mode: Mode,
    pub ending: Ending,
    pub console_socket: Option<&'a Path>,
    pub pid_file: Option<&'a Path>,
    /// The application is killed when it has run for so long.
    pub time: Option<Duration>,
    /// What to tell the user of an application that failed, and had asked for a network that is not there.
    pub network_hint: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Delete,
    Keep,
}

pub fn execute(context: &Context, request: &Request, course: &Course<'_>) -> Answer {
    let id = &request.options.id;
    let mode = course.mode;
    let terminal = terminal_for(&request.plan, course.console_socket, mode)?;
    let root = context.open_or_make_root()?;
    let made = claim::create(&root, request, terminal, &context.log);
    let Made { held, newborn } = made.map_err(|error| Failure::from(error).or_interrupted())?;
    tell_processes(context, id, &newborn);
    let Newborn { init, supervisor, client, notices, terminal } = newborn;
    let sandbox = held.snapshot().sandbox.clone();
    let signals = if mode == Mode::Foreground { Some(Forwarding::begin()?) } else { None };
    // While it waits: an application may be short.
    let unreached = course.network_hint.zip(Unreached::watch(init.pid));
    let started =
        start::newborn(held, &request.plan.hooks, client, &context.log).map_err(Failure::from).and_then(|started| {
            if let Some(path) = course.pid_file {
                pidfile::write(path, init.pid)?;
            }
            Ok(started)
        });
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            // Before the deletion, which kills whatever still lives.
            let killed = signals.as_ref().and_then(|_| killed_with_supervisor(&init, &supervisor));
            warn_of(context, "delete", delete::force_this(&root, &sandbox, &context.log).map_err(Failure::from));
            return Err(match killed {
                Some(code) => failure.after_application(code),
                None => failure,
            });
        }
    };
    let Some(signals) = signals else {
        await_ready(context, &root, &started)?;
        return Ok(Done::Well);
    };
    let relaying = notices.map(Notices::relay_here);
    let deadline = course.time.and_then(|time| Instant::now().checked_add(time));
    let kept = request.plan.process.as_ref().map_or(&[][..], |process| &process.kept_stdio);
    let outcome = match wait(context, &init, terminal.map(|master| Screen { master, kept }), signals, deadline) {
        Ok(End::Exited(code)) => Ok(Done::Application(code)),
        Ok(End::TimeUp) => {
            delete::force_this(&root, &sandbox, &context.log)?;
            let seconds = course.time.unwrap_or_default().as_secs_f64();
            return Err(Failure::time_up(format!("ended after {seconds} s, as --time says")));
        }
        Err(failure) => Err(failure),
    };
    if let Some(Err(error)) = relaying.map(|relaying| relaying.map(drop)) {
        warn_of(context, "pass on what was said by", Err(error.into()));
    }
    if let Some((hint, unreached)) = unreached
        && matches!(outcome, Ok(Done::Application(1..)))
        && unreached.was_asked_for()
    {
        context.log.warn(hint);
    }
    signals.forget();
    // Whatever fails from here on, the application's exit code is what the caller asked for.
    warn_of(context, "reap the supervisor of", supervisor.reap().map_err(Failure::from));
    if course.ending == Ending::Delete {
        // Somebody may have deleted the sandbox meanwhile.
        warn_of(context, "delete", delete::force_this(&root, &sandbox, &context.log).map_err(Failure::from));
    }
    outcome
}

/// Without its terminal, if that is what fails: the application then sees it hang up, and its code is still to be had.
fn wait(
    context: &Context,
    init: &Launched,
    screen: Option<Screen<'_>>,
    signals: Forwarding,
    deadline: Option<Instant>,
) -> Result<End, Failure> {
    let with_terminal = screen.is_some();
    match foreground::wait(init, screen, signals, deadline) {
        Err(error) if with_terminal => {
            warn_of(context, "go on with the terminal of", Err(error.into()));
            Ok(foreground::wait(init, None, signals, deadline)?)
        }
        other => Ok(other?),
    }
}

fn warn_of(context: &Context, what: &str, outcome: Result<(), Failure>) {
    if let Err(failure) = outcome {
        context.log.warn(&format!("could not {what} the sandbox: {}", failure.text));
    }
}
