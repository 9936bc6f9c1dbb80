//! Signals of this process: back to the defaults, blocked, and read from a descriptor.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Every disposition back to its default and nothing blocked: both are inherited through exec, and an inherited
/// SIGCHLD=ignore makes the kernel reap behind our back.
pub fn reset() -> io::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code. SIGKILL, SIGSTOP and those the C library keeps are refused, rightly.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// SIGCHLD back to its default: where the caller ignored it, our children would be reaped behind our back.
pub fn default_for_children() {
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Nothing interrupts this thread any more; what is sent to it stays pending for ever, or for a [`children`] reader.
pub fn block_all() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

/// Readable when a child has ended, while SIGCHLD is blocked.
pub fn children() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Readable while one of those that ask a program to end waits, blocked; it goes on waiting.
pub fn to_end() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        mask.add(signal);
    }
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Takes every signal that waits in it; what they said does not matter, only that they came.
pub fn drain(signals: &SignalFd) {
    while let Ok(Some(_)) = signals.read_signal() {}
}
