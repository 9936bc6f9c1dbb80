//! `wait`: the exit code of a sandbox's application, now or when it ends; again and again, also after the end.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::time;
use crate::host::wait;
use crate::model::Id;
use crate::sys::told;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "text")]
    format: Format,
    /// Wait for this process of the sandbox (started with exec --detach) instead; answered once
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    /// The id of the sandbox
    id: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let id = Id::parse(&arguments.id)?;
    let root = context.root_of(&id)?;
    let exit = match arguments.pid {
        Some(pid) if pid <= 0 => return Err(Failure::new(format!("--pid {pid}: a process id is above 0"))),
        Some(pid) => wait::of_process(&root, &id, pid)?,
        None => {
            let exit = wait::of_sandbox(&root, &id)?;
            if let Err(error) = wait::note_end(&root, &id, exit) {
                let (id, why) = (id.as_str(), told::on_one_line(&error));
                context.log.debug(&format!("the end of {id:?} is not in the journal yet: {why}"));
            }
            exit
        }
    };
    if exit.is_unknown() {
        let id = &arguments.id;
        context.log.warn(&format!(
            "the exit status of {id:?} is not known, {} stands for it: another process reaped it, its caller as a rule, \
             and kernels before Linux 6.15 tell the status to nobody else",
            exit.code
        ));
    }
    match arguments.format {
        Format::Text => println!("{}", exit.code),
        Format::Json => println!(
            "{}",
            json!({ "id": arguments.id, "exitCode": exit.code, "signal": exit.signal,
                    "at": time::rfc3339(exit.at), "inferred": exit.inferred })
        ),
    }
    Ok(Done::Well)
}
