//! What runs on after its supervisor has died: given a new one, or ended.

use super::transition::{Happened, Outcome};
use super::{Effects, EngineError, Held, now};
use crate::model::Event;
use crate::model::record::Exit;

impl<'a> Held<'a> {
    /// Another supervisor for a sandbox that has none ([`super::is_orphaned`]). Once this returns, it is on record, and it
    /// is given the init next. Until then it dies with this process, and whoever looks then finds the sandbox as it was:
    /// without a supervisor.
    pub fn renew<E: Effects>(mut self, effects: &mut E) -> Result<Held<'a>, EngineError<E::Error>> {
        let began = now();
        let root = self.snapshot.sandbox.id.clone();
        let (pod, row) = super::pod_of(&self.snapshot).step(root.as_str(), root.as_str(), Event::SupervisorLost)?;
        let intent = self.intent(&root, row, began)?;
        self.guard.write_intent(&intent)?;
        self.perform_all(row, effects)?;
        let vanished = || EngineError::Vanished { id: root.to_string() };
        (self.snapshot.sandbox, _) = effects.records().ok_or_else(vanished)?;
        match self.complete(&root, row, &pod, Happened::by_recovery(began))? {
            Outcome::Held(held) => Ok(held),
            Outcome::Gone => Err(vanished()),
        }
    }

    /// The end of a sandbox that nobody can keep any more: everything in it is killed, then that is recorded.
    pub fn end<E: Effects>(self, exit: Exit, effects: &mut E) -> Result<Held<'a>, EngineError<E::Error>> {
        let root = self.snapshot.sandbox.id.clone();
        self.observe(&root, Event::SupervisorGone, Some(exit), effects)
    }
}
