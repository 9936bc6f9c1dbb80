//! The one way we wait for any lock. flock(2) belongs to the open file, not to the process; `lock` says what follows.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use fs2::FileExt;

/// The file, locked; None when that took too long. flock(2) knows no deadline, so the waiting is done by a thread,
/// started only when the lock is not free at once; one that gave up waiting lets go as soon as it gets the lock.
pub(super) fn lock_within(file: File, deadline: Duration) -> io::Result<Option<File>> {
    match file.try_lock_exclusive() {
        Ok(()) => return Ok(Some(file)),
        Err(error) if error.raw_os_error() != fs2::lock_contended_error().raw_os_error() => return Err(error),
        Err(_) if deadline.is_zero() => return Ok(None),
        Err(_) => {}
    }
    let (sender, receiver) = mpsc::sync_channel(0);
    let waiter = std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
        let locked = lock_blocking(&file).map(|()| file);
        if let Err(mpsc::SendError(Ok(file))) = sender.send(locked) {
            let _ = FileExt::unlock(&file);
        }
    })?;
    match receiver.recv_timeout(deadline) {
        Ok(locked) => {
            // Not a thread more than before, when this returns: the caller may be about to fork.
            let _ = waiter.join();
            locked.map(Some)
        }
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(ErrorKind::Interrupted.into()),
    }
}

pub(super) fn lock_blocking(file: &File) -> io::Result<()> {
    loop {
        match file.lock_exclusive() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            locked => return locked,
        }
    }
}
