//! The conversation with a process that has been cloned and is on its way: what it says next, for how long that is waited
//! for, and what it was doing if it does not.
//!
//! A container that traces what enters it can make the process say anything, but not out of turn, and not twice: so that
//! nobody keeps us listening.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::attend::Attendant;
use super::doing::Doing;
use crate::container::channel::{self, Failure, Order, Report};
use crate::host::{HostError, Trying};
use crate::sys::interrupt::{self, Waited};
use crate::sys::patience;
use crate::sys::pidfd;
use crate::sys::place::Place;
use crate::sys::ready::Readiness;

/// A process that has been cloned and is on its way.
pub struct Launched {
    /// As this process sees it.
    pub pid: i32,
    /// Of the same process, also once its pid is another's.
    pub pidfd: OwnedFd,
    /// The creator's end; whoever holds it can start the process, and the end of all holders ends it.
    pub channel: OwnedFd,
}

/// What is known of a process that is ready to be started.
#[derive(Debug)]
pub struct Ready {
    /// What an init says that its root is.
    pub root: Option<Place>,
    /// The master of its terminal, if that was to be kept here.
    pub terminal: Option<OwnedFd>,
}

impl Launched {
    /// Kills it, and reaps it where it is our child.
    pub fn abort(&self) {
        end_process(self.pidfd.as_fd());
    }

    /// It waits for its mappings.
    pub fn expect_unmapped(&self) -> Result<(), HostError> {
        match self.next(&Doing::Namespaces, Some(patience::A_STEP_OF_INIT))? {
            Report::Unmapped => Ok(()),
            other => Err(out_of_turn(other, &Doing::Namespaces)),
        }
    }

    /// It waits for the order to mount.
    pub fn expect_namespaces(&self) -> Result<(), HostError> {
        match self.next(&Doing::Namespaces, Some(patience::A_STEP_OF_INIT))? {
            Report::Namespaces => Ok(()),
            other => Err(out_of_turn(other, &Doing::Namespaces)),
        }
    }

    /// It waits for the hooks of the runtime, if there are any, and else goes on.
    pub fn expect_mounted(&self) -> Result<(), HostError> {
        match self.next(&Doing::Mounts, Some(patience::A_STEP_OF_INIT))? {
            Report::Mounted => Ok(()),
            other => Err(out_of_turn(other, &Doing::Mounts)),
        }
    }

    /// Tells it what has been done. One that is gone by now is told by what comes next of it: the end of its channel.
    pub fn order(&self, order: Order) -> Result<(), HostError> {
        match channel::order(self.channel.as_fd(), order) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other.trying(|| "tell the container's init to go on".into()),
        }
    }

    /// Of an init whose mounts are there, until it is ready; what it has for others is handed on by `attend` on the way.
    /// Without `patience` for as long as the createContainer hooks that run meanwhile take: they have timeouts of their own.
    pub fn expect_init_ready(
        &self,
        patience: Option<Duration>,
        attend: &mut Attendant<'_>,
    ) -> Result<Ready, HostError> {
        let doing = if patience.is_some() { Doing::Root } else { Doing::Hooks };
        self.until_ready(doing, patience, attend)
    }

    /// The same of one more process of a container.
    pub fn expect_ready(&self, patience: Option<Duration>, attend: &mut Attendant<'_>) -> Result<Ready, HostError> {
        self.until_ready(Doing::Joining, patience, attend)
    }

    fn until_ready(
        &self,
        mut doing: Doing,
        patience: Option<Duration>,
        attend: &mut Attendant<'_>,
    ) -> Result<Ready, HostError> {
        let (mut has_terminal, mut kept) = (false, None);
        loop {
            let report = self.next(&doing, patience).map_err(|error| attend.cause_of(error))?;
            match (report, &doing) {
                (Report::Terminal(master), Doing::Root | Doing::Hooks | Doing::Joining) if !has_terminal => {
                    has_terminal = true;
                    kept = attend.terminal(master)?;
                }
                (Report::Entered, Doing::Root | Doing::Hooks) => doing = Doing::Identity,
                (Report::Listener(number), Doing::Identity | Doing::Joining) => {
                    let listener = pidfd::descriptor(self.pidfd.as_fd(), number)
                        .trying(|| "take the listener of the seccomp filter over".into())?;
                    doing = Doing::Asking { agent: attend.listener(listener, self.pid)? };
                    self.order(Order::Listening)?;
                }
                (Report::Ready(root), Doing::Identity | Doing::Joining | Doing::Asking { .. }) => {
                    return Ok(Ready { root, terminal: kept });
                }
                (other, _) => return Err(attend.cause_of(out_of_turn(other, &doing))),
            }
        }
    }

    /// Starts it without a supervisor in between; returns once the program runs. One that is about to run gets the signal
    /// itself by which somebody wants us to end; one that is held up, in a cgroup that was frozen just now, keeps nobody
    /// from it.
    pub fn start(&self, patience: Option<Duration>) -> Result<(), HostError> {
        let doing = Doing::Executing;
        // To be gone before it was told is not to have become the program.
        channel::order(self.channel.as_fd(), Order::Start).map_err(|error| match is_gone(&error) {
            true => HostError::died("the container's process", &Doing::Waiting),
            false => HostError::Io { what: "tell the container's process to start".into(), source: error },
        })?;
        match next_report_with(self.channel.as_fd(), &doing, patience, patience::A_START_WHEN_ENDING)? {
            Report::Closed => Ok(()),
            other => Err(out_of_turn(other, &doing)),
        }
    }

    /// Blocks until the process has said what it says next. A failure is its own error text.
    fn next(&self, doing: &Doing, patience: Option<Duration>) -> Result<Report, HostError> {
        next_report(self.channel.as_fd(), doing, patience)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

pub(super) fn next_report(
    channel: BorrowedFd<'_>,
    doing: &Doing,
    patience: Option<Duration>,
) -> Result<Report, HostError> {
    next_report_with(channel, doing, patience, Duration::ZERO)
}

/// With so much time left to it once somebody wants us to end.
fn next_report_with(
    channel: BorrowedFd<'_>,
    doing: &Doing,
    patience: Option<Duration>,
    grace: Duration,
) -> Result<Report, HostError> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    match interrupt::wait(channel, Readiness::Readable, deadline, grace).trying(|| format!("wait for {doing}"))? {
        Waited::Ready => {}
        Waited::TimeUp => {
            let seconds = patience.unwrap_or_default().as_secs();
            return Err(HostError::Timeout { what: doing.to_string(), seconds });
        }
        Waited::Interrupted(signal) => return Err(HostError::Interrupted { what: doing.to_string(), signal }),
    }
    match channel::next_report(channel).trying(|| format!("hear of {doing}"))? {
        Report::Failed(failure) => Err(said(failure)),
        other => Ok(other),
    }
}

pub(super) fn out_of_turn(report: Report, doing: &Doing) -> HostError {
    match report {
        Report::Failed(failure) => said(failure),
        Report::Closed => HostError::died("the container's init", doing),
        other => HostError::OutOfTurn { said: format!("{other:?}"), doing: doing.clone() },
    }
}

fn said(Failure { exit_code, text, .. }: Failure) -> HostError {
    HostError::Said { text, exit_code }
}

/// SIGKILL for a child of ours.
pub(super) fn end_process(process: BorrowedFd<'_>) {
    let _ = pidfd::send_signal(process, libc::SIGKILL);
    reap(process, patience::A_CHILD_THAT_MAY_BE_FROZEN);
}

pub(super) fn reap(process: BorrowedFd<'_>, patience: Duration) {
    if pidfd::wait_exit(process, Some(Instant::now() + patience)).unwrap_or(false) {
        let _ = pidfd::wait_child(process);
    }
}

#[cfg(test)]
mod tests {
    use super::super::attend::TerminalTo;
    use super::*;

    /// With an init that says what the test has it say.
    fn launched() -> (Launched, OwnedFd) {
        let (channel, init) = channel::pair().unwrap();
        let pid = std::process::id() as i32;
        (Launched { pid, pidfd: pidfd::open(pid).unwrap(), channel }, init)
    }

    fn ready(launched: &Launched) -> Result<Ready, HostError> {
        launched.expect_init_ready(Some(Duration::ZERO), &mut Attendant::new(&TerminalTo::Nowhere, None))
    }

    #[test]
    fn an_init_that_hangs_is_told_by_what_it_was_doing() {
        let said_before: [(&[Report], &str); 3] = [
            (&[], "making the rootfs the root"),
            (&[Report::Entered], "becoming the application's user"),
            (&[Report::Terminal(std::fs::File::open("/dev/null").unwrap().into()), Report::Entered], "becoming"),
        ];
        for (reports, told) in said_before {
            let (launched, init) = launched();
            reports.iter().for_each(|report| channel::report(init.as_fd(), report).unwrap());
            let error = ready(&launched).unwrap_err().to_string();
            assert!(error.starts_with(told) && error.ends_with("no answer within 0 s"), "{error}");
        }
        let (launched, _init) = launched();
        let hangs_in = |doing: Doing| launched.next(&doing, Some(Duration::ZERO)).unwrap_err().to_string();
        assert!(hangs_in(Doing::Namespaces).starts_with("making the namespaces: "));
        assert!(hangs_in(Doing::Mounts).starts_with("mounting the container's file systems: "));
    }

    #[test]
    fn one_whose_hooks_run_meanwhile_is_told_by_these() {
        let (launched, init) = launched();
        drop(init);
        let error = launched.expect_init_ready(None, &mut Attendant::new(&TerminalTo::Nowhere, None)).unwrap_err();
        assert!(error.to_string().contains("(running the createContainer hooks and making the rootfs"), "{error}");
    }

    #[test]
    fn one_that_dies_is_told_by_what_it_was_doing() {
        type Expect = fn(&Launched) -> Result<(), HostError>;
        let moments: [(Expect, &str); 3] = [
            (Launched::expect_namespaces, "(making the namespaces)"),
            (Launched::expect_mounted, "(mounting the container's file systems)"),
            (|launched| ready(launched).map(drop), "(making the rootfs the root)"),
        ];
        for (expect, told) in moments {
            let (launched, init) = launched();
            drop(init);
            let error = expect(&launched).unwrap_err();
            assert!(matches!(error, HostError::Died { .. }) && error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn nothing_is_heard_out_of_turn_or_twice() {
        let root = Place { mount: 1, device: 2, inode: 3 };
        let null = || Report::Terminal(std::fs::File::open("/dev/null").unwrap().into());
        let wrong: [&[Report]; 5] = [
            &[Report::Ready(Some(root))],
            &[Report::Entered, Report::Entered],
            &[null(), null()],
            &[Report::Entered, null()],
            &[Report::Mounted],
        ];
        for reports in wrong {
            let (launched, init) = launched();
            reports.iter().for_each(|report| channel::report(init.as_fd(), report).unwrap());
            let error = ready(&launched).unwrap_err();
            assert!(matches!(error, HostError::OutOfTurn { .. }), "{reports:?}: {error}");
        }
        let (launched, init) = launched();
        [Report::Entered, Report::Ready(Some(root))]
            .iter()
            .for_each(|report| channel::report(init.as_fd(), report).unwrap());
        assert_eq!(ready(&launched).unwrap().root, Some(root));
    }
}
