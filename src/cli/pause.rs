//! `pause` and `resume`.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done};
use crate::host::running::Changing;
use crate::model::{ChangeRequest, Id};

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn pause(context: &Context, arguments: &Arguments) -> Answer {
    change(context, &arguments.id, ChangeRequest::Pause)
}

pub fn resume(context: &Context, arguments: &Arguments) -> Answer {
    change(context, &arguments.id, ChangeRequest::Resume)
}

fn change(context: &Context, id: &str, request: ChangeRequest) -> Answer {
    let id = Id::parse(id)?;
    let root = context.root_of(&id)?;
    let held = context.hold(&root, &id)?;
    let (folder, snapshot) = (held.folder().try_clone()?, held.snapshot().clone());
    let mut held = held.change(&id, request, &mut Changing::of(&folder, &snapshot))?;
    context.tell_notices(&mut held);
    Ok(Done::Well)
}
