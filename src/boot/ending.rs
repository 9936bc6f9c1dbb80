//! How processes end, and what follows: the start that failed, the record, the waits, the end of the sandbox.

use std::io;
use std::os::fd::AsFd;
use std::time::{Instant, SystemTime};

use super::keeper::{Cause, Keeper, MAX_UNASKED, Process, Role, Start, Token, Unasked, refusal, short};
use super::strays::{Stray, Strays};
use crate::container::channel::{Failure, Of};
use crate::control::method::{ErrorCode, Exited, Reply};
use crate::model::Id;
use crate::model::exits::ExitRecord;
use crate::model::record::{Exit, Nanos, Reaper};
use crate::sys::patience;
use crate::sys::pidfd::{self, Ended};
use crate::sys::ready;
use crate::sys::seqpacket::{self, Received};

/// What is told of a process whose status nobody could tell us. 137 stands for "killed with its supervisor"; this one
/// is what callers of containerd know as unknown.
const UNKNOWN_CODE: u8 = 255;

/// The longest error text of an init that is passed on, in bytes.
const MAX_START_ERROR: usize = 4096;

/// Strays reaped in one go, so that a storm of them does not stop the loop.
const MAX_REAPED: usize = 256;

/// What can be said of a process now.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Alive,
    /// Its status will be known once somebody has reaped it.
    Dead,
    Ended(i32, Nanos),
    Unknowable(&'static str),
}

impl Keeper {
    /// Looks at one process and does what its end asks for. Nothing happens if it lives, or is not known any more.
    pub fn settle(&mut self, token: Token) {
        let Some(process) = self.processes.get_mut(&token) else { return };
        match look(process, &mut self.strays) {
            Ok(Look::Alive) => {}
            Ok(Look::Dead) => {
                process.dead_since.get_or_insert_with(Instant::now);
                let cid = process.cid.clone();
                self.finish_destroy(&cid);
            }
            Ok(Look::Ended(status, at)) => self.ended(token, exited_with(status, at)),
            Ok(Look::Unknowable(why)) => self.ended(token, unknown(why)),
            Err(error) => {
                let message = format!("cannot look at process {}: {error}", process.host_pid);
                self.log.error(&message);
                process.dead_since.get_or_insert_with(Instant::now);
            }
        }
    }

    pub fn settle_all(&mut self) {
        for token in self.processes.keys().copied().collect::<Vec<_>>() {
            self.settle(token);
        }
    }

    /// Those seen dead whose status was not to be had yet.
    pub fn settle_dead(&mut self) {
        let dead = self.processes.iter().filter(|(_, process)| process.dead_since.is_some());
        for token in dead.map(|(&token, _)| token).collect::<Vec<_>>() {
            self.settle(token);
        }
    }

    pub fn has_dead(&self) -> bool {
        self.processes.values().any(|process| process.dead_since.is_some())
    }

    /// Reaps what the kernel has handed to pid 1. Whether there may be more.
    pub fn reap_strays(&mut self) -> bool {
        for _ in 0..MAX_REAPED {
            let (pid, status) = match pidfd::wait_any_child() {
                Ok(Some(ended)) => ended,
                Ok(None) => return false,
                Err(error) => {
                    self.log.error(&format!("cannot reap: {error}"));
                    return false;
                }
            };
            // It may have been adopted, and have died since it was last looked at.
            let adopted = self
                .processes
                .iter()
                .find(|(_, process)| process.pid == pid && ready::is_readable(process.pidfd.as_fd()).unwrap_or(false));
            match adopted.map(|(&token, _)| token) {
                Some(token) => self.ended(token, exited_with(status, now())),
                None => self.strays.remember(Stray { pid, status, at: now() }),
            }
        }
        true
    }

    /// The start socket with this token has something to say. Whether it was one.
    pub fn start_spoke(&mut self, token: Token) -> bool {
        let found = self.containers.iter().find(|(_, container)| {
            matches!(&container.start, Start::Releasing { token: releasing, .. } if *releasing == token)
        });
        let Some(cid) = found.map(|(cid, _)| cid.clone()) else { return false };
        self.read_start(&cid, Start::Failed);
        true
    }

    /// `otherwise`: what became of it if it says nothing at all.
    fn read_start(&mut self, cid: &Id, otherwise: Start) {
        let Some(container) = self.containers.get_mut(cid) else { return };
        let Start::Releasing { socket, waiter, .. } = &container.start else { return };
        let (mut buffer, waiter) = (vec![0; 16 * 1024], *waiter);
        let ended = container.exited.is_some();
        let (start, outcome) = match seqpacket::receive(socket.as_fd(), &mut buffer) {
            Ok(Received::End) => (Start::Started, Ok(Reply::Done)),
            Ok(Received::Message { length, .. }) => {
                let Failure { of, text, .. } = Failure::read(&buffer[..length.min(MAX_START_ERROR)]);
                let code = match of {
                    Of::Setup => ErrorCode::StartFailed,
                    Of::Hook => ErrorCode::HookFailed,
                };
                (Start::Failed, Err(refusal(code, text)))
            }
            Ok(Received::Nothing) if !ended => return,
            Ok(Received::Nothing) => {
                let message = format!("the init of container {:?} ended before it could be started", short(cid));
                (otherwise, Err(refusal(ErrorCode::StartFailed, message)))
            }
            Err(error) => {
                let message = format!("cannot read from the init of container {:?}: {error}", short(cid));
                (Start::Failed, Err(refusal(ErrorCode::StartFailed, message)))
            }
        };
        if let Start::Releasing { socket, .. } = std::mem::replace(&mut container.start, start) {
            self.unwatch(socket);
        }
        self.answer(waiter, outcome);
    }

    fn ended(&mut self, token: Token, exited: Exited) {
        let Some(process) = self.processes.remove(&token) else { return };
        let Process { cid, role, pid, pidfd, waiter, host_pid, .. } = process;
        self.log.debug(&format!("process {pid} (host {host_pid}) of {:?} ended: {exited:?}", short(&cid)));
        self.unwatch(pidfd);
        match role {
            Role::Init => self.init_ended(&cid, exited),
            Role::Exec => match waiter {
                Some(waiter) => self.answer(waiter, Ok(Reply::Exited(exited))),
                None => {
                    if self.unasked.len() == MAX_UNASKED {
                        self.unasked.pop_front();
                    }
                    self.unasked.push_back(Unasked { cid: cid.clone(), pid, exited });
                }
            },
        }
        self.finish_destroy(&cid);
    }

    /// The record first, the waits after it: whoever asks again after our own end is to be told the same. On a full
    /// disk the waits are answered all the same, for it may stay full.
    fn init_ended(&mut self, cid: &Id, exited: Exited) {
        let record = ExitRecord { container: cid.as_str().to_owned(), exit: exited.exit() };
        if let Err(error) = self.exits.append(&record) {
            self.log.error(&format!("cannot record the end of {:?} yet: {error}", short(cid)));
        }
        let Some(container) = self.containers.get_mut(cid) else { return };
        container.exited = Some(exited.clone());
        let (waiters, is_root) = (std::mem::take(&mut container.waiters), container.is_root);
        // Its last words first: they tell more than how it ended.
        self.read_start(cid, Start::Failed);
        if let Some(container) = self.containers.get_mut(cid)
            && matches!(container.start, Start::Waiting(_))
        {
            container.start = Start::Failed;
        }
        for waiter in waiters {
            self.answer(waiter, Ok(Reply::Exited(exited.clone())));
        }
        if is_root {
            self.end_notices();
            self.close(Cause::RootEnded);
        }
    }

    /// A container that was ordered destroyed is forgotten once nothing adopted of it lives; its id is free again.
    pub(super) fn finish_destroy(&mut self, cid: &Id) {
        let Some(container) = self.containers.get_mut(cid) else { return };
        let lives = |process: &Process| process.cid == *cid && process.dead_since.is_none();
        if container.destroyers.is_empty() || self.processes.values().any(lives) {
            return;
        }
        let destroyers = std::mem::take(&mut container.destroyers);
        let left = self.processes.iter().filter(|(_, process)| process.cid == *cid).map(|(&token, _)| token);
        for token in left.collect::<Vec<_>>() {
            self.ended(token, unknown("destroyed before it was reaped"));
        }
        self.containers.remove(cid);
        self.unasked.retain(|unasked| unasked.cid != *cid);
        for waiter in destroyers {
            self.answer(waiter, Ok(Reply::Done));
        }
    }

    /// Tries again to write down what could not be.
    pub fn retry_exits(&mut self) {
        if self.exits.pending() > 0 && self.exits.flush().is_ok() {
            self.log.debug("the ends that could not be recorded are recorded now");
        }
    }

    pub fn has_unrecorded(&self) -> bool {
        self.exits.pending() > 0
    }

    /// Until when a sandbox that is ending waits.
    pub fn closing_deadline(&self) -> Option<Instant> {
        self.closing.as_ref().map(|closing| closing.deadline)
    }

    /// The sandbox has ended, and all is recorded that can be. Whoever ordered it destroyed is told.
    pub fn is_finished(&mut self) -> bool {
        let Some(closing) = &self.closing else { return false };
        let (recorded, late) = (self.exits.pending() == 0, Instant::now() >= closing.deadline);
        let finished = match closing.cause {
            Cause::RootEnded => recorded && (self.processes.is_empty() || late),
            Cause::Destroyed => recorded && self.processes.is_empty() || late,
        };
        if finished {
            for waiter in std::mem::take(&mut self.destroyed_by) {
                self.answer(waiter, Ok(Reply::Done));
            }
        }
        finished
    }

    /// All that was adopted is killed, and nobody waits for it: our creator is gone.
    pub fn kill_all(&self) {
        for process in self.processes.values() {
            self.kill(process);
        }
    }
}

fn look(process: &Process, strays: &mut Strays) -> io::Result<Look> {
    let fd = process.pidfd.as_fd();
    match process.reaper {
        Reaper::Supervisor => match pidfd::wait_child(fd) {
            Ok(Some(status)) => Ok(Look::Ended(status, now())),
            Ok(None) => Ok(Look::Alive),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => look_at_no_child(process, strays),
            Err(error) => Err(error),
        },
        Reaper::Caller if !ready::is_readable(fd)? => Ok(Look::Alive),
        Reaper::Caller => match pidfd::exit_info(fd) {
            Ok(Some(status)) => Ok(Look::Ended(status, now())),
            Ok(None) => Ok(Look::Dead),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(Look::Unknowable(
                "reaped by the caller, and this kernel (before Linux 6.15) tells nobody else the status",
            )),
            Err(error) => Err(error),
        },
    }
}

/// Not our child yet, for whoever launched it is still its parent; or not any more, for it was reaped as a stray.
fn look_at_no_child(process: &Process, strays: &mut Strays) -> io::Result<Look> {
    let fd = process.pidfd.as_fd();
    if !ready::is_readable(fd)? {
        return Ok(Look::Alive);
    }
    match pidfd::exit_info(fd) {
        Ok(Some(status)) => {
            let stray = strays.take(process.pid);
            Ok(Look::Ended(status, stray.map_or_else(now, |stray| stray.at)))
        }
        Ok(None) => Ok(Look::Dead),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(match strays.take(process.pid) {
            Some(stray) => Look::Ended(stray.status, stray.at),
            None if process.dead_since.is_some_and(|since| since.elapsed() > patience::AN_ADOPTION) => {
                Look::Unknowable("another process reaped it")
            }
            None => Look::Dead,
        }),
        Err(error) => Err(error),
    }
}

fn exited_with(status: i32, at: Nanos) -> Exited {
    let Ended { code, signal } = Ended::of(status);
    Exited::new(Exit { code, signal, at, inferred: false }, None)
}

fn unknown(why: &str) -> Exited {
    Exited::new(Exit { code: UNKNOWN_CODE, signal: None, at: now(), inferred: true }, Some(why))
}

/// By the wall clock, which no time namespace shifts.
fn now() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
}
