//! Who is given what the init has for others while it sets itself up, and who is told once it is there.

use crate::host::agent::Agent;
use crate::host::launch::attend::TerminalTo;
use crate::host::notify::Notices;

pub struct Company {
    pub terminal: TerminalTo,
    pub agent: Option<Agent>,
    /// Of a container whose notices nobody but this process passes on.
    pub notices: Option<Notices>,
}
