//! `delete`: a stopped sandbox goes, or with --force any.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::host::delete;
use crate::model::Id;
use crate::store::Root;

#[derive(Args)]
pub struct Arguments {
    /// Kill it first if it runs; one that does not exist is a success
    #[arg(short, long)]
    force: bool,
    /// Not supported
    #[arg(short, long, hide = true)]
    regex: bool,
    /// The ids; every one is tried, and each failure reported
    #[arg(required = true)]
    ids: Vec<String>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    super::unsupported::refuse_regex("delete", arguments.regex)?;
    let root = context.open_root()?;
    let mut failures = Vec::new();
    for id in &arguments.ids {
        if let Err(failure) = one(context, root.as_ref(), id, arguments.force) {
            failures.push(failure);
        }
    }
    let last = failures.pop();
    for failure in failures {
        context.log.error(&failure);
    }
    last.map_or(Ok(Done::Well), Err)
}

fn one(context: &Context, root: Option<&Root>, id: &str, forced: bool) -> Result<(), Failure> {
    let id = Id::parse(id)?;
    match (root, forced) {
        (None, true) => Ok(()),
        (None, false) => Err(Failure::does_not_exist(&id)),
        (Some(root), true) => Ok(delete::force(root, &id, &context.log)?),
        (Some(root), false) => Ok(delete::stopped(root, &id, &context.log)?),
    }
}
