//! `create`: from a bundle to a sandbox whose application waits for start.

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::launch_flags::{LaunchArguments, Mode, tell_processes, terminal_for};
use crate::host::claim::{self, Made};
use crate::host::request::Lifetime;
use crate::host::{delete, pidfile, tell};
use crate::sys::told;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    launch: LaunchArguments,
    /// The id of the new sandbox
    id: String,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let launch = &arguments.launch;
    let request = launch.request(context, &arguments.id, launch.reaper(), Lifetime::Own)?;
    let terminal = terminal_for(&request.plan, launch.console_socket.as_deref(), Mode::Detached)?;
    let root = context.open_or_make_root()?;
    let made = claim::create(&root, &request, terminal, &context.log);
    let Made { mut held, newborn } = made.map_err(|error| Failure::from(error).or_interrupted())?;
    tell::notices(&mut held, &context.log);
    tell_processes(context, &request.options.id, &newborn);
    if let Some(path) = &launch.pid_file
        && let Err(error) = pidfile::write(path, newborn.init.pid)
    {
        drop(held);
        if let Err(left) = delete::force(&root, &request.options.id, &context.log) {
            context.log.warn(&format!("could not delete the sandbox: {}", told::on_one_line(&left)));
        }
        return Err(error.into());
    }
    Ok(Done::Well)
}
