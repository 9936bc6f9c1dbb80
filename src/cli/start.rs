//! `start`: the application of a created sandbox begins.

use std::os::fd::{AsFd, BorrowedFd};

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::hold;
use crate::container::one_line;
use crate::control::Client;
use crate::engine::{EngineError, Held, Pace};
use crate::host::frozen::root_container;
use crate::host::hooks::Ledger;
use crate::host::running::Release;
use crate::host::{HostError, frozen, notify, poststart};
use crate::model::record::Snapshot;
use crate::model::{Event, Id};
use crate::spec::plan::HooksPlan;

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let id = Id::parse(&arguments.id)?;
    let Some(root) = context.open_root()? else { return Err(Failure::does_not_exist(id.as_str())) };
    let Some(held) = hold::hold(&root, &id)? else { return Err(Failure::does_not_exist(id.as_str())) };
    let hooks = frozen::load(held.folder(), held.snapshot())?.plan.hooks;
    let poststart = Poststart::of(&held, &hooks)?;
    let mut held = release(held, &id, None, &hooks, poststart.as_ref())?;
    hold::tell_notices(context, &mut held);
    let snapshot = held.snapshot().clone();
    let folder = held.folder().dir().try_clone_to_owned()?;
    // The transition is complete: a hook that hangs must not keep `delete` from the sandbox.
    drop(held);
    if let Some(poststart) = &poststart
        && let Err(failure) = poststart.run(&snapshot)
    {
        if let Err(gone) = super::kill::send(context, id.as_str(), libc::SIGKILL) {
            context.log.debug(&format!("nothing was left to kill after a failed poststart hook: {}", gone.text));
        }
        return Err(failure);
    }
    await_ready(context, folder.as_fd(), &id, root_container(&snapshot).map_or(0, |container| container.init.pid));
    Ok(0)
}

/// Where a service manager waits for that; it is not the application's fault if it cannot be told.
pub fn await_ready(context: &Context, folder: BorrowedFd<'_>, id: &Id, init: i32) {
    let Some(manager) = notify::of_caller() else { return };
    if let Err(error) = notify::await_ready(folder, id, init, &manager) {
        context.log.debug(&format!(
            "the service manager was not told that {:?} is ready: {}",
            id.as_str(),
            one_line(&error)
        ));
    }
}

/// The transition itself; `client` is the connection of a creation that goes straight on.
pub fn release<'a>(
    held: Held<'a>,
    id: &Id,
    client: Option<Client>,
    hooks: &HooksPlan,
    poststart: Option<&Poststart>,
) -> Result<Held<'a>, Failure> {
    let folder = held.folder().dir().try_clone_to_owned()?;
    let pace = Pace::with_hooks(!hooks.start_container.is_empty());
    let mut effects = Release {
        folder: folder.as_fd(),
        container: id,
        client,
        pace,
        ledger: poststart.map(|poststart| &poststart.0),
    };
    match held.transition(id, Event::StartRequested, &mut effects)? {
        crate::engine::Outcome::Held(mut held) => {
            // What runs next may take its time, and others want the store.
            held.recorder().close();
            Ok(held)
        }
        crate::engine::Outcome::Gone => Err(EngineError::<HostError>::Vanished { id: id.to_string() }.into()),
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
