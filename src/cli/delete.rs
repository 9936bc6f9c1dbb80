//! `delete`: a stopped sandbox goes, or with --force any.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::engine::{Held, Performer, Wreck};
use crate::host::kept::destruction_of;
use crate::host::{hold, signal};
use crate::model::record::SandboxRecord;
use crate::model::{EndRequest, Id};
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
        if let Err(failure) = delete(context, root.as_ref(), id, arguments.force) {
            failures.push(failure);
        }
    }
    let last = failures.pop();
    for failure in failures {
        context.log.error(&failure);
    }
    last.map_or(Ok(Done::Well), Err)
}

fn delete(context: &Context, root: Option<&Root>, id: &str, forced: bool) -> Result<(), Failure> {
    let id = Id::parse(id)?;
    match (root, forced) {
        (None, true) => Ok(()),
        (None, false) => Err(Failure::does_not_exist(id.as_str())),
        (Some(root), true) => force(context, root, &id),
        (Some(root), false) => finish(context, context.hold(root, &id)?, &id, EndRequest::Delete),
    }
}

/// Whatever it is doing. One that does not exist is a success.
pub fn force(context: &Context, root: &Root, id: &Id) -> Result<(), Failure> {
    match seize(context, root, id)? {
        Some(held) => finish(context, held, id, EndRequest::ForceDelete),
        None => Ok(()),
    }
}

/// The same for the very sandbox that was seen: its id may be another's by now, whom nobody meant.
pub fn force_this(context: &Context, root: &Root, seen: &SandboxRecord) -> Result<(), Failure> {
    match seize(context, root, &seen.id)? {
        Some(held) if held.snapshot().sandbox.incarnation == seen.incarnation => {
            finish(context, held, &seen.id, EndRequest::ForceDelete)
        }
        _ => Ok(()),
    }
}

fn seize<'a>(context: &Context, root: &'a Root, id: &Id) -> Result<Option<Held<'a>>, Failure> {
    let killing = |pid| context.log.debug(&format!("killing process {pid}, which holds {:?}", id.as_str()));
    Ok(hold::seize(root, id, killing)?)
}

fn finish(context: &Context, held: Held<'_>, id: &Id, request: EndRequest) -> Result<(), Failure> {
    let wreck = Wreck { folder: held.folder(), snapshot: Some(held.snapshot()), intent: None };
    let mut destruction = destruction_of(&wreck);
    held.destroy(id, request, &mut destruction, signal::asked(libc::SIGKILL))?;
    for warning in destruction.take_warnings() {
        context.log.warn(&warning);
    }
    Ok(())
}
