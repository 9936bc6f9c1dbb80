//! The harness of the integration tests: everything goes through the real binary, as a caller's would.
//!
//! * [`Env`] is one test's world: a root, bundles and ids of its own, all carrying one tag, so that tests can run beside
//!   each other and whatever is left behind can be told to be ours. Dropping it asserts that nothing is.
//! * [`Cmd`] runs a command under a deadline; [`Outcome`] says what came of it, and says all of it when it disappoints.
//! * [`Bundle`] is a busybox or Debian bundle, whose config.json is edited as JSON.
//!
//! Nothing here waits by sleeping for a guessed time: it waits for an exit, for a file descriptor, or (`until`) asks
//! again within a deadline for a fact that no descriptor tells.

// Of a library's face to strangers; this one has none.
#![allow(clippy::new_without_default, clippy::should_implement_trait)]

use std::path::{Path, PathBuf};

pub mod bundle;
pub mod cgroup;
pub mod command;
pub mod debian;
pub mod engines;
pub mod env;
pub mod host_nodes;
pub mod isolation;
pub mod leftovers;
pub mod manager;
pub mod ordinary;
pub mod probe;
pub mod process;
pub mod strace;
pub mod stream;
pub mod swapping;
pub mod terminal;

pub use bundle::Bundle;
pub use command::{Cmd, Outcome};
pub use env::Env;
pub use host_nodes::HostNodes;
pub use manager::Manager;
pub use ordinary::Ordinary;
pub use process::{as_subreaper, in_own_process, until};
pub use stream::Lines;
pub use swapping::Swapping;
pub use terminal::Terminal;

/// The folder of the whole project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/support is in the project")
}

/// Where what is made once is kept for later tests.
pub fn cache() -> PathBuf {
    project().join("target/tmp")
}

/// Says aloud that a test cannot be done here, and why, and leaves the test.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($why)*));
        return;
    }};
}

/// Leaves the test, saying so, unless it runs as root: nearly everything here needs that.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::process::is_root() {
            $crate::skipped!("{} needs root", module_path!());
        }
    };
}

/// Leaves the test, saying so, unless every one of these programs is on the PATH.
#[macro_export]
macro_rules! needs_tool {
    ($($tool:literal),+) => {
        $(if !$crate::process::on_path($tool) {
            $crate::skipped!("{} needs {}, which is not installed", module_path!(), $tool);
        })+
    };
}
