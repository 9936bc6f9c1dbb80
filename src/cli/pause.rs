//! `pause` and `resume`.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done};
use crate::host::{change, hold};
use crate::model::Id;

#[derive(Args)]
pub struct Arguments {
    /// The id of the sandbox
    id: String,
}

pub fn pause(context: &Context, arguments: &Arguments) -> Answer {
    let id = Id::parse(&arguments.id)?;
    let root = context.root_of(&id)?;
    change::pause(hold::hold(&root, &id)?, &context.log)?;
    Ok(Done::Well)
}

pub fn resume(context: &Context, arguments: &Arguments) -> Answer {
    let id = Id::parse(&arguments.id)?;
    let root = context.root_of(&id)?;
    change::resume(hold::hold(&root, &id)?, &context.log)?;
    Ok(Done::Well)
}
