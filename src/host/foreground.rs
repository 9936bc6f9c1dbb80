//! A foreground run or exec: this process is the parent, passes signals on, and exits as the application did.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, Termios};

use super::launch::Launched;
use super::launch::attend::fit;
use super::{HostError, Trying};
use crate::sys::descriptors::{STDIN, STDIO};
use crate::sys::interrupt::{self, Blocked, Interrupts};
use crate::sys::pidfd;
use crate::sys::ready::timeout_until;

/// Signals that were kept for the application, and come to it from now on.
#[derive(Clone, Copy)]
pub struct Forwarding(&'static Interrupts);

impl Forwarding {
    /// As [`interrupt::begin`] says, which this calls: what wants us to end before there is an application does.
    pub fn begin() -> Result<Forwarding, HostError> {
        interrupt::begin(Blocked::ForApplication).map(Forwarding).trying(|| "keep signals for the application".into())
    }

    /// What has come so far is for nobody any more: the application has ended.
    pub fn forget(self) {
        drop(self.0.take());
    }
}

/// The application's terminal.
pub struct Screen<'a> {
    /// What is typed goes in here, and its output comes out.
    pub master: OwnedFd,
    /// Those of our descriptors 0 to 2 that the application has itself: there is nothing to carry for them.
    pub kept: &'a [i32],
}

/// What ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its exit code, or 128 + signal.
    Exited(u8),
    /// It still runs, and is still to be reaped.
    TimeUp,
}

/// Waits for the process, our child, with its terminal if it has one.
pub fn wait(
    process: &Launched,
    screen: Option<Screen<'_>>,
    signals: Forwarding,
    deadline: Option<Instant>,
) -> Result<End, HostError> {
    let mut proxy = screen.map(Proxy::begin).transpose()?;
    forward(signals, process.pidfd.as_fd(), proxy.as_ref());
    loop {
        let mut watched = vec![
            PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(proxy) = &proxy {
            watched.extend(proxy.interests());
        }
        match poll(&mut watched, timeout_until(deadline)) {
            Err(nix::Error::EINTR) => continue,
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(End::TimeUp),
            other => other.trying(|| "wait for the container".into())?,
        };
        let ready: Vec<PollFlags> = watched.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        drop(watched);
        if !ready[1].is_empty() {
            forward(signals, process.pidfd.as_fd(), proxy.as_ref());
        }
        let goes_on = proxy.as_mut().map(|proxy| proxy.pump(&ready[2..])).transpose()?;
        if goes_on == Some(Output::Unwanted) {
            // The application's terminal hangs up, as one whose window was closed.
            proxy = None;
        }
        if !ready[0].is_empty() {
            let status = pidfd::wait_child(process.pidfd.as_fd()).trying(|| "reap the container's process".into())?;
            if let Some(status) = status {
                if let Some(proxy) = &mut proxy {
                    proxy.drain();
                }
                return Ok(End::Exited(exit_code(status)));
            }
        }
    }
}

/// From a raw wait status (wait(2)).
pub fn exit_code(status: i32) -> u8 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) as u8 } else { libc::WEXITSTATUS(status) as u8 }
}

fn forward(signals: Forwarding, process: BorrowedFd<'_>, proxy: Option<&Proxy>) {
    for signal in signals.0.take() {
        if let Some(proxy) = proxy {
            match signal {
                libc::SIGWINCH => {
                    proxy.resize();
                    continue;
                }
                // Whoever stopped us has had the terminal meanwhile.
                libc::SIGCONT => proxy.take_terminal(),
                _ => {}
            }
        }
        // One that is already gone will be reaped in a moment.
        let _ = pidfd::send_signal(process, signal);
    }
}

/// Between our terminal and the container's.
struct Proxy {
    master: OwnedFd,
    /// Our terminal's settings, put back when we are done; None when stdin is no terminal.
    saved: Option<Termios>,
    /// Read from stdin, not yet taken by the container.
    pending: Vec<u8>,
    stdin_open: bool,
    master_open: bool,
    /// Where what it writes goes.
    output: BorrowedFd<'static>,
}

impl Proxy {
    fn begin(screen: Screen<'_>) -> Result<Proxy, HostError> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let Screen { master, kept } = screen;
        fcntl(master.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).trying(|| "set up the terminal".into())?;
        let is_ours = |number: &usize| !kept.contains(&(*number as i32));
        let stdin_open = is_ours(&0);
        let saved = if stdin_open { termios::tcgetattr(STDIN).ok() } else { None };
        // With all of them kept there is nobody to write to; with the input alone it is a terminal, open for both.
        let output = STDIO[[1, 2, 0].into_iter().find(is_ours).unwrap_or(1)];
        let proxy = Proxy { master, saved, pending: Vec::new(), stdin_open, master_open: true, output };
        match proxy.make_raw() {
            // Of a background job that no shell will ever bring to the foreground.
            Err(nix::Error::EIO) => {}
            other => other.trying(|| "make the terminal raw".into())?,
        }
        proxy.resize();
        Ok(proxy)
    }

    fn make_raw(&self) -> nix::Result<()> {
        let Some(saved) = &self.saved else { return Ok(()) };
        let mut raw = saved.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(STDIN, SetArg::TCSANOW, &raw)
    }

    /// Ours again, if we are in its foreground: otherwise it is somebody else's, and touching it would stop us.
    fn take_terminal(&self) {
        if is_ours() {
            let _ = self.make_raw();
            self.resize();
        }
    }

    fn resize(&self) {
        fit(self.master.as_fd());
    }

    fn reads(&self) -> bool {
        self.stdin_open && self.pending.is_empty()
    }

    /// Our stdin if we read it, then the master if it is open. A hung-up descriptor is always ready: it is left out once
    /// we know.
    fn interests(&self) -> Vec<PollFd<'_>> {
        let to_master = if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        let stdin = self.reads().then(|| PollFd::new(STDIN, PollFlags::POLLIN));
        let master = self.master_open.then(|| PollFd::new(self.master.as_fd(), PollFlags::POLLIN | to_master));
        stdin.into_iter().chain(master).collect()
    }

    /// `ready`: what became of the interests.
    fn pump(&mut self, ready: &[PollFlags]) -> Result<Output, HostError> {
        let mut ready = ready.iter().copied();
        let mut of = |watched: bool| if watched { ready.next() } else { None }.unwrap_or(PollFlags::empty());
        let (stdin, master) = (of(self.reads()), of(self.master_open));
        if !stdin.is_empty() {
            let mut buffer = [0u8; 4096];
            match nix::unistd::read(STDIN.as_raw_fd(), &mut buffer) {
                Ok(0) | Err(nix::Error::EIO) => self.stdin_open = false,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(_) => {}
            }
        }
        if master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR)
            && self.copy_out()? == Output::Unwanted
        {
            return Ok(Output::Unwanted);
        }
        if !self.pending.is_empty() {
            match nix::unistd::write(&self.master, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(_) => self.pending.clear(),
            }
        }
        Ok(Output::Wanted)
    }

    fn copy_out(&mut self) -> Result<Output, HostError> {
        let mut buffer = [0u8; 16384];
        match nix::unistd::read(self.master.as_raw_fd(), &mut buffer) {
            // The last holder of the slave is gone.
            Ok(0) | Err(nix::Error::EIO) => self.master_open = false,
            Ok(length) => return write_out(self.output, &buffer[..length]),
            Err(_) => {}
        }
        Ok(Output::Wanted)
    }

    /// What the application wrote just before its end.
    fn drain(&mut self) {
        let mut buffer = [0u8; 16384];
        while let Ok(length) = nix::unistd::read(self.master.as_raw_fd(), &mut buffer) {
            if length == 0 || !matches!(write_out(self.output, &buffer[..length]), Ok(Output::Wanted)) {
                break;
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(saved) = self.saved.as_ref().filter(|_| is_ours()) {
            let _ = termios::tcsetattr(STDIN, SetArg::TCSANOW, saved);
        }
    }
}

/// Whether anybody reads what the application writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Wanted,
    Unwanted,
}

/// All of it, also to a descriptor that somebody has made nonblocking.
fn write_out(out: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<Output, HostError> {
    while !bytes.is_empty() {
        match nix::unistd::write(out, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(nix::Error::EINTR) => {}
            Err(nix::Error::EAGAIN) => {
                let mut writable = [PollFd::new(out, PollFlags::POLLOUT)];
                let _ = poll(&mut writable, PollTimeout::NONE);
            }
            Err(nix::Error::EPIPE) => return Ok(Output::Unwanted),
            Err(errno) => return Err(errno).trying(|| "write what the application says".into()),
        }
    }
    Ok(Output::Wanted)
}

/// Whether we are the foreground job of our terminal. One that controls no jobs is nobody else's.
fn is_ours() -> bool {
    nix::unistd::tcgetpgrp(STDIN).map_or(true, |foreground| foreground == nix::unistd::getpgrp())
}
