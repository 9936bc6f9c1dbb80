//! The containers and processes that were adopted, and who waits for them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use super::exit_log::ExitLog;
use super::log::Log;
use super::relay::{Relay, Turn};
use super::strays::Strays;
use crate::control::method::{ErrorCode, Exited, Refusal, Reply};
use crate::control::wire::RequestId;
use crate::model::Id;
use crate::model::record::Reaper;
use crate::sys::poller::{Interest, Poller};

/// What epoll says back to us; never used twice.
pub type Token = u64;

pub const MAX_CONTAINERS: usize = 256;
pub const MAX_PROCESSES: usize = 1024;
/// Ends of exec'd processes that nobody has asked for yet.
pub const MAX_UNASKED: usize = 256;
/// Ends that could not be written down yet; with more, no further container is adopted.
pub const MAX_UNRECORDED: usize = 256;

/// The longest refusal, in bytes.
const MAX_MESSAGE: usize = 4096;

/// Whom an answer goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    pub connection: Token,
    pub request: RequestId,
}

/// To one request.
pub type Response = Result<Reply, Refusal>;

#[derive(Debug)]
pub struct Keeper {
    pub(super) sandbox: Id,
    pub(super) poller: Rc<Poller>,
    pub(super) log: Rc<Log>,
    pub(super) containers: BTreeMap<Id, Container>,
    /// Those not known to have ended.
    pub(super) processes: BTreeMap<Token, Process>,
    /// Exec'd processes that have ended, oldest first.
    pub(super) unasked: VecDeque<Unasked>,
    pub(super) strays: Strays,
    pub(super) exits: ExitLog,
    /// What the root container says to the host's service manager.
    pub(super) relay: Option<Relay>,
    /// Told once it has said that it is ready.
    pub(super) ready_waiters: Vec<Waiter>,
    pub(super) closing: Option<Closing>,
    /// Told when the sandbox is gone as far as we can tell: right before we are.
    pub(super) destroyed_by: Vec<Waiter>,
    /// A root was adopted that no longer needs its creator.
    pub(super) detached: bool,
    pub(super) answers: Vec<(Waiter, Response)>,
    last_token: Token,
}

#[derive(Debug)]
pub(super) struct Container {
    pub is_root: bool,
    pub start: Start,
    /// Of the init; its process may have ended.
    pub pid: i32,
    pub exited: Option<Exited>,
    pub waiters: Vec<Waiter>,
    pub destroyers: Vec<Waiter>,
}

/// How far the init is on its way to the application.
#[derive(Debug)]
pub(super) enum Start {
    /// It waits for the start message.
    Waiting(OwnedFd),
    /// It was told to go; the end of its socket will say that the application runs, a message why it does not.
    Releasing {
        socket: OwnedFd,
        token: Token,
        waiter: Waiter,
    },
    Started,
    Failed,
}

#[derive(Debug)]
pub(super) struct Process {
    pub cid: Id,
    pub role: Role,
    pub pid: i32,
    pub host_pid: i32,
    pub pidfd: OwnedFd,
    pub reaper: Reaper,
    pub waiter: Option<Waiter>,
    /// Seen dead, but its status cannot be known yet.
    pub dead_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Exec,
}

#[derive(Debug)]
pub(super) struct Unasked {
    pub cid: Id,
    pub pid: i32,
    pub exited: Exited,
}

/// The sandbox is ending: nothing new is adopted.
#[derive(Debug)]
pub(super) struct Closing {
    pub cause: Cause,
    /// Until when the last statuses are waited for.
    pub deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    RootEnded,
    Destroyed,
}

impl Keeper {
    /// Tokens up to `last_token` are the caller's own.
    pub fn new(sandbox: Id, exits: File, poller: Rc<Poller>, log: Rc<Log>, last_token: Token) -> Keeper {
        Keeper {
            sandbox,
            poller,
            log,
            containers: BTreeMap::new(),
            processes: BTreeMap::new(),
            unasked: VecDeque::new(),
            strays: Strays::default(),
            exits: ExitLog::new(exits),
            relay: None,
            ready_waiters: Vec::new(),
            closing: None,
            destroyed_by: Vec::new(),
            detached: false,
            answers: Vec::new(),
            last_token,
        }
    }

    /// A token that was never given before.
    pub fn next_token(&mut self) -> Token {
        self.last_token += 1;
        self.last_token
    }

    /// Answers that became ready since the last call.
    pub fn take_answers(&mut self) -> Vec<(Waiter, Response)> {
        std::mem::take(&mut self.answers)
    }

    /// A root was adopted and its sandbox is to outlive its creator.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    pub(super) fn answer(&mut self, to: Waiter, outcome: Response) {
        self.answers.push((to, outcome));
    }

    /// Nobody is there any more to be told.
    pub fn forget_connection(&mut self, connection: Token) {
        for container in self.containers.values_mut() {
            container.waiters.retain(|waiter| waiter.connection != connection);
            // A destroyer's order stands; only its answer has nowhere to go, and is dropped when it comes.
        }
        self.ready_waiters.retain(|waiter| waiter.connection != connection);
        for process in self.processes.values_mut() {
            process.waiter = process.waiter.filter(|waiter| waiter.connection != connection);
        }
    }

    /// Passes on what the container has said; None: nobody on the host listens.
    pub fn relay_notices(&mut self) -> Option<Turn> {
        let relay = self.relay.as_mut()?;
        let turn = relay.turn();
        if relay.is_ready() {
            for waiter in std::mem::take(&mut self.ready_waiters) {
                self.answer(waiter, Ok(Reply::Done));
            }
        }
        Some(turn)
    }

    /// The last words of a container that has ended.
    pub(super) fn end_notices(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.finish();
        }
        let _ = self.relay_notices();
        for waiter in std::mem::take(&mut self.ready_waiters) {
            self.answer(waiter, Err(never_ready()));
        }
    }

    pub(super) fn watch_process(&mut self, process: Process) -> io::Result<Token> {
        let token = self.next_token();
        self.poller.watch(process.pidfd.as_fd(), token, Interest::Edges)?;
        self.processes.insert(token, process);
        Ok(token)
    }

    /// Forgets and closes.
    pub(super) fn unwatch(&self, fd: OwnedFd) {
        self.poller.forget(fd.as_fd());
    }

    pub(super) fn container(&self, cid: &Id) -> Result<&Container, Refusal> {
        self.containers.get(cid).ok_or_else(|| no_container(cid))
    }
}

pub(super) fn never_ready() -> Refusal {
    refusal(ErrorCode::WrongState, "container not running: it has ended without being ready")
}

pub(super) fn no_container(cid: &Id) -> Refusal {
    refusal(ErrorCode::NotFound, format!("container {:?} does not exist", short(cid)))
}

/// Messages are cut where a frame would grow too long: they may quote what a client sent.
pub(super) fn refusal(code: ErrorCode, message: impl Into<String>) -> Refusal {
    let mut message: String = message.into();
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
    message.truncate(end.unwrap_or(0));
    Refusal { code, message }
}

/// An id as a message shows it.
pub(super) fn short(id: &Id) -> String {
    let text = id.as_str();
    if text.len() <= 80 { text.to_owned() } else { format!("{}…", &text[..80]) }
}
