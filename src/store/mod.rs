//! What is on disk: folders, locks, intents, snapshots, exit records, and the sled database behind them.
//!
//! ```text
//! <root>/store/format          written once, when the database has been made
//! <root>/store/store.lock      held while any process has the database open
//! <root>/store/db/             the database: the durable truth
//! <root>/store/db.making/      a new one on its way; db.made when it is whole
//! <root>/store/pending         commits that had to wait
//! <root>/cache/                what can be computed again
//! <root>/sandboxes/.new-~…/    a sandbox being made: not there yet
//! <root>/sandboxes/<id>/       a sandbox: lock (with the intent), sandbox.json, exits, hooks, and what others put there
//! <root>/sandboxes/.gone-~…/   a sandbox being removed: not there any more
//! ```
//!
//! **Owns** every file named above, and is the only one to speak to sled. The lock order is always sandbox, then store.
//!
//! **Believes** nothing that somebody else could have written: what is not ours alone is refused (`trust`).
//!
//! **Never** decides what is legal, or heals a sandbox: it says what was written, not what is true. Of one process alone it
//! asks whether it lives: of the maker of a `.mk-~…` folder, which nobody has locked yet.
//! Readers (`Root::open`, `find`, `read_*`, `intent_unlocked`) take no lock and never open the database.
//!
//! **A crash inside it** leaves one of: a `.new-~…` or `.gone-~…` folder (`Root::leftovers`), an intent under a free
//! lock, a temporary file in a folder that goes with the folder, a snapshot older than the database, a commit in
//! `pending` twice (folded once). Every step that others can see is one rename, one checksummed block or one
//! transaction: it happened, or it did not. `docs/on-disk.md` lists them.
//!
//! **A full disk** stops none of lock, intent, exit records, retire and remove: their blocks were allocated at birth.

#![allow(clippy::disallowed_macros)] // What schemars derives uses it on texts.

mod cache;
mod claim;
mod commit;
mod db;
mod error;
mod exits;
mod files;
mod flock;
mod frames;
mod hook_log;
mod intent;
mod layout;
mod limits;
mod lock;
mod mend;
mod names;
mod opening;
mod paths;
mod pending;
mod pieces;
mod place;
mod rebuild;
mod room;
pub mod schema;
mod scope;
mod snapshot;
#[cfg(test)]
mod tests;
mod trust;
mod witness;

pub use commit::{Commit, Db};
pub use error::{DbError, Distrust, StoreError};
pub use hook_log::HookLog;
pub use layout::{Folder, Root};
pub use lock::{Guard, LockError};
pub use names::name_of;
pub use opening::Opening;
pub use pending::{Recorded, commit_or_pend, pending_bytes};
