//! The loop: one thread, one epoll over the listener, the clients, SIGCHLD, the creator, pidfds and start sockets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;

use super::connection::{Connection, Welcome};
use super::keeper::{Keeper, Token, Waiter, refusal};
use super::log::Log;
use super::relay::{BREATH, Relay, Turn};
use crate::control::method::{ErrorCode, Refusal, Request, VERSION};
use crate::control::wire::{self, DecodeError, MAX_FRAME, Received, RequestId};
use crate::model::Id;
use crate::model::record::PidNamespace;
use crate::sys::memory::Code;
use crate::sys::poller::{Interest, Poller, Ready};
use crate::sys::{privilege, seqpacket, signals};

const LISTENER: Token = 0;
const CHILDREN: Token = 1;
const CREATOR: Token = 2;
const NOTICES: Token = 3;
const LAST_FIXED: Token = 15;

/// How many clients are served at once, where there are descriptors for so many.
const MOST_SERVED: usize = 1152;
/// One in so many places is kept from those that wait for an end, which may take for ever, for everybody else.
const RESERVED: usize = 9;
/// Clients beyond those are told that there is no place for them. With more, they wait in the socket's queue.
const MOST_TURNED_AWAY: usize = 32;
/// A client that has been silent for so long may have to make room. Before, it may be about to ask.
const SILENT: Duration = Duration::from_secs(1);

/// How often a full disk is tried again, and a listener that could not be served.
const SOON: Duration = Duration::from_millis(200);
/// How often a dead process is looked at again, should the kernel not have told us that it was reaped.
const LATER: Duration = Duration::from_secs(1);

/// What a supervisor is made of; every descriptor is its own from then on.
pub struct Settings {
    /// The id of the sandbox, which is that of its root container.
    pub sandbox: Id,
    /// Listening, nonblocking.
    pub listener: OwnedFd,
    /// Exit records are written from its position on.
    pub exits: File,
    /// A pidfd.
    pub creator: OwnedFd,
    /// Dies with its creator even after a root was adopted.
    pub attached: bool,
    /// In one of our own we are pid 1 and reap strays.
    pub pid_namespace: PidNamespace,
    /// Our own instructions, let go of whenever no client is left: nobody knows for how long.
    pub code: Option<Code>,
    /// Shared with what it keeps.
    pub log: Rc<Log>,
}

/// Why a supervisor has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The root container has ended and that is recorded, or the sandbox was destroyed.
    Ended,
    /// Before the sandbox was detached from it.
    CreatorGone,
}

/// One thread and one epoll loop over its socket, its signals and the pidfds of what it keeps.
pub struct Supervisor {
    keeper: Keeper,
    poller: Rc<Poller>,
    listener: OwnedFd,
    listening: Listening,
    children: SignalFd,
    /// Until the sandbox is detached.
    creator: Option<OwnedFd>,
    attached: bool,
    pid_namespace: PidNamespace,
    code: Option<Code>,
    connections: BTreeMap<Token, Connection>,
    places: Places,
    /// Until when the container's notices are left alone: there were too many of them.
    notices_wait: Option<Instant>,
    buffer: Vec<u8>,
    more_strays: bool,
    log: Rc<Log>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listening {
    Now,
    /// There was no descriptor, or no place at all, for another client.
    Paused,
}

/// How many clients there is room for.
#[derive(Debug, Clone, Copy)]
struct Places {
    served: usize,
    /// Of them, those that may wait for an end.
    waiting: usize,
}

impl Places {
    /// Half of the descriptors are for what is kept.
    fn among(descriptors: u64) -> Places {
        let served = usize::try_from(descriptors / 2).unwrap_or(MOST_SERVED).min(MOST_SERVED);
        Places { served, waiting: served - served / RESERVED }
    }
}

impl Supervisor {
    /// Blocks every signal of this thread: none but SIGKILL ends the supervisor.
    pub fn new(settings: Settings) -> io::Result<Supervisor> {
        let Settings { sandbox, listener, exits, creator, attached, pid_namespace, code, log } = settings;
        signals::block_all()?;
        let (poller, children) = (Rc::new(Poller::new()?), signals::children()?);
        poller.watch(listener.as_fd(), LISTENER, Interest::Read)?;
        poller.watch(children.as_fd(), CHILDREN, Interest::Read)?;
        poller.watch(creator.as_fd(), CREATOR, Interest::Read)?;
        let keeper = Keeper::new(sandbox, exits, Rc::clone(&poller), Rc::clone(&log), LAST_FIXED);
        Ok(Supervisor {
            keeper,
            poller,
            listener,
            listening: Listening::Now,
            children,
            creator: Some(creator),
            attached,
            pid_namespace,
            code,
            connections: BTreeMap::new(),
            places: Places::among(privilege::descriptor_limit()?),
            notices_wait: None,
            buffer: vec![0; MAX_FRAME],
            // What died before SIGCHLD was blocked was not told.
            more_strays: true,
            log,
        })
    }

    /// For a container whose host waits for it to be ready.
    pub fn with_relay(mut self, relay: Relay) -> io::Result<Supervisor> {
        self.poller.watch(relay.as_fd(), NOTICES, Interest::Read)?;
        self.keeper.relay = Some(relay);
        Ok(self)
    }

    /// Until the sandbox ends. An error means that the loop itself cannot go on.
    pub fn run(mut self) -> io::Result<Departure> {
        let mut ready = Vec::new();
        loop {
            self.poller.wait(&mut ready, self.timeout())?;
            for event in &ready {
                if event.token == CREATOR && (self.attached || !self.keeper.is_detached()) {
                    self.log.debug("the creator is gone, and so are we");
                    self.keeper.kill_all();
                    return Ok(Departure::CreatorGone);
                }
                self.serve(*event);
            }
            self.tend();
            let finished = self.keeper.is_finished();
            self.deliver();
            if finished {
                return Ok(Departure::Ended);
            }
            // What answers requests, and what ran at the start, is most of our resident size.
            if let (Some(code), true) = (self.code, self.connections.is_empty()) {
                code.let_go();
            }
        }
    }

    fn serve(&mut self, event: Ready) {
        match event.token {
            LISTENER => self.accept(),
            CHILDREN => {
                signals::drain(&self.children);
                self.keeper.settle_all();
                self.more_strays = true;
            }
            CREATOR => {}
            NOTICES => self.relay_notices(),
            token if self.connections.contains_key(&token) => self.serve_connection(event),
            token => {
                if !self.keeper.start_spoke(token) {
                    self.keeper.settle(token);
                }
            }
        }
    }

    /// What is due after every round, whatever woke us.
    fn tend(&mut self) {
        if self.more_strays {
            self.more_strays = self.pid_namespace == PidNamespace::Own && self.keeper.reap_strays();
        }
        if self.keeper.has_dead() {
            self.keeper.settle_dead();
        }
        self.keeper.retry_exits();
        if self.notices_wait.is_some_and(|until| Instant::now() >= until) {
            self.relay_notices();
        }
        if self.listening == Listening::Paused
            && self.connections.len() < self.places.served + MOST_TURNED_AWAY
            && self.poller.watch(self.listener.as_fd(), LISTENER, Interest::Read).is_ok()
        {
            self.listening = Listening::Now;
        }
        if self.keeper.is_detached()
            && !self.attached
            && let Some(creator) = self.creator.take()
        {
            self.poller.forget(creator.as_fd());
        }
    }

    fn timeout(&self) -> Option<u16> {
        if self.more_strays {
            return Some(0);
        }
        let soon = self.keeper.has_unrecorded() || self.listening == Listening::Paused;
        let closing = self.keeper.closing_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let notices = self.notices_wait.map(|at| at.saturating_duration_since(Instant::now()));
        let closing = closing.filter(|left| !left.is_zero());
        let due = [soon.then_some(SOON), self.keeper.has_dead().then_some(LATER), closing, notices];
        due.into_iter().flatten().min().map(|left| left.as_millis().min(60_000) as u16 + 1)
    }

    /// A container that has a lot to say is heard a little at a time, and everybody else meanwhile.
    fn relay_notices(&mut self) {
        let Some(turn) = self.keeper.relay_notices() else { return };
        let (waited, waits) = (self.notices_wait.is_some(), turn == Turn::More);
        self.notices_wait = waits.then(|| Instant::now() + BREATH);
        let Some(relay) = &self.keeper.relay else { return };
        match (waited, waits) {
            (false, true) => self.poller.forget(relay.as_fd()),
            // Once more later, should there be no room for it now.
            (true, false) if self.poller.watch(relay.as_fd(), NOTICES, Interest::Read).is_err() => {
                self.notices_wait = Some(Instant::now() + BREATH);
            }
            _ => {}
        }
    }

    fn accept(&mut self) {
        let mut welcome = Welcome::Served;
        if self.connections.len() >= self.places.served && !self.close_a_silent_one() {
            if self.connections.len() >= self.places.served + MOST_TURNED_AWAY {
                return self.stop_listening();
            }
            welcome = Welcome::TurnedAway;
        }
        match seqpacket::accept(self.listener.as_fd()) {
            Ok(Some(socket)) => {
                let token = self.keeper.next_token();
                match Connection::new(socket, token, welcome, &self.poller) {
                    Ok(connection) => {
                        self.connections.insert(token, connection);
                    }
                    Err(error) => self.log.error(&format!("cannot serve a client: {error}")),
                }
            }
            Ok(None) => {}
            Err(error) => {
                self.log.error(&format!("cannot accept a client: {error}"));
                self.stop_listening();
            }
        }
    }

    fn stop_listening(&mut self) {
        self.poller.forget(self.listener.as_fd());
        self.listening = Listening::Paused;
    }

    /// The one that was silent for longest.
    fn close_a_silent_one(&mut self) -> bool {
        let silent = |connection: &Connection| connection.is_idle() && connection.last_used.elapsed() > SILENT;
        let silent = self.connections.iter().filter(|(_, connection)| silent(connection));
        match silent.min_by_key(|(_, connection)| connection.last_used).map(|(&token, _)| token) {
            Some(token) => {
                self.close(token);
                true
            }
            None => false,
        }
    }

    fn serve_connection(&mut self, event: Ready) {
        let Some(connection) = self.connections.get_mut(&event.token) else { return };
        if event.hung_up && connection.is_full() {
            return self.close(event.token);
        }
        match connection.receive(&mut self.buffer) {
            Ok(Received::Message { length, fds }) => self.serve_frame(event.token, length, fds),
            Ok(Received::Nothing) => self.flush(event.token),
            Ok(Received::End) => self.close(event.token),
            Err(error) => {
                self.log.debug(&format!("a client is not understood: {error}"));
                self.close(event.token);
            }
        }
    }

    fn serve_frame(&mut self, token: Token, length: usize, fds: Vec<OwnedFd>) {
        let waiting = self.connections.values().filter(|connection| !connection.is_idle()).count();
        let (request, outcome) = match wire::decode_request(&self.buffer[..length]) {
            Ok((id, request)) => {
                let Some(connection) = self.connections.get_mut(&token) else { return };
                match &request {
                    _ if connection.welcome == Welcome::TurnedAway => return self.turn_away(token, id),
                    // Another version is told ours, and what it asks next is refused.
                    Request::Handshake(handshake) => connection.greeted = handshake.version == VERSION,
                    _ if connection.greeted => {}
                    _ => return self.close(token),
                }
                let waits = matches!(request, Request::Wait(_) | Request::WaitPid(_) | Request::AwaitReady(_));
                if waits && waiting > self.places.waiting {
                    (id, Some(Err(busy(self.places.waiting))))
                } else {
                    (id, self.keeper.handle(Waiter { connection: token, request: id }, request, fds))
                }
            }
            Err(error) => match error.request_id() {
                Some(id) => {
                    let code = match error {
                        DecodeError::UnknownMethod { .. } => ErrorCode::UnknownMethod,
                        _ => ErrorCode::Invalid,
                    };
                    (id, Some(Err(refusal(code, error.to_string()))))
                }
                None => return self.close(token),
            },
        };
        if let Some(outcome) = outcome
            && let Some(connection) = self.connections.get_mut(&token)
        {
            connection.answer(wire::encode_reply(request, &outcome));
        }
        self.flush(token);
    }

    fn turn_away(&mut self, token: Token, request: RequestId) {
        if let Some(connection) = self.connections.get_mut(&token) {
            connection.answer(wire::encode_reply(request, &Err(busy(self.places.served))));
            let _ = connection.flush();
        }
        self.close(token);
    }

    /// Hands out the answers that have become ready.
    fn deliver(&mut self) {
        for (waiter, outcome) in self.keeper.take_answers() {
            // Else the client is gone.
            if let Some(connection) = self.connections.get_mut(&waiter.connection) {
                connection.answer(wire::encode_reply(waiter.request, &outcome));
                self.flush(waiter.connection);
            }
        }
    }

    fn flush(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if connection.flush().and_then(|()| connection.update(&self.poller)).is_err() {
            self.close(token);
        }
    }

    fn close(&mut self, token: Token) {
        if let Some(connection) = self.connections.remove(&token) {
            connection.close(&self.poller);
            self.keeper.forget_connection(token);
        }
    }
}

fn busy(others: usize) -> Refusal {
    refusal(ErrorCode::Busy, format!("the supervisor is busy: it is there, and {others} others wait for its answers"))
}
