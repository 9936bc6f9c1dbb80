//! `ps`: the processes in a sandbox's cgroup, with the host's pids.

use std::process::Command;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::format::Format;
use super::{kill, look};
use crate::cgroup;
use crate::host::frozen::root_container;
use crate::model::Phase;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// The id of the sandbox
    id: String,
    /// What ps(1) is called with [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    ps: Vec<String>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let (id, seen) = look::at(context, &arguments.id)?;
    let snapshot = seen.snapshot.as_ref().filter(|_| seen.phase().is_alive() || seen.phase() == Phase::Stopped);
    let Some(snapshot) = snapshot else {
        let text = format!("cannot list the processes of container {:?}: it is being made", id.as_str());
        return Err(Failure::new(text));
    };
    let container = root_container(snapshot).ok_or_else(|| Failure::does_not_exist(id.as_str()))?;
    let mut pids = match seen.phase() {
        // As runc: whoever asks after the end sees what is left, mostly nothing.
        Phase::Stopped => kill::left_over(context, snapshot, &seen.facts)?,
        _ if !cgroup::exists(&container.cgroup)? => in_namespace_of(container.init.pid),
        _ => cgroup::processes(&container.cgroup)?,
    };
    pids.sort_unstable();
    match arguments.format {
        Format::Json => println!("{}", json!(pids)),
        Format::Table => print_table(&pids, &arguments.ps)?,
    }
    Ok(0)
}

/// Without a cgroup, or the privilege to make one: whoever shares the init's PID namespace.
fn in_namespace_of(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(init) else { return Vec::new() };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&wanted)).collect()
}

/// The lines of the host's ps(1) whose PID column is one of ours, as runc does it.
fn print_table(pids: &[i32], options: &[String]) -> Result<(), Failure> {
    let default = ["-ef".to_owned()];
    let options = if options.is_empty() { &default[..] } else { options };
    let output = Command::new("ps")
        .args(options)
        .output()
        .map_err(|error| Failure::new(format!("run ps(1) (package procps; --format json needs none): {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "ps {}: {}",
            options.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("the output of ps has no PID column"))?;
    println!("{title}");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            println!("{line}");
        }
    }
    Ok(())
}
