//! `start`: the application of a created sandbox begins.

use std::os::fd::AsFd;

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use crate::host::kept::root_container;
use crate::host::notify::{self, Awaited};
use crate::host::start::{self, Begun};
use crate::host::{hold, wait};
use crate::model::record::Exit;
use crate::model::{Id, Phase};
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
    let begun = start::created(&root, hold::hold(&root, &id)?, &context.log)?;
    await_ready(context, &root, &begun)?;
    Ok(Done::Well)
}

/// Where a service manager waits for that; it is not the application's fault if it cannot be told. One that ends before is
/// for the manager to judge: it was started, and that is what was asked for.
pub fn await_ready(context: &Context, root: &Root, begun: &Begun) -> Result<(), Failure> {
    let Some(manager) = notify::of_caller() else { return Ok(()) };
    let id = &begun.snapshot.sandbox.id;
    let init = root_container(&begun.snapshot).map_or(0, |container| container.init.pid);
    match notify::await_ready(begun.folder.as_fd(), id, init, &manager) {
        Ok(Awaited::Ready) => {}
        Ok(Awaited::Interrupted(signal)) => {
            let text = format!(
                "interrupted by {} before {:?} was ready (NOTIFY_SOCKET); the container runs on",
                interrupt::name_of(signal),
                id.as_str()
            );
            return Err(Failure::interrupted(text, signal));
        }
        Ok(Awaited::Ended(exit)) => context.log.warn(&never_ready(root, id, exit)),
        Err(error) => context.log.debug(&format!(
            "the service manager was not told that {:?} is ready: {}",
            id.as_str(),
            told::on_one_line(&error)
        )),
    }
    Ok(())
}

fn never_ready(root: &Root, id: &Id, exit: Option<Exit>) -> String {
    let name = id.as_str();
    let (phase, exit) = match exit {
        Some(exit) => (Phase::Stopped, Some(exit)),
        // Its supervisor did not live to tell.
        None => match wait::seen_without_answer(root, id) {
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
