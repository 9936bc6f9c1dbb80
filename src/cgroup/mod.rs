//! The cgroups of containers and of their supervisors: where they are, making, limiting, joining, freezing, killing and
//! removing them, on v1, hybrid and v2.
//!
//! ```text
//!  Hierarchies::read ──▶ Layout::of_container ──▶ record() (goes into the intent) ──▶ make() ──▶ Joiner
//!                              └──▶ Layout::of_supervisor (beside it)                              │
//!  freeze · thaw · processes · signal_all · kill_and_wait · remove  ◀── CgroupRecord         v1_fds, v2_folder
//! ```
//!
//! It owns the leaf folder of a container in each hierarchy, and everything that the container makes below that. It
//! never removes a parent (`/sandkeep` is shared by all sandboxes), never removes a cgroup with processes in it, and
//! never moves a process: whoever is to live there is born there (v2), or joins by the descriptors that it was given (v1).
//!
//! What a crash leaves: some of the folders named by [`Layout::record`], empty or not, frozen or not. The record is
//! known before the first folder is made. Once [`Layout::make`] has succeeded, [`kill_and_wait`] and [`remove`](remove()) with it
//! bring the machine back; before, the folders may be somebody else's, and only [`remove_emptied`] may be used. All of
//! them may be repeated, and a folder that was never made counts as removed. A container that was frozen when its freezer died
//! stays frozen until [`thaw`] or a kill.
//!
//! What a container makes below its folders may be deeper than any path: there everything goes by descriptor (`tree`). A
//! folder that is gone is empty; one that cannot be looked at is an error.

mod choose;
mod driver;
mod end;
mod error;
mod files;
mod freeze;
mod hierarchies;
mod join;
mod kill;
mod layout;
mod limits;
mod make;
mod oom;
mod remove;
mod stats;
pub mod systemd;
mod tree;

pub use choose::choose;
pub use driver::{Driver, can_limit, features};
pub use end::{kill_and_wait, let_end};
pub use error::{Error, Result};
pub use freeze::{freeze, is_frozen, thaw};
pub use hierarchies::{Hierarchies, Hierarchy, Setup, Version};
pub use join::Joiner;
pub use kill::{processes, signal_all};
pub use layout::{Layout, container_of};
pub use limits::{Change, set_back};
pub use oom::OomWatch;
pub use remove::{exists, orphans, remove, remove_emptied};
pub use stats::{Stats, stats};
