//! What the user must know beside a command's outcome.

use crate::engine::Held;

/// Whoever passes it on.
pub trait Tell {
    /// The command goes on, and not all is as was asked.
    fn warn(&self, text: &str);
    /// For whoever wants to know everything.
    fn debug(&self, text: &str);
}

/// What the store had to say so far.
pub fn notices(held: &mut Held<'_>, tell: &dyn Tell) {
    held.recorder().take_notices().iter().for_each(|notice| tell.warn(notice));
}
