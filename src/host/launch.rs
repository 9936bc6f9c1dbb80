//! Launching a container's processes: a helper, forked inside the sandbox's PID namespace and executed anew
//! (`container::helper`), joins cgroups and namespaces and clones the process. Which process becomes its parent is one flag
//! of that clone.
//!
//! ```text
//! caller ── CLI ─┬─ supervisor (pid 1 of the sandbox's PID namespace)
//!                └─ helper ── init        Reaper::Supervisor: the helper exits, the kernel hands the init to pid 1
//!                └─ init (CLONE_PARENT)   Reaper::Caller: the CLI's child, then its reaper's
//! ```

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns};

use super::attend::Attendant;
use super::protect::Binary;
use super::{HostError, Trying, namespaces};
use crate::cgroup::Joiner;
use crate::container::channel::{self, Order, Report};
use crate::container::letter::{Errand, Letter, Then};
use crate::container::{SetupError, helper, init, join};
use crate::model::record::Reaper;
use crate::spec::plan::Plan;
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::interrupt::{self, Waited};
use crate::sys::open::{self, AT_CWD};
use crate::sys::place::Place;
use crate::sys::ready::Readiness;
use crate::sys::{descriptors, pidfd};

/// How long an init may take for one step of its setup.
pub const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// So much longer a program may take to start once somebody wants us to end.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// A process that has been cloned and is on its way.
pub struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// The creator's end; whoever holds it can start the process, and the end of all holders ends it.
    pub channel: OwnedFd,
}

/// Where the helper has to be when it clones.
#[derive(Debug, Clone, Copy)]
pub enum Inside<'a> {
    /// The PID namespace of this process (a supervisor).
    NamespaceOf(BorrowedFd<'a>),
    /// The caller's own.
    Ours,
}

/// Clones the init of a container, by way of a helper that is a program of its own. The caller still has a single thread.
pub fn init(
    plan: &Plan,
    donate: impl FnOnce(OwnedFd) -> init::Donations,
    inside: Inside<'_>,
    joiner: &Joiner,
    reaper: Reaper,
    binary: &Binary,
) -> Result<Launched, HostError> {
    let (ours, theirs) = channel::pair().trying(|| "make the init's channel".into())?;
    let lingering = reaper == Reaper::Supervisor && matches!(inside, Inside::Ours);
    let errand = Errand::Init { joined: namespaces::open_joined(plan)?, init: Box::new(donate(theirs)) };
    let then = if lingering { Then::Stay } else { Then::Leave };
    let helper = Helper { inside, joiner, reaper, then, binary };
    helper.send(errand, ours, Some(STEP_DEADLINE))
}

/// A container to join.
pub struct Target<'a> {
    /// pidfd of its init.
    pub init: BorrowedFd<'a>,
    /// Those of its namespaces that differ from ours.
    pub namespaces: CloneFlags,
    pub joiner: &'a Joiner,
    /// What its record says of its root.
    pub root: Option<Place>,
    /// Whether its processes may have put another root on top of that.
    pub may_change_root: bool,
}

/// Clones one more process into a running container. The caller still has a single thread. `patience`: how long the
/// helper may take; none for a frozen container, whose cgroup freezes the helper until it is thawed.
pub fn exec(
    donate: impl FnOnce(OwnedFd) -> join::Donations,
    target: &Target<'_>,
    inside: Inside<'_>,
    reaper: Reaper,
    binary: &Binary,
    patience: Option<Duration>,
) -> Result<Launched, HostError> {
    let (ours, theirs) = channel::pair().trying(|| "make the process's channel".into())?;
    let inside = if reaper == Reaper::Caller { Inside::Ours } else { inside };
    let entered = join::Target {
        init: target.init.try_clone_to_owned().trying(|| "keep the container's init".into())?,
        pid_namespace: open_of(target.init, "ns/pid", OFlag::O_RDONLY)?,
        namespaces: target.namespaces.bits(),
        root: target.root,
        init_root: open_of(target.init, "root", OFlag::O_PATH | OFlag::O_DIRECTORY)?,
        may_change_root: target.may_change_root,
    };
    let errand = Errand::Exec { target: entered, process: Box::new(donate(theirs)) };
    Helper { inside, joiner: target.joiner, reaper, then: Then::Leave, binary }.send(errand, ours, patience)
}

/// How an errand is run.
struct Helper<'a> {
    inside: Inside<'a>,
    joiner: &'a Joiner,
    reaper: Reaper,
    then: Then,
    binary: &'a Binary,
}

impl Helper<'_> {
    fn send(&self, errand: Errand, ours: OwnedFd, patience: Option<Duration>) -> Result<Launched, HostError> {
        let (from_helper, channel) = channel::pair().trying(|| "make the helper's channel".into())?;
        let tasks = self.joiner.v1_fds().map(|fd| fd.try_clone_to_owned()).collect::<io::Result<_>>();
        let parent = match self.reaper {
            Reaper::Caller => Parent::Mine,
            Reaper::Supervisor => Parent::Me,
        };
        let tasks = tasks.trying(|| "keep the container's cgroups".into())?;
        let letter = Letter { channel, tasks, parent, then: self.then, errand };
        let written = letter.write().trying(|| "write down what the container's process is to do".into())?;
        let Cloned::Parent { pidfd: helper, .. } = fork_inside(self.inside, self.joiner.v2_folder())? else {
            let source = self.become_helper(&letter, written.as_fd());
            let failed = SetupError::Step { what: "execute ourselves to enter the container".into(), source };
            helper::leave(letter.channel.as_fd(), Err(failed), Then::Leave)
        };
        drop((letter, written));
        receive_process(ours, Some(from_helper.as_fd()), helper.as_fd(), self.then, patience)
    }

    /// In the forked child. Nothing of this process goes along but the descriptors that the letter names: not its memory,
    /// nor its arguments, nor its environment. Returns only on failure.
    fn become_helper(&self, letter: &Letter, written: BorrowedFd<'_>) -> io::Error {
        let number = written.as_raw_fd();
        let prepared = || -> io::Result<Vec<CString>> {
            let mut sent = letter.descriptors();
            sent.push(number);
            let mut keep = sent.clone();
            keep.push(self.binary.as_fd().as_raw_fd());
            keep.extend(3..3 + letter.preserved() as i32);
            descriptors::close_others(&keep)?;
            descriptors::survive_exec(&sent)?;
            [helper::NAME.to_owned(), number.to_string()]
                .into_iter()
                .map(|arg| CString::new(arg).map_err(io::Error::other))
                .collect()
        };
        match prepared() {
            Ok(args) => self.binary.execute(&args),
            Err(error) => error,
        }
    }
}

/// A file of /proc/PID, opened with our privileges, of a process that we know by pidfd.
fn open_of(process: BorrowedFd<'_>, name: &str, flags: OFlag) -> Result<OwnedFd, HostError> {
    let what = || format!("open {name} of the container's init");
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = pidfd_pid(process)?.ok_or_else(gone).trying(what)?;
    let opened = open::at(AT_CWD, Path::new(&format!("/proc/{pid}/{name}")), flags, 0).trying(what)?;
    // Still the same process: the number has not come to mean another one meanwhile.
    match pidfd_pid(process)? {
        Some(_) => Ok(opened),
        None => Err(gone()).trying(what),
    }
}

/// Children of this process are born in that PID namespace for the time of one fork; this one in the v2 cgroup, too.
fn fork_inside(inside: Inside<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, HostError> {
    let Inside::NamespaceOf(process) = inside else {
        return clone::clone(0, Parent::Me, cgroup).trying(|| "fork".into());
    };
    let home = std::fs::File::open("/proc/self/ns/pid").trying(|| "open our own PID namespace".into())?;
    // Inside a user namespace our own PID namespace belongs to somebody else, and there is no way back into it.
    if setns(home.as_fd(), CloneFlags::CLONE_NEWPID).is_err() {
        return fork_through_launcher(process, cgroup);
    }
    setns(process, CloneFlags::CLONE_NEWPID).trying(|| "join the PID namespace for children".into())?;
    let forked = clone::clone(0, Parent::Me, cgroup);
    if matches!(forked, Ok(Cloned::Child)) {
        return forked.trying(|| "fork".into());
    }
    if let Err(errno) = setns(home.as_fd(), CloneFlags::CLONE_NEWPID) {
        if let Ok(Cloned::Parent { pidfd, .. }) = &forked {
            end_process(pidfd.as_fd());
        }
        return Err(errno).trying(|| "go back to our own PID namespace".into());
    }
    forked.trying(|| "fork inside the sandbox's PID namespace".into())
}

/// The same by way of a process that does not have to come back: it joins, clones a child of ours, and exits.
fn fork_through_launcher(process: BorrowedFd<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, HostError> {
    let (ours, theirs) = channel::pair().trying(|| "make the launcher's channel".into())?;
    let Cloned::Parent { pidfd: launcher, .. } = clone::clone(0, Parent::Me, None).trying(|| "fork".into())? else {
        drop(ours);
        let cloned = setns(process, CloneFlags::CLONE_NEWPID)
            .map_err(io::Error::from)
            .and_then(|()| clone::clone(0, Parent::Mine, cgroup))
            .map_err(|source| SetupError::Step { what: "fork inside the sandbox's PID namespace".into(), source });
        return match cloned {
            Ok(Cloned::Child) => Ok(Cloned::Child),
            Ok(Cloned::Parent { pidfd, .. }) => helper::leave(theirs.as_fd(), Ok(pidfd), Then::Leave),
            Err(error) => helper::leave(theirs.as_fd(), Err(error), Then::Leave),
        };
    };
    drop(theirs);
    let child = receive_process(ours, None, launcher.as_fd(), Then::Leave, Some(STEP_DEADLINE))?;
    Ok(Cloned::Parent { pid: child.pid, pidfd: child.pidfd })
}

/// The one report of a helper is the process it cloned; then the helper is reaped, so that the kernel has handed on
/// what it leaves behind. One that has nothing to report in time is killed.
fn receive_process(
    channel: OwnedFd,
    from_helper: Option<BorrowedFd<'_>>,
    helper: BorrowedFd<'_>,
    then: Then,
    patience: Option<Duration>,
) -> Result<Launched, HostError> {
    let report = next_report(from_helper.unwrap_or(channel.as_fd()), "the launch", patience);
    let launched = match report {
        Ok(Report::Forked(pidfd)) => match pidfd_pid(pidfd.as_fd()) {
            Ok(Some(pid)) => Ok(Launched { pid, pidfd, channel }),
            Ok(None) => Err(died("the container's process")),
            Err(error) => Err(error),
        },
        Ok(other) => Err(unexpected(other)),
        Err(error) => Err(error),
    };
    match (&launched, then) {
        (Ok(_), Then::Stay) => {}
        (Ok(_), Then::Leave) => reap(helper, STEP_DEADLINE),
        (Err(_), _) => end_process(helper),
    }
    launched
}

/// SIGKILL for a child of ours. One in a frozen cgroup dies at the thaw: it is not waited for longer than this.
fn end_process(process: BorrowedFd<'_>) {
    let _ = pidfd::send_signal(process, libc::SIGKILL);
    reap(process, Duration::from_secs(1));
}

fn reap(process: BorrowedFd<'_>, patience: Duration) {
    if pidfd::wait_exit(process, Some(Instant::now() + patience)).unwrap_or(false) {
        let _ = pidfd::wait_child(process);
    }
}

/// The pid in our PID namespace; None when the process is already reaped.
fn pidfd_pid(process: BorrowedFd<'_>) -> Result<Option<i32>, HostError> {
    pidfd::pid_of(process).trying(|| "read the pid behind a pidfd".into())
}

impl Launched {
    /// Blocks until the process has said what it says next. A failure is its own error text.
    fn next(&self, what: &str, patience: Option<Duration>) -> Result<Report, HostError> {
        next_report(self.channel.as_fd(), what, patience)
    }

    /// Kills it, and reaps it where it is our child.
    pub fn abort(&self) {
        end_process(self.pidfd.as_fd());
    }

    pub fn expect_made(&self) -> Result<(), HostError> {
        match self.next("making the namespaces", Some(STEP_DEADLINE))? {
            Report::Made => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    pub fn order(&self, order: Order) -> Result<(), HostError> {
        channel::order(self.channel.as_fd(), order).trying(|| "tell the container's init to go on".into())
    }

    /// Until it is ready, with the root that an init says it has; what it has for others is handed on by `attend` on the way. Without `patience` for as long as
    /// the hooks that run meanwhile take: they have timeouts of their own.
    pub fn expect_ready(
        &self,
        patience: Option<Duration>,
        attend: &mut Attendant<'_>,
    ) -> Result<Option<Place>, HostError> {
        let mut what = "setting up the container".to_owned();
        // Each comes once. A container that traces what enters it can make it say anything, but not keep us listening.
        let (mut terminal, mut listener) = (false, false);
        loop {
            match self.next(&what, patience).map_err(|error| attend.cause_of(error))? {
                Report::Ready(root) => return Ok(root),
                Report::Terminal(master) if !std::mem::replace(&mut terminal, true) => attend.terminal(master)?,
                Report::Listener(number) if !std::mem::replace(&mut listener, true) => {
                    let listener = pidfd::descriptor(self.pidfd.as_fd(), number)
                        .trying(|| "take the listener of the seccomp filter over".into())?;
                    what = attend.listener(listener, self.pid)?;
                    self.order(Order::Go)?;
                }
                other => return Err(attend.cause_of(unexpected(other))),
            }
        }
    }

    /// Starts it without a supervisor in between; returns once the program runs. One that is about to run gets the signal
    /// itself by which somebody wants us to end; one that is held up, in a cgroup that was frozen just now, keeps nobody
    /// from it.
    pub fn start(&self, patience: Option<Duration>) -> Result<(), HostError> {
        self.order(Order::Start)?;
        match next_report_with(self.channel.as_fd(), "executing the program", patience, LAST_CHANCE)? {
            Report::Closed => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

fn next_report(channel: BorrowedFd<'_>, what: &str, patience: Option<Duration>) -> Result<Report, HostError> {
    next_report_with(channel, what, patience, Duration::ZERO)
}

/// With so much time left to it once somebody wants us to end.
fn next_report_with(
    channel: BorrowedFd<'_>,
    what: &str,
    patience: Option<Duration>,
    grace: Duration,
) -> Result<Report, HostError> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    match interrupt::wait(channel, Readiness::Readable, deadline, grace).trying(|| format!("wait for {what}"))? {
        Waited::Ready => {}
        Waited::TimeUp => {
            let seconds = patience.unwrap_or_default().as_secs();
            return Err(HostError::Timeout { what: what.to_owned(), seconds });
        }
        Waited::Interrupted(signal) => return Err(HostError::Interrupted { what: what.to_owned(), signal }),
    }
    match channel::next_report(channel).trying(|| format!("hear of {what}"))? {
        Report::Failed { exit_code, text } => Err(HostError::Container { text, exit_code }),
        other => Ok(other),
    }
}

fn unexpected(report: Report) -> HostError {
    match report {
        Report::Failed { exit_code, text } => HostError::Container { text, exit_code },
        Report::Closed => died("the container's init"),
        other => {
            HostError::Container { text: format!("the container's init said {other:?} out of turn"), exit_code: 1 }
        }
    }
}

pub(super) fn died(who: &'static str) -> HostError {
    HostError::Died { who, silent: "" }
}

/// `_ses.<id>`, as runc names it.
pub fn keyring_name(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{}", &id[..id.len().min(200)])).ok()
}
