//! A foreground run or exec: this process is the parent, passes signals on, and exits as the application did.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{self, SetArg, Termios};

use super::launch::Launched;
use super::{HostError, Trying};
use crate::sys::{pidfd, tty};

/// Signals that are about us and not for the application.
const OURS: [Signal; 9] = [
    Signal::SIGCHLD,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
    Signal::SIGURG,
];

/// Signals that arrive from now on are kept for the application. To be called before any thread is made: each thread
/// that does not block a signal may be ended by it.
pub struct Forwarding(SignalFd);

impl Forwarding {
    pub fn begin() -> Result<Forwarding, HostError> {
        let mut set = SigSet::all();
        for signal in OURS {
            set.remove(signal);
        }
        set.thread_block().trying(|| "block signals".into())?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Forwarding).trying(|| "make a signalfd".into())
    }
}

/// Waits for the process, our child, with its terminal's master if it has one. Returns its exit code, or 128 + signal.
pub fn wait(process: &Launched, terminal: Option<OwnedFd>, signals: &Forwarding) -> Result<u8, HostError> {
    let mut proxy = terminal.map(Proxy::begin).transpose()?;
    loop {
        let mut watched = vec![
            PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(proxy) = &proxy {
            watched.extend(proxy.interests());
        }
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::Error::EINTR) => continue,
            other => other.trying(|| "wait for the container".into())?,
        };
        let ready: Vec<PollFlags> = watched.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        drop(watched);
        if !ready[1].is_empty() {
            forward(signals, process.pidfd.as_fd(), proxy.as_ref());
        }
        if let Some(proxy) = &mut proxy {
            proxy.pump(&ready[2..])?;
        }
        if !ready[0].is_empty() {
            let status = pidfd::wait_child(process.pidfd.as_fd()).trying(|| "reap the container's process".into())?;
            if let Some(status) = status {
                if let Some(proxy) = &mut proxy {
                    proxy.drain();
                }
                return Ok(exit_code(status));
            }
        }
    }
}

/// From a raw wait status (wait(2)).
pub fn exit_code(status: i32) -> u8 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) as u8 } else { libc::WEXITSTATUS(status) as u8 }
}

fn forward(signals: &Forwarding, process: BorrowedFd<'_>, proxy: Option<&Proxy>) {
    while let Ok(Some(info)) = signals.0.read_signal() {
        if info.ssi_signo == libc::SIGWINCH as u32
            && let Some(proxy) = proxy
        {
            proxy.resize();
            continue;
        }
        // One that is already gone will be reaped in a moment.
        let _ = pidfd::send_signal(process, info.ssi_signo as i32);
    }
}

/// Gives a container's terminal the size of ours; before the start, so that the application never sees another.
pub fn fit(master: BorrowedFd<'_>) {
    if let Ok(size) = tty::window_size(STDIN) {
        let _ = tty::set_window_size(master, size);
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
}

impl Proxy {
    fn begin(master: OwnedFd) -> Result<Proxy, HostError> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(master.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).trying(|| "set up the terminal".into())?;
        let stdin = io::stdin();
        let saved = termios::tcgetattr(stdin.as_fd()).ok();
        if let Some(saved) = &saved {
            let mut raw = saved.clone();
            termios::cfmakeraw(&mut raw);
            termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).trying(|| "make the terminal raw".into())?;
        }
        let proxy = Proxy { master, saved, pending: Vec::new(), stdin_open: true, master_open: true };
        proxy.resize();
        Ok(proxy)
    }

    fn resize(&self) {
        fit(self.master.as_fd());
    }

    /// Our stdin first, then the master.
    fn interests(&self) -> Vec<PollFd<'_>> {
        let from_stdin =
            if self.stdin_open && self.pending.is_empty() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut to_master = if self.master_open { PollFlags::POLLIN } else { PollFlags::empty() };
        if !self.pending.is_empty() {
            to_master |= PollFlags::POLLOUT;
        }
        // A hung-up descriptor is always ready: leave it out once we know.
        let mut interests = Vec::new();
        interests.push(PollFd::new(if self.stdin_open { STDIN } else { self.master.as_fd() }, from_stdin));
        if self.master_open {
            interests.push(PollFd::new(self.master.as_fd(), to_master));
        }
        interests
    }

    fn pump(&mut self, ready: &[PollFlags]) -> Result<(), HostError> {
        if self.stdin_open && self.pending.is_empty() && !ready[0].is_empty() {
            let mut buffer = [0u8; 4096];
            match nix::unistd::read(STDIN.as_raw_fd(), &mut buffer) {
                Ok(0) | Err(nix::Error::EIO) => self.stdin_open = false,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(_) => {}
            }
        }
        let master = ready.get(1).copied().unwrap_or(PollFlags::empty());
        if master.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.master_open = self.copy_out();
        }
        if !self.pending.is_empty() {
            match nix::unistd::write(&self.master, &self.pending) {
                Ok(written) => drop(self.pending.drain(..written)),
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
                Err(_) => self.pending.clear(),
            }
        }
        Ok(())
    }

    /// False once the last holder of the slave is gone.
    fn copy_out(&self) -> bool {
        let mut buffer = [0u8; 16384];
        match nix::unistd::read(self.master.as_raw_fd(), &mut buffer) {
            Ok(0) | Err(nix::Error::EIO) => false,
            Ok(length) => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                true
            }
            Err(_) => true,
        }
    }

    /// What the application wrote just before its end.
    fn drain(&mut self) {
        let mut buffer = [0u8; 16384];
        while let Ok(length) = nix::unistd::read(self.master.as_raw_fd(), &mut buffer) {
            if length == 0 {
                break;
            }
            let _ = io::stdout().lock().write_all(&buffer[..length]);
        }
        let _ = io::stdout().lock().flush();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            let _ = termios::tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, saved);
        }
    }
}

/// Descriptor 0, which is open for as long as this process lives.
const STDIN: BorrowedFd<'static> = crate::sys::descriptors::STDIN;
