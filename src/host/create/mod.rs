//! A container's birth, as types: each stage holds what has come to be, and consumes the one before.
//!
//! ```text
//!            Cgroups          Supervisor          Init              Adopt
//!  Prepared ─────────▶ Grouped ─────────▶ Spawned ─────▶ Launched ─────────▶ Adopted ──▶ Newborn
//!  all is open,        cgroups,           supervisor,    every process       set up, looked at,
//!  nothing is made     empty              dies with us   is known: on        kept by the supervisor:
//!                                                        record, "creating"  on record, "created"
//!      └──────────────────┴──────────────────┴───────────────┴─▶ Left: what is there, to be taken back
//! ```
//!
//! What is not there yet has no field, and what was used up is gone: an init before its supervisor, a stage used twice, a
//! container that nobody adopted are not errors but programs that do not compile. [`engine::bear`] walks
//! the stages, and the compiler compares their steps with the row of the transition table. Between them the engine writes
//! the intent, publishes and commits; in here nothing is recorded.
//!
//! **When a step fails** it gives back what is there by then, the half of what it made itself included (`left`), and that
//! is all taken back, last first: interfaces of the host go home, the container's cgroups are emptied, the init, then the
//! supervisor are killed and waited for, the cgroups removed. If the record had been published, poststop hooks are owed, and
//! run last.
//!
//! **When we die**, nobody has to be killed: the supervisor ends with its creator until it has adopted a container, and an
//! init with the last holder of its start socket. What is left are the cgroups, which the intent names.
//!
//! # The two choices of a birth
//! *Where to* is `sandbox`, and *from what* is `cold`; each has one answer today, and all that is particular to it stands
//! in that file and nowhere else.
//!
//! * **A further container in this sandbox.** `sandbox::NewHome` gets a sibling `Existing`, with a connection to the
//!   supervisor that is there and a pidfd of it. `Grouped` and what follows take the home as a parameter `H`, with
//!   `NewHome::spawn_supervisor` as the method that differs: `Existing` asks the supervisor whether it takes one more, and
//!   its step is called `Join`, without an undo: a type of its own in `left`, since nobody ends a supervisor that is not
//!   theirs. `records` has no sandbox to tell of then, and `Launched::hand_over` says `root: false`. The chain with
//!   `Existing` stands below the one with `NewHome`, compared with the row of a container's launch.
//! * **A container restored from images.** `cold::Cold` gets a sibling `Images`, and `Spawned` holds an enum of the two. Its
//!   `launch` makes a [`Launched`](crate::host::launch::Launched) as a cold one does: a helper in the supervisor's PID
//!   namespace holds what restores the processes at the point where they exist and do not run, and waits on the start socket
//!   as any init does. It needs no row, no effect and no other stage; `Launched::see_set_up` asks of it what it asks of an
//!   init, beginning with its mounts, which it says are there.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

mod adopted;
mod birth;
mod cgroups;
mod cold;
mod company;
mod grouped;
mod launched;
mod left;
mod net_devices;
mod options;
mod placeholder;
mod prepared;
mod records;
mod sandbox;
mod spawned;

pub use self::adopted::{Adopted, Newborn, killed_with_supervisor};
pub use self::grouped::Grouped;
pub use self::launched::Launched;
pub use self::options::Options;
pub use self::prepared::Prepared;
pub use self::spawned::Spawned;
use crate::engine;

// The compiler compares the stages with the table here, too: a generic assertion is silent in `cargo check`.
const _: () = assert!(engine::is_row_of_launch::<Prepared<'_>, Grouped<'_>, Spawned<'_>, Launched<'_>>());
