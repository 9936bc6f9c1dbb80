//! `start`: the application of a created sandbox begins.

use std::os::fd::AsFd;

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::{hold, state};
use crate::container::hooks;
use crate::control::Client;
use crate::engine::{EngineError, Held, Pace};
use crate::host::HostError;
use crate::host::frozen;
use crate::host::running::Release;
use crate::model::record::Snapshot;
use crate::model::{Event, Id};
use crate::spec::plan::{HookPlan, HooksPlan};

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
    let mut held = release(held, &id, None, &hooks)?;
    hold::tell_notices(context, &mut held);
    let snapshot = held.snapshot().clone();
    // The transition is complete: a hook that hangs must not keep `delete` from the sandbox.
    drop(held);
    if let Err(failure) = run_poststart(&hooks.poststart, &snapshot) {
        if let Err(gone) = super::kill::send(context, id.as_str(), libc::SIGKILL) {
            context.log.debug(&format!("nothing was left to kill after a failed poststart hook: {}", gone.text));
        }
        return Err(failure);
    }
    Ok(0)
}

/// The transition itself; `client` is the connection of a creation that goes straight on.
pub fn release<'a>(held: Held<'a>, id: &Id, client: Option<Client>, hooks: &HooksPlan) -> Result<Held<'a>, Failure> {
    let folder = held.folder().dir().try_clone_to_owned()?;
    let pace = Pace::with_hooks(!hooks.start_container.is_empty());
    let mut effects = Release { folder: folder.as_fd(), container: id, client, pace };
    match held.transition(id, Event::StartRequested, &mut effects)? {
        crate::engine::Outcome::Held(mut held) => {
            // What runs next may take its time, and others want the store.
            held.recorder().close();
            Ok(held)
        }
        crate::engine::Outcome::Gone => Err(EngineError::<HostError>::Vanished { id: id.to_string() }.into()),
    }
}

/// A failure here is the end of the container (runtime-spec, "Lifecycle"). To be called without the sandbox's lock.
pub fn run_poststart(poststart: &[HookPlan], snapshot: &Snapshot) -> Result<(), Failure> {
    if poststart.is_empty() {
        return Ok(());
    }
    let document = frozen::state_document(snapshot, "running", state::visible_pid(snapshot)).to_string();
    hooks::run(poststart, "poststart", document.as_bytes())
        .map_err(|error| Failure::new(crate::container::one_line(&error)))
}
