//! Spawning the supervisor: pid 1 of a PID namespace of its own, with everything it needs as donated descriptors.

use std::cell::Cell;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::launch::Doing;
use super::protect::Binary;
use super::{HostError, Trying};
use crate::boot;
use crate::boot::args::Args;
use crate::boot::start_sync::{self, Listening, Said};
use crate::cgroup::Joiner;
use crate::model::Id;
use crate::model::record::PidNamespace;
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::image::Image as Program;
use crate::sys::interrupt::{self, Waited};
use crate::sys::patience;
use crate::sys::ready::Readiness;
use crate::sys::told;
use crate::sys::{descriptors, pidfd, procfs, ready, text};

/// What is donated, beside what is made here.
pub struct Donation<'a> {
    /// What is executed.
    pub binary: &'a Binary,
    /// Shown in its command line.
    pub id: &'a Id,
    /// Shown there, too.
    pub bundle: &'a Path,
    /// config.json, open for reading.
    pub spec: BorrowedFd<'a>,
    /// The control socket, listening.
    pub controller: BorrowedFd<'a>,
    /// Open for appending.
    pub exits: BorrowedFd<'a>,
    /// Where the container speaks to the host's service manager, and where that hears it.
    pub notices: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Of the supervisor's own cgroups.
    pub joiner: &'a Joiner,
    /// Where it writes errors.
    pub log: Option<BorrowedFd<'a>>,
    /// Where it writes everything, every donated descriptor before all.
    pub debug_log: Option<BorrowedFd<'a>>,
    /// Whether it is pid 1 of one of its own.
    pub pid_namespace: PidNamespace,
    /// It ends with this process, whatever it keeps by then.
    pub attached: bool,
}

/// A supervisor that was spawned by this process.
pub struct Supervisor {
    /// As this process sees it.
    pub pid: i32,
    /// Of the same process.
    pub pidfd: OwnedFd,
    start_sync: Listening,
    /// Its message has been read, and there is nothing more to read.
    ready: Cell<bool>,
}

/// Forks and executes it. The child allocates nothing before that, so that other threads of this process do no harm.
pub fn spawn(donation: &Donation<'_>) -> Result<Supervisor, HostError> {
    let what = || "spawn the supervisor".to_owned();
    let (ours, theirs) = start_sync::pair().trying(what)?;
    let creator = pidfd::open(std::process::id() as i32).trying(what)?;
    let mut donated = Donated::default();
    let args = Args {
        log: donation.log.map(|log| donated.give(log)),
        debug_log: donation.debug_log.map(|log| donated.give(log)),
        bundle: donation.bundle.to_owned(),
        controller: donated.give(donation.controller),
        spec: donated.give(donation.spec),
        start_sync: donated.give(theirs.as_fd()),
        exits: donated.give(donation.exits),
        creator: donated.give(creator.as_fd()),
        notices: donation.notices.map(|(from, to)| (donated.give(from), donated.give(to))),
        attached: donation.attached,
        pid_namespace: donation.pid_namespace,
        cgroups: donation.joiner.v1_fds().map(|cgroup| donated.give(cgroup)).collect(),
        id: donation.id.clone(),
    };
    let flags = match donation.pid_namespace {
        PidNamespace::Own => libc::CLONE_NEWPID,
        PidNamespace::Foreign => 0,
    };
    let image = donated.image(args.words(), donation.binary).trying(what)?;
    match clone::clone(flags, Parent::Me, donation.joiner.v2_folder()).trying(what)? {
        Cloned::Child => {
            let error = image.execute();
            theirs.failed(&told::on_one_line(&error));
            clone::exit_now(1)
        }
        Cloned::Parent { pid, pidfd } => Ok(Supervisor { pid, pidfd, start_sync: ours, ready: Cell::new(false) }),
    }
}

impl Supervisor {
    /// Until the control server answers; else the supervisor's own error text.
    pub fn wait_until_ready(&self) -> Result<(), HostError> {
        let deadline = Some(Instant::now() + patience::A_SUPERVISOR_TO_BE_READY);
        let waited = interrupt::wait(self.start_sync.as_fd(), Readiness::Readable, deadline, Duration::ZERO);
        let what = || "the supervisor's start".to_owned();
        match waited.trying(|| "wait for the supervisor".into())? {
            Waited::Ready => {}
            Waited::TimeUp => {
                return Err(HostError::Timeout { what: what(), seconds: patience::A_SUPERVISOR_TO_BE_READY.as_secs() });
            }
            Waited::Interrupted(signal) => return Err(HostError::Interrupted { what: what(), signal }),
        }
        match self.start_sync.hear().trying(|| "read the supervisor's start message".into())? {
            Said::Ready => {
                self.ready.set(true);
                Ok(())
            }
            Said::Failed(text) => Err(HostError::Supervisor { text }),
            Said::Nothing => Err(HostError::SupervisorSilent),
        }
    }

    /// It ends by itself once its root container's end is recorded, and is our child: nobody else will reap it. One that
    /// does not end in time is left to whoever deletes the sandbox.
    pub fn reap(&self) -> Result<(), HostError> {
        let what = || "wait for the supervisor's end".to_owned();
        pidfd::wait_exit(self.pidfd.as_fd(), Some(Instant::now() + patience::A_SUPERVISOR_TO_END)).trying(what)?;
        pidfd::wait_child(self.pidfd.as_fd()).trying(what).map(drop)
    }

    /// An init that was killed may be the second victim: pid 1 of its namespace, the supervisor, says what was first, if it
    /// died before it was ready. What goes wrong once it was has another reason.
    pub fn cause_of(&self, error: HostError) -> HostError {
        let silent = self.ready.get() || !ready::is_readable(self.start_sync.as_fd()).unwrap_or(false);
        if silent || error.signal().is_some() {
            return error;
        }
        match self.wait_until_ready() {
            Err(first @ (HostError::Supervisor { .. } | HostError::SupervisorSilent)) => first,
            _ => error,
        }
    }
}

/// Whether this is the supervisor of any sandbox, by its name: the kernel keeps 15 bytes of it (prctl(2), PR_SET_NAME).
pub fn is_one(pid: i32) -> bool {
    let name = boot::NAME.as_bytes();
    let is_called_so = |comm: &str| comm.as_bytes() == &name[..name.len().min(15)];
    procfs::stat(pid).ok().flatten().is_some_and(|stat| is_called_so(&stat.comm) && !stat.is_gone())
}

/// The process's pid in the sandbox's PID namespace, one level below ours: the second number of NSpid (proc(5)).
pub fn pid_inside(host_pid: i32) -> Result<i32, HostError> {
    let path = format!("/proc/{host_pid}/status");
    let status = match text::read(&path) {
        // Callers take "no such file" for a program that is missing.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            return Err(HostError::died("the container's process", &Doing::Waiting));
        }
        other => other.trying(|| format!("read {path}"))?,
    };
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let pids: Vec<i32> = line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    Ok(pids.get(1).or(pids.first()).copied().unwrap_or(host_pid))
}

/// What the numbers of the command line stand for, from 3 on.
#[derive(Default)]
struct Donated(Vec<io::Result<OwnedFd>>);

impl Donated {
    /// Its number over there.
    fn give(&mut self, fd: BorrowedFd<'_>) -> RawFd {
        self.0.push(fd.try_clone_to_owned());
        2 + self.0.len() as RawFd
    }

    fn image(self, words: Vec<OsString>, binary: &Binary) -> io::Result<Image> {
        let mut args = vec![CString::new(boot::NAME).map_err(io::Error::other)?];
        for word in words {
            args.push(CString::new(word.into_vec()).map_err(io::Error::other)?);
        }
        // Copies above the numbers that they will be placed at, and no higher than that: limits may be low.
        let free = 3 + self.0.len() as i32;
        let moved = self.0.into_iter().map(|copy| match copy {
            Ok(low) if low.as_raw_fd() < free => descriptors::above(low.as_fd(), free),
            other => other,
        });
        let donated = moved.collect::<io::Result<Vec<_>>>()?;
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into();
        let program = Program::new(CString::default(), args, Vec::new());
        Ok(Image { binary: binary.above(free)?, program, donated, null })
    }
}

struct Image {
    binary: Binary,
    program: Program,
    donated: Vec<OwnedFd>,
    null: OwnedFd,
}

impl Image {
    /// In the child. Returns only on failure.
    fn execute(&self) -> io::Error {
        match self.arrange() {
            Ok(()) => self.program.execute_open(self.binary.as_fd()),
            Err(error) => error,
        }
    }

    fn arrange(&self) -> io::Result<()> {
        nix::unistd::setsid()?;
        for number in 0..3 {
            descriptors::place(self.null.as_fd(), number)?;
        }
        for (index, fd) in self.donated.iter().enumerate() {
            descriptors::place(fd.as_fd(), 3 + index as i32)?;
        }
        // Whatever else is open, the locks before all, ends here.
        descriptors::close_on_exec_from(3 + self.donated.len() as i32)
    }
}
