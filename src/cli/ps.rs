//! `ps`: the processes in a sandbox's cgroup, with the host's pids.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::format::Format;
use crate::cgroup;
use crate::host::kept::root_container;
use crate::host::signal;
use crate::model::Phase;
use crate::sys::patience;
use crate::sys::procfs;
use crate::sys::ready::{self, Readiness};

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

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let (root, id, seen) = context.see(&arguments.id)?;
    let snapshot = seen.snapshot.as_ref().filter(|_| seen.phase().is_alive() || seen.phase() == Phase::Stopped);
    let Some(snapshot) = snapshot else {
        let text = format!("cannot list the processes of container {:?}: it is being made", id.as_str());
        return Err(Failure::new(text));
    };
    let container = root_container(snapshot).ok_or_else(|| Failure::does_not_exist(&id))?;
    let mut pids = match seen.phase() {
        // As runc: whoever asks after the end sees what is left, mostly nothing.
        Phase::Stopped => signal::left_over(&root, snapshot, &seen.facts)?,
        _ if !cgroup::exists(&container.cgroup)? => in_namespace_of(container.init.pid),
        _ => cgroup::processes(&container.cgroup)?,
    };
    pids.sort_unstable();
    match arguments.format {
        Format::Json => println!("{}", json!(pids)),
        Format::Table => print_table(&pids, &arguments.ps)?,
    }
    Ok(Done::Well)
}

/// Without a cgroup, or the privilege to make one: whoever shares the init's PID namespace.
fn in_namespace_of(init: i32) -> Vec<i32> {
    let Some(wanted) = procfs::pid_namespace(init) else { return Vec::new() };
    procfs::pids().into_iter().filter(|pid| procfs::pid_namespace(*pid).as_ref() == Some(&wanted)).collect()
}

/// The lines of the host's ps(1) whose PID column is one of ours, as runc does it. Without options it is asked for ours
/// alone: one that goes through all of /proc runs after the newest process of a fork bomb for ever.
fn print_table(pids: &[i32], options: &[String]) -> Result<(), Failure> {
    let output = match options {
        [] => match call_ps(&of_these(pids)) {
            // Not every ps takes pids: busybox's knows no -p.
            Ok(output) if !output.status.success() => call_ps(&["-ef".to_owned()])?,
            other => other?,
        },
        options => call_ps(options)?,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!("ps {}: {text}", options.join(" "))));
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

/// With ourselves, so that there is always one to find. A single argument has an end (MAX_ARG_STRLEN).
fn of_these(pids: &[i32]) -> Vec<String> {
    let ours = [std::process::id() as i32];
    let all: Vec<String> = ours.iter().chain(pids).map(i32::to_string).collect();
    let lists = all.chunks(1000).flat_map(|some| ["-p".to_owned(), some.join(",")]);
    std::iter::once("-f".to_owned()).chain(lists).collect()
}

fn call_ps(options: &[String]) -> Result<Output, Failure> {
    let failed =
        |error: std::io::Error| Failure::new(format!("run ps(1) (package procps; --format json needs none): {error}"));
    let mut ps = Command::new("ps");
    ps.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ps.spawn().map_err(failed)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let deadline = Instant::now() + patience::PS;
    let read = stdout.as_mut().map_or(Ok(Some(Vec::new())), |from| read_until(from, deadline)).map_err(failed)?;
    let Some(stdout) = read else {
        let _ = child.kill();
        let _ = child.wait();
        let (seconds, what) = (patience::PS.as_secs(), options.join(" "));
        return Err(Failure::new(format!(
            "ps {what} has not come to an end for {seconds} s; --format json needs none"
        )));
    };
    let mut told = Vec::new();
    if let Some(from) = &mut stderr {
        from.read_to_end(&mut told).map_err(failed)?;
    }
    Ok(Output { status: child.wait().map_err(failed)?, stdout, stderr: told })
}

/// None: the deadline has passed.
fn read_until(from: &mut (impl Read + AsFd), deadline: Instant) -> std::io::Result<Option<Vec<u8>>> {
    let mut all = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        if !ready::wait(from.as_fd(), Readiness::Readable, Some(deadline))? || Instant::now() >= deadline {
            return Ok(None);
        }
        match from.read(&mut part)? {
            0 => return Ok(Some(all)),
            length => all.extend_from_slice(&part[..length]),
        }
    }
}
