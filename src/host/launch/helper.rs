//! The helper: forked where the process is to be born, executed anew, and reaped once it has reported it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};

use super::doing::Doing;
use super::launched::{end_process, next_report, out_of_turn, reap};
use super::{Inside, Launched};
use crate::cgroup::Joiner;
use crate::container::channel::{self, Report};
use crate::container::letter::{Errand, Letter, Then};
use crate::container::{SetupError, helper};
use crate::host::protect::Binary;
use crate::host::{HostError, Trying};
use crate::model::record::Reaper;
use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::patience;
use crate::sys::{descriptors, pidfd};

/// How an errand is run.
pub(super) struct Helper<'a> {
    pub inside: Inside<'a>,
    pub joiner: &'a Joiner,
    pub reaper: Reaper,
    pub then: Then,
    pub binary: &'a Binary,
}

impl Helper<'_> {
    pub fn send(&self, errand: Errand, ours: OwnedFd, patience: Option<Duration>) -> Result<Launched, HostError> {
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
    let child = receive_process(ours, None, launcher.as_fd(), Then::Leave, Some(patience::A_STEP_OF_INIT))?;
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
    let report = next_report(from_helper.unwrap_or(channel.as_fd()), &Doing::Cloning, patience);
    let launched = match report {
        Ok(Report::Forked(pidfd)) => match pidfd_pid(pidfd.as_fd()) {
            Ok(Some(pid)) => Ok(Launched { pid, pidfd, channel }),
            Ok(None) => Err(HostError::died("the container's process", &Doing::Cloning)),
            Err(error) => Err(error),
        },
        Ok(other) => Err(out_of_turn(other, &Doing::Cloning)),
        Err(error) => Err(error),
    };
    match (&launched, then) {
        (Ok(_), Then::Stay) => {}
        (Ok(_), Then::Leave) => reap(helper, patience::A_STEP_OF_INIT),
        (Err(_), _) => end_process(helper),
    }
    launched
}

/// The pid in our PID namespace; None when the process is already reaped.
pub(super) fn pidfd_pid(process: BorrowedFd<'_>) -> Result<Option<i32>, HostError> {
    pidfd::pid_of(process).trying(|| "read the pid behind a pidfd".into())
}
