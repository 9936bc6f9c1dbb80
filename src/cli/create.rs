//! `create`: from a bundle to a sandbox whose application waits for start.

use std::path::{Path, PathBuf};

use clap::Args;
use oci_spec::runtime::Spec;

use super::context::Context;
use super::failure::Failure;
use super::log::Level;
use super::{hold, look};
use crate::container::init::Listen;
use crate::engine::{self, Held, NewSandbox};
use crate::host::console::{Console, PidfdSocket};
use crate::host::create::{Newborn, Options, Prepared};
use crate::host::launch::{attend::TerminalTo, idmap};
use crate::host::rootless::{self, Ids};
use crate::host::{notify, pidfile};
use crate::model::record::Reaper;
use crate::model::{Denial, Event, Id, Machine, Phase};
use crate::spec;
use crate::spec::plan::{Plan, RootSwitch};
use crate::store::Root;
use crate::sys::interrupt::{self, Kept};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    pub launch: LaunchArguments,
    /// The id of the new sandbox
    pub id: String,
}

/// What create and run have in common.
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

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    // There is no application yet whose exit code could be meant: engines expect 1.
    create(context, arguments).map_err(|failure| failure.with_exit_code(1))
}

fn create(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let launch = &arguments.launch;
    let request = Request::load(context, launch, &arguments.id, reaper_for(launch), Lifetime::Own)?;
    let terminal = terminal_for(&request.plan, launch.console_socket.as_deref(), Mode::Detached)?;
    let root = context.open_or_make_root()?;
    let (mut held, newborn) = request.create(context, &root, terminal)?;
    hold::tell_notices(context, &mut held);
    tell_processes(context, &request.options.id, &newborn);
    if let Some(path) = &launch.pid_file
        && let Err(error) = pidfile::write(path, newborn.init.pid)
    {
        drop(held);
        if let Err(failure) = super::delete::force(context, &root, &request.options.id) {
            context.log.warn(&format!("could not delete the sandbox: {}", failure.text));
        }
        return Err(error.into());
    }
    Ok(0)
}

/// For `--debug`.
pub fn tell_processes(context: &Context, id: &Id, newborn: &Newborn) {
    let (supervisor, init) = (newborn.supervisor.pid, newborn.init.pid);
    context.log.debug(&format!("container {:?}: supervisor {supervisor}, init {init}", id.as_str()));
}

/// Whoever asks for a pid file gets a process it can wait for.
pub fn reaper_for(launch: &LaunchArguments) -> Reaper {
    if launch.pid_file.is_some() { Reaper::Caller } else { Reaper::Supervisor }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It outlives this command.
    Own,
    /// It dies with this command.
    Attached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Detached,
    Foreground,
}

/// A checked request: everything that can be wrong with the input has been said before anything is made.
pub struct Request {
    pub plan: Plan,
    pub options: Options,
}

impl Request {
    pub fn load(
        context: &Context,
        launch: &LaunchArguments,
        id: &str,
        reaper: Reaper,
        lifetime: Lifetime,
    ) -> Result<Request, Failure> {
        Id::parse(id)?;
        let loaded = spec::load_from(&launch.bundle, launch.config.as_deref())?;
        let mut request = Request::checked(loaded, launch, context, id, reaper, lifetime, None)?;
        if !notify::is_given(&request.plan) {
            request.options.service_manager = notify::of_caller();
        }
        Ok(request)
    }

    /// The same for a configuration that is not in a file. `ids`: of an ordinary user's namespace; None: as it asks for.
    pub fn checked(
        loaded: spec::Loaded,
        launch: &LaunchArguments,
        context: &Context,
        id: &str,
        reaper: Reaper,
        lifetime: Lifetime,
        ids: Option<Ids>,
    ) -> Result<Request, Failure> {
        let id = Id::parse(id)?;
        if rootless::needed() {
            // What is wrong with the configuration is said before anything is done about it.
            let (plan, _) = spec::plan(&loaded.spec, &loaded.bundle, &spec::Host::here())?;
            let ids = ids.unwrap_or_else(|| rootless::ids_for(&plan));
            if let Some(told) = rootless::enter_own_namespaces(ids)? {
                context.log.warn(&told);
            }
        }
        let listen = listen();
        let preserve_fds = preserved(launch.preserve_fds, listen.as_ref().map_or(0, |listen| listen.count))?;
        crate::host::preserved::check(preserve_fds)?;
        let (mut plan, warnings) = spec::plan(&loaded.spec, &loaded.bundle, &spec::Host::here())?;
        idmap::complete(&mut plan)?;
        if launch.no_pivot {
            plan.rootfs.switch = RootSwitch::Cover;
            plan.process.as_ref().map_or(Ok(()), spec::check_covered)?;
        }
        for warning in loaded.warnings.into_iter().chain(warnings) {
            context.log.debug(&warning);
        }
        let options = Options {
            id,
            bundle: loaded.bundle,
            spec_bytes: loaded.bytes,
            spec_digest: loaded.digest,
            reaper,
            attached: lifetime == Lifetime::Attached,
            cgroup_driver: context.driver,
            preserve_fds,
            pidfd_socket: pidfd_socket(launch, &loaded.spec)?,
            listen,
            service_manager: None,
            new_keyring: !launch.no_new_keyring,
            created: engine::now(),
            log: context.log.open()?,
            debug: context.log.level == Level::Debug,
        };
        Ok(Request { plan, options })
    }

    /// Claims the id and launches; on a failure nothing is left.
    pub fn create<'r>(
        &'r self,
        context: &Context,
        root: &'r Root,
        terminal: TerminalTo,
    ) -> Result<(Held<'r>, Newborn), Failure> {
        let id = &self.options.id;
        refuse_taken(root, id)?;
        // Before the first thread of this process. From here on there is something to take back.
        let kept = if self.options.attached { Kept::ForApplication } else { Kept::Ending };
        interrupt::begin(kept)?;
        let (folder, guard) = root.prepare()?;
        let prepared = match Prepared::new(&self.plan, &self.options, &folder, terminal) {
            Ok(prepared) => prepared,
            Err(error) => {
                folder.remove()?;
                // Somebody who took the id meanwhile is a better reason than what he has made.
                refuse_taken(root, id)?;
                return Err(error.into());
            }
        };
        let new = NewSandbox { id: id.clone(), folder, guard, cgroups: prepared.cgroups() };
        let (born, warnings) = match engine::bear(root, new, prepared) {
            Ok((held, adopted)) => {
                let (newborn, warnings) = adopted.settle();
                (Ok((held, newborn)), warnings)
            }
            Err(unborn) => (Err(unborn.why), unborn.warnings),
        };
        for warning in warnings {
            context.log.warn(&warning);
        }
        born.map_err(|error| Failure::from(error).or_interrupted())
    }
}

/// A sandbox of that id stands in the way, unless its deletion is under way, or its creation or deletion was cut short:
/// such a one is waited for, and healed away. Whatever else may have been cut short needs the store to be judged.
fn refuse_taken(root: &Root, id: &Id) -> Result<(), Failure> {
    let Some(seen) = look::find(root, id)? else { return Ok(()) };
    let intent = seen.folder.intent_unlocked()?;
    let leaves = match intent.as_ref().map(|intent| intent.event) {
        Some(Event::CreateRequested | Event::LaunchRequested) => seen.phase() == Phase::Stopped,
        Some(Event::DeleteRequested | Event::ForceDeleteRequested) => true,
        _ => seen.phase() == Phase::Creating,
    };
    let mut from = seen.phase();
    if leaves {
        let Some(held) = hold::hold_without_store(root, id)? else { return Ok(()) };
        from = held.snapshot().state.sandbox.phase;
    }
    let event = Event::CreateRequested;
    Err(Denial { machine: Machine::Sandbox, id: id.to_string(), from, event, sandbox: None }.into())
}

/// Who typed it knows better than who wrote the configuration.
fn pidfd_socket(launch: &LaunchArguments, spec: &Spec) -> Result<Option<PidfdSocket>, Failure> {
    let path = launch.pidfd_socket.clone().or_else(|| spec::pidfd_receiver(spec));
    Ok(path.as_deref().map(PidfdSocket::connect).transpose()?)
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

/// How many descriptors the application gets beside its stdio. Far more than anybody hands on, and few enough to be
/// looked at one by one.
pub fn preserved(asked: u32, listen_fds: u32) -> Result<u32, Failure> {
    const MOST: u32 = 1024;
    asked.checked_add(listen_fds).filter(|count| *count <= MOST).ok_or_else(|| {
        Failure::new(format!("--preserve-fds {asked} and LISTEN_FDS {listen_fds}: together more than {MOST}"))
    })
}

/// sd_listen_fds(3): descriptors that somebody hands to this very process are the application's.
fn listen() -> Option<Listen> {
    let number = |name: &str| std::env::var_os(name)?.to_str()?.parse::<u32>().ok();
    let ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|count| ours && *count > 0)?;
    Some(Listen { count, names: std::env::var_os("LISTEN_FDNAMES") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_that_cannot_all_be_there_are_refused_before_they_are_counted() {
        assert_eq!(preserved(3, 2).ok(), Some(5));
        assert_eq!(preserved(1024, 0).ok(), Some(1024));
        for (asked, listen_fds) in [(1025, 0), (0, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
            assert!(preserved(asked, listen_fds).is_err(), "{asked} and {listen_fds}");
        }
    }
}
