//! Names that change their meaning while the runtime looks at them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::fcntl::{RenameFlags, renameat2};

/// Swaps two names of a folder as fast as it can for as long as it lives.
pub struct Swapping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Swapping {
    pub fn begin(one: &Path, other: &Path) -> Swapping {
        let (one, other) = (one.to_owned(), other.to_owned());
        Swapping::doing(move || renameat2(None, &one, None, &other, RenameFlags::RENAME_EXCHANGE).is_ok())
    }

    /// Does this again and again; it says whether it did anything.
    pub fn doing(mut once: impl FnMut() -> bool + Send + 'static) -> Swapping {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut times = 0;
            while !ends.load(Ordering::Relaxed) {
                times += u64::from(once());
            }
            times
        });
        Swapping { stop, thread: Some(thread) }
    }

    /// Ends it; how many times it swapped.
    pub fn end(mut self) -> u64 {
        self.join()
    }

    fn join(&mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map_or(u64::MAX, |thread| thread.join().unwrap_or(0))
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        let times = self.join();
        assert!(times > 100 || std::thread::panicking(), "hardly anything was swapped");
    }
}
