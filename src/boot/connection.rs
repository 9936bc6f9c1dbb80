//! One client: what it still has to be told, and how much more it may ask.
//!
//! A client that does not read costs only itself: its answers wait here, and after a fixed number of unanswered
//! requests nothing more is read from it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::control::wire;
use crate::sys::poller::{Interest, Poller};

/// Requests of one client that have no answer yet, waits included.
const MAX_UNANSWERED: usize = 32;

/// Whether there was a place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    Served,
    /// It is told so, whatever it asks, and hung up on.
    TurnedAway,
}

#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    token: u64,
    interest: Interest,
    outgoing: VecDeque<Vec<u8>>,
    unanswered: usize,
    pub welcome: Welcome,
    /// Both sides speak the same version.
    pub greeted: bool,
    pub last_used: Instant,
}

impl Connection {
    pub fn new(socket: OwnedFd, token: u64, welcome: Welcome, poller: &Poller) -> io::Result<Connection> {
        poller.watch(socket.as_fd(), token, Interest::Read)?;
        Ok(Connection {
            socket,
            token,
            interest: Interest::Read,
            outgoing: VecDeque::new(),
            unanswered: 0,
            welcome,
            greeted: false,
            last_used: Instant::now(),
        })
    }

    /// One frame, if there is one and this client may ask now.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<wire::Received> {
        if self.is_full() {
            return Ok(wire::Received::Nothing);
        }
        let received = wire::receive(self.socket.as_fd(), buffer)?;
        if matches!(received, wire::Received::Message { .. }) {
            self.unanswered += 1;
            self.last_used = Instant::now();
        }
        Ok(received)
    }

    pub fn answer(&mut self, frame: Vec<u8>) {
        self.outgoing.push_back(frame);
    }

    /// Sends what the client is ready to take. An error: it is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.outgoing.front() {
            match wire::send(self.socket.as_fd(), frame, &[]) {
                Ok(()) => {
                    self.outgoing.pop_front();
                    self.unanswered = self.unanswered.saturating_sub(1);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the kernel what we now want to know of it.
    pub fn update(&mut self, poller: &Poller) -> io::Result<()> {
        let interest = match (self.is_full(), self.outgoing.is_empty()) {
            (false, true) => Interest::Read,
            (false, false) => Interest::ReadWrite,
            (true, true) => Interest::Nothing,
            (true, false) => Interest::Write,
        };
        if interest != self.interest {
            poller.change(self.socket.as_fd(), self.token, interest)?;
            self.interest = interest;
        }
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.unanswered >= MAX_UNANSWERED
    }

    /// Owes nothing and is owed nothing: it can be closed when another needs its place.
    pub fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    pub fn close(self, poller: &Poller) {
        poller.forget(self.socket.as_fd());
    }
}
