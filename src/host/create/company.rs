//! Who waits beside a birth.

use crate::host::agent::Agent;
use crate::host::launch::attend::TerminalTo;
use crate::host::notify::Notices;

/// Who is given what the init has for others, and who is told.
pub(super) struct Company {
    pub terminal: TerminalTo,
    pub agent: Option<Agent>,
    /// Of a container whose notices nobody but this process passes on.
    pub notices: Option<Notices>,
}
