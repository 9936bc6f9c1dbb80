//! Signals by which somebody ends a command that waits for others while it makes something.
//!
//! Their default would end us at once and leave what we have begun to whoever recovers it. So, from [`begin`] on, they are
//! blocked and kept, and every wait for somebody else looks for them, too ([`wait`]): the step that is under way fails, and
//! is taken back like every other that fails. Each signal ends one wait: a second one ends what the first one's taking back
//! waits for.
//!
//! Signals are of the process as a whole, and so is this. Where nobody has begun, as in whatever we execute, a wait is a
//! wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::ready::{self, Readiness, timeout_until};
use super::signals;

/// Those that somebody sends who wants us to end.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Signals that are about us and not for an application: in the background of a shell, touching the terminal stops us
/// until we are in its foreground, as it stops every other program.
const OURS: [Signal; 11] = [
    Signal::SIGCHLD,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
    Signal::SIGURG,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Which signals are blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Those that ask for an end, unless whoever has called us had them ignored, as nohup(1) does.
    Ending,
    /// All that could be meant for an application, which gets what has not ended us.
    ForApplication,
}

/// The signals by which this process is told to end, blocked and read from a descriptor.
pub struct Interrupts {
    signals: SignalFd,
    /// Taken and not yet used.
    early: Mutex<Vec<i32>>,
    /// Those that nobody but the application may be ended by.
    ignored: Vec<i32>,
}

static CURRENT: OnceLock<Interrupts> = OnceLock::new();

/// From here on signals are kept. To be called before any thread is made: each thread that does not block a signal may be
/// ended by it. Called again, it changes nothing.
pub fn begin(kept: Blocked) -> io::Result<&'static Interrupts> {
    if let Some(current) = CURRENT.get() {
        return Ok(current);
    }
    let ignored: Vec<i32> =
        ENDING.into_iter().map(|signal| signal as i32).filter(|signal| signals::is_ignored(*signal)).collect();
    let mut set = SigSet::empty();
    match kept {
        Blocked::Ending => {
            for signal in ENDING.into_iter().filter(|signal| !ignored.contains(&(*signal as i32))) {
                set.add(signal);
            }
        }
        Blocked::ForApplication => {
            set = SigSet::all();
            for signal in OURS {
                set.remove(signal);
            }
        }
    }
    set.thread_block()?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    Ok(CURRENT.get_or_init(|| Interrupts { signals, early: Mutex::default(), ignored }))
}

/// None: a signal does what it does.
pub fn current() -> Option<&'static Interrupts> {
    CURRENT.get()
}

impl AsFd for Interrupts {
    /// Readable when there may be one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Interrupts {
    /// One by which somebody wants us to end, if any has come; it is used up. The others stay.
    pub fn ending(&self) -> Option<i32> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(Some(info)) = self.signals.read_signal() {
            early.push(info.ssi_signo as i32);
        }
        let ends =
            |signal: &i32| ENDING.iter().any(|ending| *ending as i32 == *signal) && !self.ignored.contains(signal);
        let at = early.iter().position(ends)?;
        Some(early.remove(at))
    }

    /// All that have come, in their order; they are used up.
    pub fn take(&self) -> Vec<i32> {
        let mut taken = std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner));
        while let Ok(Some(info)) = self.signals.read_signal() {
            taken.push(info.ssi_signo as i32);
        }
        taken
    }

    fn give_back(&self, signal: i32) {
        self.early.lock().unwrap_or_else(PoisonError::into_inner).insert(0, signal);
    }
}

/// What a wait came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for is there.
    Ready,
    /// The deadline has passed.
    TimeUp,
    /// Somebody wants us to end, by this signal.
    Interrupted(i32),
}

/// As [`ready::wait`], but that a signal ends it, too. `grace`: for so long it goes on then; what comes within it is what
/// was waited for, and the signal is kept.
pub fn wait(
    fd: BorrowedFd<'_>,
    readiness: Readiness,
    deadline: Option<Instant>,
    grace: Duration,
) -> io::Result<Waited> {
    let told = |ready| if ready { Waited::Ready } else { Waited::TimeUp };
    let Some(interrupts) = current() else { return ready::wait(fd, readiness, deadline).map(told) };
    loop {
        let mut watched = [PollFd::new(fd, readiness.flags()), PollFd::new(interrupts.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, timeout_until(deadline)) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(Waited::TimeUp),
            Ok(0) | Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) if watched[0].any().unwrap_or(true) => return Ok(Waited::Ready),
            Ok(_) => {}
        }
        let Some(signal) = interrupts.ending() else { continue };
        let last = Instant::now() + grace;
        let last = deadline.map_or(last, |deadline| deadline.min(last));
        if !grace.is_zero() && ready::wait(fd, readiness, Some(last))? {
            interrupts.give_back(signal);
            return Ok(Waited::Ready);
        }
        return Ok(Waited::Interrupted(signal));
    }
}

/// SIGTERM, for a message.
pub fn name_of(signal: i32) -> &'static str {
    Signal::try_from(signal).map_or("a signal", Signal::as_str)
}
