//! Engines: the clients that call a runtime in real life. A test starts one itself, with roots, sockets and cgroups of its
//! own in one temporary folder, and stops it again.
//!
//! * [`Podman`], [`Containerd`] and [`Docker`] each are one engine. Dropping one removes what it runs, stops it by its pid
//!   and looks for what is left behind: a process, a cgroup, a mount, a socket or a sandbox is a failure.
//! * [`Engine`] is what podman and docker have in common: `tests/callers/engines.rs` says once what each must show.
//! * [`Shared`] lets all tests of a program use one engine: the last of them to leave stops it.
//! * [`image`] makes the image that they run: no registry is ever asked.
//!
//! `SANDKEEP_BIN=/usr/sbin/runc cargo test --test callers engines` runs the same tests on another runtime, which tells a fault of
//! ours from a habit of the engine. With `SANDKEEP_REQUIRE_ENGINES` set a missing engine fails the test.

pub mod containerd;
pub mod daemon;
pub mod docker;
pub mod engine;
pub mod hierarchies;
pub mod image;
pub mod left;
pub mod podman;

use std::sync::{Arc, Mutex, PoisonError, Weak};

pub use containerd::Containerd;
pub use docker::Docker;
pub use engine::Engine;
pub use podman::Podman;

/// One engine for all tests of a program.
pub struct Shared<E>(Mutex<Weak<E>>);

impl<E> Shared<E> {
    pub const fn new() -> Shared<E> {
        Shared(Mutex::new(Weak::new()))
    }

    /// The engine that runs, or a new one. A failing start is the caller's failure alone: the next one tries again.
    pub fn get_or_start(&self, start: impl FnOnce() -> E) -> Arc<E> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let engine = Arc::new(start());
            *shared = Arc::downgrade(&engine);
            engine
        })
    }
}

/// False, and said aloud, if one of these programs is not installed. If they are, the machine is in order for them.
#[track_caller]
pub fn installed(programs: &[&str]) -> bool {
    hierarchies::end_forgotten();
    let Some(missing) = programs.iter().find(|program| !crate::process::on_path(program)) else { return true };
    assert!(std::env::var_os("SANDKEEP_REQUIRE_ENGINES").is_none(), "{missing} is not installed");
    eprintln!("skipped: {missing} is not installed");
    false
}

/// Whether it is sandkeep that is tested, and not what it is compared with.
pub fn is_sandkeep() -> bool {
    let binary = crate::command::binary();
    std::path::Path::new(&binary).file_name().is_some_and(|name| name == "sandkeep")
}

/// Leaves the test, saying so, unless it is run by root with these programs on the PATH.
#[macro_export]
macro_rules! needs_engine {
    ($($program:literal),+) => {
        $crate::needs_root!();
        if !$crate::engines::installed(&[$($program),+]) {
            return;
        }
    };
}
pub use needs_engine;
