//! `pause` and `resume`.

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::hold;
use crate::engine::Outcome;
use crate::host::running::Freezing;
use crate::model::{Event, Id};

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn pause(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    change(context, &arguments.id, Event::PauseRequested)
}

pub fn resume(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    change(context, &arguments.id, Event::ResumeRequested)
}

fn change(context: &Context, id: &str, event: Event) -> Result<u8, Failure> {
    let id = Id::parse(id)?;
    let Some(root) = context.open_root()? else { return Err(Failure::does_not_exist(id.as_str())) };
    let Some(held) = hold::hold(&root, &id)? else { return Err(Failure::does_not_exist(id.as_str())) };
    // The root container stands for the whole sandbox.
    let snapshot = held.snapshot().clone();
    let mut effects =
        Freezing { containers: snapshot.containers.values().map(|container| &container.cgroup).collect() };
    if let Outcome::Held(mut held) = held.transition(&id, event, &mut effects)? {
        hold::tell_notices(context, &mut held);
    }
    Ok(0)
}
