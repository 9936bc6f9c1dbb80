//! The supervisor: one process a sandbox, pid 1 of its PID namespace. It launches nothing; it keeps what was launched.
//!
//! ```text
//!   K to start-sync    Create (adopt)      StartRoot         the root's init ends
//!  ───────────────▶ (no root) ──────▶ (adopted) ──────▶ (running) ──────▶ recorded ──▶ waits answered ──▶ exit 0
//!        creator dies before a Create that detaches: exit at once
//! ```
//!
//! * `args` owns the command line, written and read, `donated` the descriptors that it names, `start_sync` what is said of
//!   the start.
//! * `confine` gives up everything that the loop does not need; `filter` closes the door behind it.
//! * [`supervisor`] is the loop: one thread, one epoll. `connection` owns a client's two queues.
//! * `keeper` owns the containers and processes; `requests` answers for them, `ending` sees them end,
//!   `strays` remembers the ends of those not adopted yet, `exit_log` writes down those of inits.
//! * `relay` passes on what the container says to the host's service manager, where there is one that listens.
//!
//! It never opens the store, never reads the host, never waits for a client, and never trusts a container.
//!
//! A crash in here ends pid 1 of the PID namespace: the kernel kills everything in the sandbox, and whoever looks
//! next finds a supervisor that is gone and the exit records written so far.

pub(crate) mod args;
mod confine;
mod connection;
mod donated;
mod ending;
mod exit_log;
mod filter;
mod keeper;
pub mod log;
pub(crate) mod relay;
mod requests;
pub(crate) mod start_sync;
mod strays;
pub mod supervisor;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

pub use self::args::NAME;
use self::args::{Args, ArgsError};
use self::confine::ConfineError;
use self::donated::{Donated, DonatedError};
use self::log::Log;
use self::relay::Relay;
use self::start_sync::Speaking;
use self::supervisor::{Departure, Settings, Supervisor};
use crate::model::record::PidNamespace;
use crate::sys::memory::Code;
use crate::sys::told;

/// Why there is no supervisor; its creator reads it from start-sync.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Args(#[from] ArgsError),
    #[error(transparent)]
    Donated(#[from] DonatedError),
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("the supervisor should be pid 1 of a PID namespace of its own, but is pid {0}")]
    NotPidOne(u32),
    #[error("cannot set up the supervisor's loop")]
    Loop(#[source] io::Error),
    #[error("cannot tell the creator that the supervisor is ready")]
    StartSync(#[source] io::Error),
}

/// Runs the supervisor to its end. `args` is without `argv[0]`. Exits 0 when the sandbox has ended and that is recorded,
/// 1 when it could not start (its creator reads why from start-sync) or its creator died too early.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let mut start_sync = None;
    match start(&args, &mut start_sync) {
        Ok((supervisor, log)) => match supervisor.run() {
            Ok(Departure::Ended) => ExitCode::SUCCESS,
            Ok(Departure::CreatorGone) => ExitCode::FAILURE,
            Err(error) => {
                log.error(&format!("the supervisor's loop failed: {error}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            if let Some(start_sync) = start_sync.or_else(|| donated::start_sync_of(&args).map(Speaking::on)) {
                start_sync.failed(&told::on_one_line(&error));
            }
            ExitCode::FAILURE
        }
    }
}

/// Everything up to the byte that says: the control server answers. `start_sync` is left to the caller until then.
fn start(args: &[OsString], start_sync: &mut Option<Speaking>) -> Result<(Supervisor, Rc<Log>), BootError> {
    let args = Args::parse(args)?;
    *start_sync = Some(Speaking::on(donated::take_start_sync(&args)?));
    let donated = Donated::take(&args)?;
    let log = Rc::new(Log::new(donated.log, donated.debug_log));
    log.install_panic_hook();
    for (number, name) in args.numbers() {
        log.debug(&format!("donated descriptor {number}: {name}"));
    }
    if args.pid_namespace == PidNamespace::Own && std::process::id() != 1 {
        return Err(BootError::NotPidOne(std::process::id()));
    }
    // While there is a /proc.
    let code = Code::find();
    confine::be_a_daemon()?;
    confine::join_cgroups(donated.cgroups)?;
    confine::leave_the_host()?;
    confine::drop_privileges()?;
    let settings = Settings {
        sandbox: args.id,
        listener: donated.controller,
        exits: donated.exits,
        creator: donated.creator,
        attached: args.attached,
        pid_namespace: args.pid_namespace,
        code,
        log: Rc::clone(&log),
    };
    let mut supervisor = Supervisor::new(settings).map_err(BootError::Loop)?;
    if let Some((from, to)) = donated.notices {
        supervisor = supervisor.with_relay(Relay::new(from, to)).map_err(BootError::Loop)?;
    }
    filter::install()?;
    if let Some(start_sync) = start_sync.take() {
        start_sync.ready().map_err(BootError::StartSync)?;
    }
    Ok((supervisor, log))
}
