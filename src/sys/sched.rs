//! The scheduling of one thread.

use std::io;

/// Lets the calling thread go before others that compete for a processor: first in, first out at the lowest real-time
/// priority, or where that may not be, the highest nice value. Threads and processes that it starts do not inherit
/// this (SCHED_RESET_ON_FORK, sched(7)). Needs CAP_SYS_NICE or the matching limit; without, nothing changes.
pub fn raise_this_thread() -> io::Result<()> {
    schedule(libc::SCHED_FIFO, 1).or_else(|_| {
        schedule(libc::SCHED_OTHER, 0)?;
        nice(-20)
    })
}

/// Back to the usual.
pub fn settle_this_thread() -> io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)?;
    nice(0)
}

fn schedule(policy: i32, priority: i32) -> io::Result<()> {
    // Not a literal: some C libraries have more fields in it.
    // SAFETY: all zeros is a valid sched_param.
    let mut parameter: libc::sched_param = unsafe { std::mem::zeroed() };
    parameter.sched_priority = priority;
    // SAFETY: 0 is the calling thread, and the parameter outlives the call.
    check(unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &parameter) })
}

fn nice(value: i32) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread (on Linux a nice value belongs to a thread).
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, value) })
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
