//! The scheduling of one thread.

use std::io;

/// Puts the calling thread before others that compete for a processor, and tells the kernel that threads and processes
/// it starts do not inherit this (SCHED_RESET_ON_FORK, sched(7)). Needs CAP_SYS_NICE or a nice limit; without, nothing
/// changes and the error says so.
pub fn raise_this_thread() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameter outlives the call.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &parameter) })?;
    set_nice(-20)
}

/// Back to the usual priority.
pub fn settle_this_thread() -> io::Result<()> {
    set_nice(0)
}

fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread (Linux: a nice value belongs to a thread).
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
