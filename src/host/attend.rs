//! What a process has for others while it sets itself up, handed on: its terminal, and the listener of its seccomp filter.

use std::os::fd::{AsFd, OwnedFd};

use super::agent::Agent;
use super::create::TerminalTo;
use super::{HostError, foreground};

pub struct Attendant<'a> {
    terminal: &'a mut TerminalTo,
    agent: Option<&'a Agent>,
    /// From here on the agent may be asked about every call of the process.
    asked: bool,
}

impl<'a> Attendant<'a> {
    pub fn new(terminal: &'a mut TerminalTo, agent: Option<&'a Agent>) -> Attendant<'a> {
        Attendant { terminal, agent, asked: false }
    }

    pub(super) fn terminal(&mut self, master: OwnedFd) -> Result<(), HostError> {
        match self.terminal {
            TerminalTo::Nowhere => Ok(()),
            TerminalTo::Socket(console) => console.send(master.as_fd()),
            TerminalTo::Us(kept) => {
                foreground::fit(master.as_fd());
                *kept = Some(master);
                Ok(())
            }
        }
    }

    /// Hands it on and lets go of it. Returns what is waited for from here on, in words.
    pub(super) fn listener(&mut self, listener: OwnedFd, pid: i32) -> Result<String, HostError> {
        let Some(agent) = self.agent else {
            let text =
                "the seccomp filter has a listener, and the configuration no linux.seccomp.listenerPath".to_owned();
            return Err(HostError::Container { text, exit_code: 1 });
        };
        agent.hand_over(listener.as_fd(), pid)?;
        self.asked = true;
        Ok(format!("setting up the container, about which the seccomp agent at {:?} is asked", agent.path()))
    }

    /// A process that dies without a word while an agent is asked most likely got no answer, or not the one it needs.
    pub(super) fn cause_of(&self, error: HostError) -> HostError {
        match (error, self.agent.filter(|_| self.asked)) {
            (HostError::Container { text, exit_code }, Some(agent)) => {
                let text = format!("{text} (the seccomp agent at {:?} decides about its system calls)", agent.path());
                HostError::Container { text, exit_code }
            }
            (error, _) => error,
        }
    }
}
