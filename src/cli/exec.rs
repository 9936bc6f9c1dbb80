//! `exec`: one more process in a sandbox.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::launch_flags::{Mode, terminal};
use crate::host::exec::{self, Started};
use crate::host::execution::{Asked, Execution, IfFrozen, Waits, What};
use crate::host::foreground::{self, End, Screen};
use crate::host::{HostError, pidfile, preserved};
use crate::model::record::Reaper;
use crate::spec::{self, ExecOverrides};

#[derive(Args)]
pub struct Arguments {
    /// Send the master of the process's terminal to whoever listens here
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// Where the process starts
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// NAME=VALUE; may be given again
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<OsString>,
    /// With a terminal
    #[arg(short, long)]
    tty: bool,
    /// UID or UID:GID, in numbers
    #[arg(short, long)]
    user: Option<String>,
    /// May be given again
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// A file with the process as in config.json, or - for stdin
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Return once the process runs
    #[arg(short, long)]
    detach: bool,
    /// Write the process's pid here, last; the caller then has to reap it
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// An SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// An AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    #[arg(long)]
    no_new_privs: bool,
    /// A capability to add; may be given again
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Send the pidfd of the process to whoever listens here
    #[arg(long, value_name = "PATH")]
    pidfd_socket: Option<PathBuf>,
    // Brackets are links in a doc comment.
    #[arg(
        long,
        value_name = "PATH",
        help = "Join this cgroup below the container's, [CONTROLLER[,CONTROLLER]:]PATH; with controllers it may be given again"
    )]
    cgroup: Vec<String>,
    /// Also in a paused or frozen container; the process starts when that is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// The id of the sandbox
    id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    if arguments.process.is_none() && arguments.command.is_empty() {
        return Err(Failure::new("exec needs a program to run: exec ID COMMAND [ARG…], or --process FILE"));
    }
    // Before any descriptor is opened that could be taken for one of the caller's.
    let preserve_fds = preserved::check(arguments.preserve_fds, None).map_err(HostError::from)?;
    let mode = if arguments.detach { Mode::Detached } else { Mode::Foreground };
    let asked = Asked {
        what: what(arguments)?,
        cgroups: arguments.cgroup.clone(),
        // In the foreground we wait ourselves; whoever asks for a pid file gets a process it can wait for.
        reaper: match (mode, &arguments.pid_file) {
            (Mode::Detached, None) => Reaper::Supervisor,
            (Mode::Detached, Some(_)) | (Mode::Foreground, _) => Reaper::Caller,
        },
        preserve_fds,
        pidfd_socket: arguments.pidfd_socket.clone(),
        if_frozen: if arguments.ignore_paused { IfFrozen::Wait } else { IfFrozen::Refuse },
        waits: if mode == Mode::Foreground { Waits::Caller } else { Waits::Nobody },
    };
    let (_, id, seen) = context.see(&arguments.id)?;
    let execution = Execution::check(&id, &seen, asked)?;
    let terminal = terminal(execution.wants_terminal(), arguments.console_socket.as_deref(), mode)?;
    let outcome = exec::run(execution, &terminal);
    let Started { process: launched, terminal, signals } =
        outcome.map_err(|error| Failure::from(error).or_interrupted())?;
    if let Some(path) = &arguments.pid_file
        && let Err(error) = pidfile::write(path, launched.pid)
    {
        launched.abort();
        return Err(error.into());
    }
    context.log.debug(&format!("process {} runs in container {:?}", launched.pid, id.as_str()));
    let Some(signals) = signals else { return Ok(Done::Well) };
    let screen = terminal.map(|master| Screen { master, kept: &[] });
    match foreground::wait(&launched, screen, signals, None)? {
        End::Exited(code) => Ok(Done::Application(code)),
        End::TimeUp => Err(Failure::time_up("the process runs on")),
    }
}

fn what(arguments: &Arguments) -> Result<What, Failure> {
    if let Some(file) = &arguments.process {
        let (process, _) = spec::load_process(file)?;
        return Ok(What::Process(Box::new(process)));
    }
    Ok(What::Command(ExecOverrides {
        args: arguments.command.clone(),
        cwd: arguments.cwd.clone(),
        env: arguments.env.clone(),
        user: arguments.user.clone(),
        additional_gids: arguments.additional_gids.clone(),
        caps: arguments.cap.clone(),
        no_new_privs: arguments.no_new_privs.then_some(true),
        tty: arguments.tty,
        apparmor: arguments.apparmor.clone(),
        process_label: arguments.process_label.clone(),
    }))
}
