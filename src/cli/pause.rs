//! `pause` and `resume`.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done};
use crate::engine::Outcome;
use crate::host::running::Freezing;
use crate::model::{Event, Id};

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn pause(context: &Context, arguments: &Arguments) -> Answer {
    change(context, &arguments.id, Event::PauseRequested)
}

pub fn resume(context: &Context, arguments: &Arguments) -> Answer {
    change(context, &arguments.id, Event::ResumeRequested)
}

fn change(context: &Context, id: &str, event: Event) -> Answer {
    let id = Id::parse(id)?;
    let root = context.root_of(&id)?;
    let held = context.hold(&root, &id)?;
    // The root container stands for the whole sandbox.
    let snapshot = held.snapshot().clone();
    let mut effects =
        Freezing { containers: snapshot.containers.values().map(|container| &container.cgroup).collect() };
    if let Outcome::Held(mut held) = held.transition(&id, event, &mut effects)? {
        context.tell_notices(&mut held);
    }
    Ok(Done::Well)
}
