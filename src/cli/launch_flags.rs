//! What create and run have in common, and what of it exec has, too.

use std::path::{Path, PathBuf};

use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::log::Level;
use crate::host::console::Console;
use crate::host::create::Newborn;
use crate::host::launch::attend::TerminalTo;
use crate::host::request::{Asked, Lifetime, NoticesTo, Request};
use crate::host::rootless::Ids;
use crate::model::Id;
use crate::model::record::Reaper;
use crate::spec::plan::{Plan, RootSwitch};
use crate::spec::{Further, Loaded};

#[derive(Args)]
pub struct LaunchArguments {
    /// The folder that holds config.json
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Read this file instead of the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Send the master of the container's terminal to whoever listens here
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Write the application's pid here, last; the caller then has to reap it
    #[arg(long, value_name = "PATH")]
    pub pid_file: Option<PathBuf>,
    /// Send the pidfd of the application's init to whoever listens here
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// For a host that runs from its initial ramdisk: cover its root instead of leaving it
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Hand this many more descriptors, from 3 on, to the application
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

impl LaunchArguments {
    /// Whoever asks for a pid file gets a process it can wait for.
    pub fn reaper(&self) -> Reaper {
        if self.pid_file.is_some() { Reaper::Caller } else { Reaper::Supervisor }
    }

    /// A checked request for a container of the bundle.
    pub fn request(&self, context: &Context, id: &str, reaper: Reaper, lifetime: Lifetime) -> Result<Request, Failure> {
        let id = Id::parse(id)?;
        let loaded = crate::spec::load_from(&self.bundle, self.config.as_deref())?;
        let asked = Asked {
            preserve_fds: self.preserve_fds,
            pidfd_socket: self.pidfd_socket.clone(),
            new_keyring: !self.no_new_keyring,
            notices: NoticesTo::Caller,
            further: Further {
                switch: if self.no_pivot { RootSwitch::Cover } else { RootSwitch::Pivot },
                ..Further::default()
            },
            ..plain(context, id, reaper, lifetime)?
        };
        check(context, loaded, asked)
    }
}

/// For a configuration that is not in a file, of whose process nobody outside is told. `ids`: of an ordinary user's
/// namespace.
pub fn attached_request(
    context: &Context,
    id: &str,
    loaded: Loaded,
    ids: Ids,
    further: Further,
) -> Result<Request, Failure> {
    let asked =
        Asked { ids: Some(ids), further, ..plain(context, Id::parse(id)?, Reaper::Caller, Lifetime::Attached)? };
    check(context, loaded, asked)
}

fn plain(context: &Context, id: Id, reaper: Reaper, lifetime: Lifetime) -> Result<Asked, Failure> {
    Ok(Asked {
        id,
        reaper,
        lifetime,
        cgroup_driver: context.driver,
        preserve_fds: 0,
        pidfd_socket: None,
        new_keyring: true,
        notices: NoticesTo::Nobody,
        ids: None,
        further: Further::default(),
        log: context.log.open()?,
        debug: context.log.level == Level::Debug,
    })
}

fn check(context: &Context, loaded: Loaded, asked: Asked) -> Result<Request, Failure> {
    let request = Request::check(loaded, asked)?;
    request.warnings.iter().for_each(|warning| context.log.warn(warning));
    request.remarks.iter().for_each(|remark| context.log.debug(remark));
    Ok(request)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Detached,
    Foreground,
}

/// Where the terminal goes, if the plan has one.
pub fn terminal_for(plan: &Plan, socket: Option<&Path>, mode: Mode) -> Result<TerminalTo, Failure> {
    let wanted = plan.process.as_ref().is_some_and(|process| process.terminal);
    terminal(wanted, socket, mode)
}

pub fn terminal(wanted: bool, socket: Option<&Path>, mode: Mode) -> Result<TerminalTo, Failure> {
    match (wanted, socket, mode) {
        (false, None, _) => Ok(TerminalTo::Nowhere),
        (false, Some(_), _) => Err(Failure::new(
            "--console-socket is given, but the process has no terminal: set process.terminal, or use exec --tty",
        )),
        (true, Some(path), Mode::Detached) => Ok(TerminalTo::Socket(Console::connect(path)?)),
        (true, None, Mode::Detached) => Err(Failure::new(
            "the container wants a terminal (process.terminal): give --console-socket, or set it to false",
        )),
        (true, None, Mode::Foreground) => Ok(TerminalTo::Us),
        (true, Some(_), Mode::Foreground) => {
            Err(Failure::new("--console-socket needs --detach: in the foreground the terminal is this one"))
        }
    }
}

/// For `--debug`.
pub fn tell_processes(context: &Context, id: &Id, newborn: &Newborn) {
    let (supervisor, init) = (newborn.supervisor.pid, newborn.init.pid);
    context.log.debug(&format!("container {:?}: supervisor {supervisor}, init {init}", id.as_str()));
}
