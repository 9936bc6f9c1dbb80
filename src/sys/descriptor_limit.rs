//! This process's soft limit of open files, where it has raised that for its own needs: whatever it executes for others goes
//! back to what it was called with.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::privilege;

/// [`NONE`]: nothing was raised. Nobody has so many and needs more.
static CALLED_WITH: AtomicU64 = AtomicU64::new(NONE);

const NONE: u64 = u64::MAX;

/// As many as the hard limit allows, up to `wanted`; never less than before. While there is a single thread.
pub fn raise_to(wanted: u64) -> io::Result<()> {
    let (soft, hard) = privilege::descriptor_limits()?;
    if soft < wanted.min(hard) {
        privilege::set_descriptor_limit(wanted.min(hard))?;
        // Raised twice, it is still the first that was called with.
        let _ = CALLED_WITH.compare_exchange(NONE, soft, Ordering::Relaxed, Ordering::Relaxed);
    }
    Ok(())
}

/// What this process is to go back to, as whoever has cloned it says.
pub fn remember(soft: u64) {
    CALLED_WITH.store(soft, Ordering::Relaxed);
}

/// What this process was called with, if it has raised that since.
pub fn called_with() -> Option<u64> {
    Some(CALLED_WITH.load(Ordering::Relaxed)).filter(|soft| *soft != NONE)
}

/// Once: what is set afterwards stays.
pub fn go_back() -> io::Result<()> {
    match CALLED_WITH.swap(NONE, Ordering::Relaxed) {
        NONE => Ok(()),
        soft => privilege::set_descriptor_limit(soft),
    }
}
