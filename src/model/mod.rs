//! What may happen to a sandbox, and what must then be done. Pure: no I/O, no clock, no randomness.
//!
//! ```text
//!            create          launch           start            pause
//!  (absent) ────────▶ Creating ──────▶ Booted ──────▶ Running ◀──────▶ Paused
//!                        │                │  resume ─┘  │               │
//!                        │ creator gone   └────────┬────┴───────────────┘
//!                        ▼                         ▼ init exited, supervisor gone
//!                     (absent) ◀──── delete ─── Stopped
//! ```
//!
//! * [`table`] is the ONE statement of what is legal. Live running and recovery go through [`table::step`].
//! * [`record`] is what is remembered, and how it came to be.
//!
//! There is nothing to crash in here.

pub mod effect;
pub mod event;
pub mod exits;
pub mod id;
pub mod phase;
pub mod record;
pub mod table;

pub use effect::{Effect, Undo};
pub use event::Event;
pub use id::Id;
pub use phase::{Machine, Phase};
pub use table::{Denial, Transition, step};
