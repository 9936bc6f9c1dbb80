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
//! * [`effect`] has what must be done, in rooms: each is one enum, and whoever performs it matches all of it.
//! * [`pod`] composes it: a sandbox with its further containers, and what each demands of the other.
//! * [`machine`] prints it.
//! * [`objects`] reads JSON as it is written, and nothing else that serde would take for it.
//! * [`notice`] is what a service may say to the host's service manager.
//! * [`record`] is what is remembered, and how it came to be; [`exits`] is how the supervisor writes down an end.
//!
//! There is nothing to crash in here.

pub mod effect;
pub mod event;
pub mod exits;
pub mod id;
pub mod machine;
pub mod notice;
pub mod objects;
pub mod phase;
pub mod pod;
pub mod record;
pub mod table;

pub use effect::{Change, Effect, End, IdStep, Make, Renew, Undo, Work};
pub use event::{ChangeRequest, EndRequest, Event};
pub use id::Id;
pub use phase::{Machine, Phase};
pub use table::{Denial, Transition, step};
