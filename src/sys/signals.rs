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

/// Whether its disposition is to be ignored, which is inherited through exec.
pub fn is_ignored(number: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action this only writes the present one, to memory of its size; zeroed, it is one already.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Takes every signal that waits in it; what they said does not matter, only that they came.
pub fn drain(signals: &SignalFd) {
    while let Ok(Some(_)) = signals.read_signal() {}
}
