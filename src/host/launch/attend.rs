//! What a process has for others while it sets itself up, handed on: its terminal, and the listener of its seccomp filter.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use crate::host::HostError;
use crate::host::agent::Agent;
use crate::host::console::Console;
use crate::sys::descriptors::STDIO;
use crate::sys::tty;

/// Where the master of a container's terminal goes.
pub enum TerminalTo {
    /// There is none.
    Nowhere,
    /// To whoever listens there.
    Socket(Console),
    /// Kept here, for a foreground run.
    Us,
}

/// Hands on what comes of one process.
pub struct Attendant<'a> {
    terminal: &'a TerminalTo,
    agent: Option<&'a Agent>,
    /// From here on the agent may be asked about every call of the process.
    asked: bool,
}

impl<'a> Attendant<'a> {
    /// `agent`: who is asked about its system calls, if its filter asks anybody.
    pub fn new(terminal: &'a TerminalTo, agent: Option<&'a Agent>) -> Attendant<'a> {
        Attendant { terminal, agent, asked: false }
    }

    /// Returns what is to be kept here.
    pub(super) fn terminal(&self, master: OwnedFd) -> Result<Option<OwnedFd>, HostError> {
        match self.terminal {
            TerminalTo::Nowhere => Ok(None),
            TerminalTo::Socket(console) => console.send(master.as_fd()).map(|()| None),
            TerminalTo::Us => {
                fit(master.as_fd());
                Ok(Some(master))
            }
        }
    }

    /// Hands it on and lets go of it. Returns who is asked from here on.
    pub(super) fn listener(&mut self, listener: OwnedFd, pid: i32) -> Result<PathBuf, HostError> {
        let agent = self.agent.ok_or(HostError::NoAgent)?;
        agent.hand_over(listener.as_fd(), pid)?;
        self.asked = true;
        Ok(agent.path().to_owned())
    }

    /// A process that ends while an agent is asked most likely got no answer, or not the one it needs.
    pub(super) fn cause_of(&self, error: HostError) -> HostError {
        match self.agent.filter(|_| self.asked) {
            Some(agent) => error.under_agent(agent.path()),
            None => error,
        }
    }
}

/// Gives a container's terminal the size of ours; before the start, so that the application never sees another.
pub fn fit(master: BorrowedFd<'_>) {
    if let Some(size) = STDIO.iter().find_map(|ours| tty::window_size(*ours).ok()) {
        let _ = tty::set_window_size(master, size);
    }
}
