//! Spawning the supervisor: pid 1 of a PID namespace of its own, with everything it needs as donated descriptors.

use std::cell::Cell;
use std::ffi::{CString, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::protect::Binary;
use super::{HostError, Trying};
use crate::cgroup::Joiner;
use crate::container::one_line;
use crate::model::Id;
use crate::model::record::PidNamespace;
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::image::Image as Program;
use crate::sys::interrupt::{self, Waited};
use crate::sys::ready::Readiness;
use crate::sys::{descriptors, pidfd, ready, text};

/// How long it may take to answer; it does nothing that waits for anybody.
const DEADLINE: Duration = Duration::from_secs(20);

const NO_WORD: &str =
    "it ended without a word: a memory limit that is too low, of its cgroup or of one above, is the usual reason";
/// How long it may take to end after its root container has.
const REAP_DEADLINE: Duration = Duration::from_secs(2);

/// What is donated, beside what is made here.
pub struct Donation<'a> {
    /// What is executed.
    pub binary: &'a Binary,
    pub id: &'a Id,
    pub bundle: &'a Path,
    pub spec: BorrowedFd<'a>,
    pub controller: BorrowedFd<'a>,
    pub exits: BorrowedFd<'a>,
    /// Where the container speaks to the host's service manager, and where that hears it.
    pub notices: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// Of the supervisor's own cgroups.
    pub joiner: &'a Joiner,
    /// Where it writes errors.
    pub log: Option<BorrowedFd<'a>>,
    /// Where it writes everything, every donated descriptor before all.
    pub debug_log: Option<BorrowedFd<'a>>,
    pub pid_namespace: PidNamespace,
    pub attached: bool,
}

/// A supervisor that was spawned by this process.
pub struct Supervisor {
    pub pid: i32,
    pub pidfd: OwnedFd,
    start_sync: OwnedFd,
    /// Its message has been read, and there is nothing more to read.
    ready: Cell<bool>,
}

/// Forks and executes it. The child allocates nothing before that, so that other threads of this process do no harm.
pub fn spawn(donation: &Donation<'_>) -> Result<Supervisor, HostError> {
    let what = || "spawn the supervisor".to_owned();
    let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).trying(what)?;
    let creator = pidfd::open(std::process::id() as i32).trying(what)?;
    let mut command = CommandLine::default();
    if let Some(log) = donation.log {
        command.donate("--log-fd", log);
    }
    if let Some(log) = donation.debug_log {
        command.donate("--debug-log-fd", log);
    }
    command.word("boot");
    let mut bundle = OsString::from("--bundle=");
    bundle.push(donation.bundle);
    command.word(bundle);
    command.donate("--controller-fd", donation.controller);
    command.donate("--spec-fd", donation.spec);
    command.donate("--start-sync-fd", theirs.as_fd());
    command.donate("--exits-fd", donation.exits);
    command.donate("--creator-fd", creator.as_fd());
    if let Some((from, to)) = donation.notices {
        command.donate("--notices-fd", from);
        command.donate("--manager-fd", to);
    }
    if donation.attached {
        command.word("--attached");
    }
    let (namespace, flags) = match donation.pid_namespace {
        PidNamespace::Own => ("own", libc::CLONE_NEWPID),
        PidNamespace::Foreign => ("foreign", 0),
    };
    command.word(format!("--pid-namespace={namespace}"));
    for cgroup in donation.joiner.v1_fds() {
        command.donate("--cgroup-fd", cgroup);
    }
    command.word(donation.id.as_str());
    let image = command.image(donation.binary).trying(what)?;
    match clone::clone(flags, Parent::Me, donation.joiner.v2_folder()).trying(what)? {
        Cloned::Child => {
            let error = image.execute();
            let _ = nix::unistd::write(&theirs, format!("E{}", one_line(&error)).as_bytes());
            clone::exit_now(1)
        }
        Cloned::Parent { pid, pidfd } => Ok(Supervisor { pid, pidfd, start_sync: ours, ready: Cell::new(false) }),
    }
}

impl Supervisor {
    /// Reads the one byte that says the control server answers, or the supervisor's own error text.
    pub fn wait_until_ready(&self) -> Result<(), HostError> {
        let (started, deadline) = (self.start_sync.as_fd(), Some(Instant::now() + DEADLINE));
        let waited = interrupt::wait(started, Readiness::Readable, deadline, Duration::ZERO);
        let what = || "the supervisor's start".to_owned();
        match waited.trying(|| "wait for the supervisor".into())? {
            Waited::Ready => {}
            Waited::TimeUp => return Err(HostError::Timeout { what: what(), seconds: DEADLINE.as_secs() }),
            Waited::Interrupted(signal) => return Err(HostError::Interrupted { what: what(), signal }),
        }
        let mut first = [0u8; 1];
        let what = || "read the supervisor's start message".to_owned();
        let mut pipe = std::fs::File::from(self.start_sync.try_clone().trying(what)?);
        match pipe.read(&mut first).trying(what)? {
            1 if first[0] == b'K' => {
                self.ready.set(true);
                return Ok(());
            }
            0 => return Err(HostError::Supervisor { text: NO_WORD.into() }),
            _ => {}
        }
        let text = text::all_of(&mut pipe.take(4096)).trying(what)?;
        Err(HostError::Supervisor { text })
    }
}

impl Supervisor {
    /// It ends by itself once its root container's end is recorded, and is our child: nobody else will reap it. One that
    /// does not end in time is left to whoever deletes the sandbox.
    pub fn reap(&self) -> Result<(), HostError> {
        let what = || "wait for the supervisor's end".to_owned();
        pidfd::wait_exit(self.pidfd.as_fd(), Some(Instant::now() + REAP_DEADLINE)).trying(what)?;
        pidfd::wait_child(self.pidfd.as_fd()).trying(what).map(drop)
    }

    /// Its error text, if it has already died with one. What goes wrong once it was ready has another reason.
    pub fn last_words(&self) -> Option<String> {
        if self.ready.get() || !ready::is_readable(self.start_sync.as_fd()).unwrap_or(false) {
            return None;
        }
        match self.wait_until_ready() {
            Err(HostError::Supervisor { text }) => Some(text),
            _ => None,
        }
    }
}

/// The argument list and, beside it, what each `--…-fd=N` in it stands for.
#[derive(Default)]
struct CommandLine {
    words: Vec<OsString>,
    donated: Vec<io::Result<OwnedFd>>,
}

impl CommandLine {
    fn word(&mut self, word: impl Into<OsString>) {
        self.words.push(word.into());
    }

    fn donate(&mut self, flag: &str, fd: BorrowedFd<'_>) {
        let number = 3 + self.donated.len();
        self.words.push(format!("{flag}={number}").into());
        self.donated.push(fd.try_clone_to_owned());
    }

    fn image(self, binary: &Binary) -> io::Result<Image> {
        let mut args = vec![CString::new("sandkeep-sandbox").map_err(io::Error::other)?];
        for word in self.words {
            args.push(CString::new(word.into_vec()).map_err(io::Error::other)?);
        }
        // Copies above the numbers that they will be placed at, and no higher than that: limits may be low.
        let free = 3 + self.donated.len() as i32;
        let moved = self.donated.into_iter().map(|copy| match copy {
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
