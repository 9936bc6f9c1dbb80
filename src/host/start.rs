//! `start`: the application of a created sandbox begins, hooks before and after it included.
//!
//! A hook that fails now is the end of the container: it is stopped and destroyed, and its poststop hooks are run
//! (runtime-spec 1.3, "Lifecycle", steps 7, 9 and 12). Should we die before that, `recover` does it for poststart hooks.

use std::os::fd::OwnedFd;

use super::hooks::Ledger;
use super::running::{Changing, Start};
use super::tell::{self, Tell};
use super::{Failed, HostError, Trying, delete, kept, poststart};
use crate::control::{Client, ControlError, ErrorCode};
use crate::engine::{EngineError, Held, Pace};
use crate::model::ChangeRequest;
use crate::model::record::Snapshot;
use crate::spec::plan::HooksPlan;
use crate::store::Root;
use crate::sys::told::on_one_line;

/// Its application runs, and nobody holds it.
pub struct Begun {
    /// As it was published.
    pub snapshot: Snapshot,
    /// The sandbox's, without its lock.
    pub folder: OwnedFd,
}

/// Of one that `create` made. After a hook that failed it is no more.
pub fn created(root: &Root, held: Held<'_>, tell: &dyn Tell) -> Result<Begun, Failed> {
    let hooks = kept::load(held.folder(), held.snapshot())?.plan.hooks;
    let sandbox = held.snapshot().sandbox.clone();
    start(held, &hooks, None, tell).map_err(|why| {
        if let NotStarted::ByHook(_) = why
            && let Err(left) = delete::force_this(root, &sandbox, tell)
        {
            let id = sandbox.id.as_str();
            tell.warn(&format!("could not destroy {id:?} after the hook: {}", on_one_line(&left)));
        }
        why.into()
    })
}

/// Of one that this process has just made, over the connection that it has. Whatever fails, destroying it is the caller's.
pub fn newborn(held: Held<'_>, hooks: &HooksPlan, client: Client, tell: &dyn Tell) -> Result<Begun, Failed> {
    Ok(start(held, hooks, Some(client), tell)?)
}

fn start(held: Held<'_>, hooks: &HooksPlan, client: Option<Client>, tell: &dyn Tell) -> Result<Begun, NotStarted> {
    let poststart = ledger_of_poststart(&held, hooks)?;
    let mut held = release(held, hooks, client, poststart.as_ref())?;
    tell::notices(&mut held, tell);
    let folder = held.folder().dir().try_clone_to_owned().trying(|| "keep the sandbox's folder open".into())?;
    let begun = Begun { snapshot: held.snapshot().clone(), folder };
    // The transition is complete: a hook that hangs must not keep `delete` from the sandbox.
    drop(held);
    if let Some(ledger) = &poststart {
        poststart::run(ledger, &begun.snapshot).map_err(|error| NotStarted::ByHook(error.into()))?;
    }
    Ok(begun)
}

/// Of the poststart hooks that this command will run.
fn ledger_of_poststart(held: &Held<'_>, hooks: &HooksPlan) -> Result<Option<Ledger>, HostError> {
    if hooks.poststart.is_empty() {
        return Ok(None);
    }
    let sandbox = &held.snapshot().sandbox;
    Ledger::make(held.folder(), &sandbox.id, &sandbox.boot, hooks)
}

/// The transition itself.
fn release<'a>(
    held: Held<'a>,
    hooks: &HooksPlan,
    client: Option<Client>,
    ledger: Option<&Ledger>,
) -> Result<Held<'a>, NotStarted> {
    let folder = held.folder().try_clone().map_err(HostError::from)?;
    let snapshot = held.snapshot().clone();
    let pace = Pace::with_hooks(!hooks.start_container.is_empty());
    let mut changing = Changing::of(&folder, &snapshot).to_start(Start { client, pace, ledger });
    let mut held = held.change(&snapshot.sandbox.id, ChangeRequest::Start, &mut changing)?;
    // What runs next may take its time, and others want the store.
    held.recorder().close();
    Ok(held)
}

/// Why the application does not run, or no longer.
enum NotStarted {
    ByHook(Failed),
    Else(Failed),
}

impl From<Failed> for NotStarted {
    fn from(error: Failed) -> NotStarted {
        match &error {
            EngineError::Effect(HostError::Control(refused)) if is_of_hook(refused) => NotStarted::ByHook(error),
            _ => NotStarted::Else(error),
        }
    }
}

impl From<HostError> for NotStarted {
    fn from(error: HostError) -> NotStarted {
        Failed::from(error).into()
    }
}

impl From<NotStarted> for Failed {
    fn from(why: NotStarted) -> Failed {
        let (NotStarted::ByHook(error) | NotStarted::Else(error)) = why;
        error
    }
}

/// Whether a startContainer hook failed. A supervisor that is older than this command has one code for all that can go
/// wrong with a start, and the init's own words: they begin like this (`container::hooks`).
fn is_of_hook(error: &ControlError) -> bool {
    match error {
        ControlError::Refused { code: ErrorCode::HookFailed, .. } => true,
        ControlError::Refused { code: ErrorCode::StartFailed, message } => {
            message.starts_with("error running hook: the startContainer hook ")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_fails_is_known_also_by_what_an_older_supervisor_says() {
        let refused = |code, message: &str| is_of_hook(&ControlError::Refused { code, message: message.to_owned() });
        let of_hook = r#"error running hook: the startContainer hook "/bin/sh" failed: exit code 3"#;
        assert!(refused(ErrorCode::HookFailed, of_hook));
        assert!(refused(ErrorCode::StartFailed, of_hook));
        assert!(!refused(ErrorCode::StartFailed, r#"execute "/bin/app": no such file or directory"#));
        assert!(!refused(ErrorCode::StartFailed, r#"error running hook: the createContainer hook "/bin/sh" failed"#));
        assert!(!is_of_hook(&ControlError::Gone));
    }
}
