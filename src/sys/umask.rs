//! What is to have exactly the mode that is asked for.

use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};

/// Runs `make` with a umask that takes nothing away. Threads share theirs: this one takes leave of the others first. Where a
/// filter refuses that, as those of containers do, there has to be no other.
pub fn cleared<T>(make: impl FnOnce() -> T) -> T {
    let _ = unshare(CloneFlags::CLONE_FS);
    let before = umask(Mode::empty());
    let made = make();
    umask(before);
    made
}

/// This process's own. There is no call that only looks; whoever has threads that make files has to ask before it has them.
pub fn current() -> u32 {
    let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
    umask(mask);
    mask.bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_cleared_for_the_time_of_it_and_for_this_thread_alone() {
        let ours = || {
            let mask = umask(Mode::empty());
            umask(mask);
            mask
        };
        std::thread::spawn(move || {
            assert_eq!(nix::sched::unshare(CloneFlags::CLONE_FS), Ok(()));
            umask(Mode::S_IRWXO);
            assert_eq!(cleared(ours), Mode::empty());
            assert_eq!(ours(), Mode::S_IRWXO);
        })
        .join()
        .unwrap();
    }
}
