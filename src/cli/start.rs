//! `start`: the application of a created sandbox begins.

use std::os::fd::{AsFd, BorrowedFd};

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::wait;
use crate::control::{Client, ControlError, ErrorCode};
use crate::engine::{EngineError, Held, Pace};
use crate::host::hooks::Ledger;
use crate::host::kept::root_container;
use crate::host::notify::Awaited;
use crate::host::running::{Changing, Start};
use crate::host::{HostError, kept, notify, poststart};
use crate::model::record::{Exit, SandboxRecord, Snapshot};
use crate::model::{ChangeRequest, Id, Phase};
use crate::spec::plan::HooksPlan;
use crate::store::Root;
use crate::sys::interrupt::{self, Blocked};
use crate::sys::told;

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let id = Id::parse(&arguments.id)?;
    if notify::of_caller().is_some() {
        // Before the first thread of this process: it will wait for as long as the container wants.
        interrupt::begin(Blocked::Ending)?;
    }
    let root = context.root_of(&id)?;
    let held = context.hold(&root, &id)?;
    let hooks = kept::load(held.folder(), held.snapshot())?.plan.hooks;
    let poststart = Poststart::of(&held, &hooks)?;
    let sandbox = held.snapshot().sandbox.clone();
    let mut held = release(held, &id, None, &hooks, poststart.as_ref()).map_err(|failure| match failure {
        NotReleased::ByHook(failure) => ended_by_hook(context, &root, &sandbox, failure),
        NotReleased::Else(failure) => failure,
    })?;
    context.tell_notices(&mut held);
    let snapshot = held.snapshot().clone();
    let folder = held.folder().dir().try_clone_to_owned()?;
    // The transition is complete: a hook that hangs must not keep `delete` from the sandbox.
    drop(held);
    if let Some(poststart) = &poststart {
        poststart.run(&snapshot).map_err(|failure| ended_by_hook(context, &root, &sandbox, failure))?;
    }
    await_ready(context, folder.as_fd(), &id, root_container(&snapshot).map_or(0, |container| container.init.pid))?;
    Ok(Done::Well)
}

/// A hook that fails now is the end of the container: it is stopped and destroyed, and its poststop hooks are run
/// (runtime-spec, "Lifecycle", steps 7 and 9). Should we die before that, `recover` does it for poststart hooks.
fn ended_by_hook(context: &Context, root: &Root, sandbox: &SandboxRecord, failure: Failure) -> Failure {
    if let Err(left) = super::delete::force_this(context, root, sandbox) {
        context.log.warn(&format!("could not destroy {:?} after the hook: {}", sandbox.id.as_str(), left.text));
    }
    failure
}

/// Where a service manager waits for that; it is not the application's fault if it cannot be told. One that ends before is
/// for the manager to judge: it was started, and that is what was asked for.
pub fn await_ready(context: &Context, folder: BorrowedFd<'_>, id: &Id, init: i32) -> Result<(), Failure> {
    let Some(manager) = notify::of_caller() else { return Ok(()) };
    match notify::await_ready(folder, id, init, &manager) {
        Ok(Awaited::Ready) => {}
        Ok(Awaited::Interrupted(signal)) => {
            let text = format!(
                "interrupted by {} before {:?} was ready (NOTIFY_SOCKET); the container runs on",
                interrupt::name_of(signal),
                id.as_str()
            );
            return Err(Failure::interrupted(text, signal));
        }
        Ok(Awaited::Ended(exit)) => context.log.warn(&never_ready(context, id, exit)),
        Err(error) => context.log.debug(&format!(
            "the service manager was not told that {:?} is ready: {}",
            id.as_str(),
            told::on_one_line(&error)
        )),
    }
    Ok(())
}

fn never_ready(context: &Context, id: &Id, exit: Option<Exit>) -> String {
    let name = id.as_str();
    let (phase, exit) = match exit {
        Some(exit) => (Phase::Stopped, Some(exit)),
        // Its supervisor did not live to tell.
        None => match wait::seen_without_answer(context, name) {
            Ok(seen) => (seen.phase(), seen.state().and_then(|state| state.exit)),
            Err(_) => (Phase::Absent, None),
        },
    };
    let with = exit.map_or(String::new(), |exit| format!(", with exit code {}", exit.code));
    match phase {
        Phase::Stopped => format!("container {name:?} has ended before it was ready (NOTIFY_SOCKET){with}"),
        Phase::Absent => format!("container {name:?} was deleted before it was ready (NOTIFY_SOCKET)"),
        _ => format!("the supervisor of {name:?} has ended before that was ready (NOTIFY_SOCKET): nobody will be told"),
    }
}

/// The transition itself; `client` is the connection of a creation that goes straight on.
pub fn release<'a>(
    held: Held<'a>,
    id: &Id,
    client: Option<Client>,
    planned: &HooksPlan,
    poststart: Option<&Poststart>,
) -> Result<Held<'a>, NotReleased> {
    let (folder, snapshot) = (held.folder().try_clone().map_err(Failure::from)?, held.snapshot().clone());
    let pace = Pace::with_hooks(!planned.start_container.is_empty());
    let ledger = poststart.map(|poststart| &poststart.0);
    let mut changing = Changing::of(&folder, &snapshot).to_start(Start { client, pace, ledger });
    match held.change(id, ChangeRequest::Start, &mut changing) {
        Err(EngineError::Effect(HostError::Control(
            error @ ControlError::Refused { code: ErrorCode::HookFailed, .. },
        ))) => Err(NotReleased::ByHook(error.into())),
        Err(error) => Err(NotReleased::Else(error.into())),
        Ok(mut held) => {
            // What runs next may take its time, and others want the store.
            held.recorder().close();
            Ok(held)
        }
    }
}

/// Why the application does not run.
pub enum NotReleased {
    /// A startContainer hook failed.
    ByHook(Failure),
    Else(Failure),
}

impl From<Failure> for NotReleased {
    fn from(failure: Failure) -> NotReleased {
        NotReleased::Else(failure)
    }
}

impl From<NotReleased> for Failure {
    fn from(why: NotReleased) -> Failure {
        let (NotReleased::ByHook(failure) | NotReleased::Else(failure)) = why;
        failure
    }
}

/// Poststart hooks that this command will run.
pub struct Poststart(Ledger);

impl Poststart {
    pub fn of(held: &Held<'_>, hooks: &HooksPlan) -> Result<Option<Poststart>, Failure> {
        if hooks.poststart.is_empty() {
            return Ok(None);
        }
        let sandbox = &held.snapshot().sandbox;
        Ok(Ledger::make(held.folder(), &sandbox.id, &sandbox.boot, hooks)?.map(Poststart))
    }

    /// A failure here is the end of the container (runtime-spec, "Lifecycle"). To be called without the sandbox's lock.
    pub fn run(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        Ok(poststart::run(&self.0, snapshot)?)
    }
}
