//! Programs to run at the turning points of a container's life.

use oci_spec::runtime::{Hook, Hooks};

use super::plan::{HookPlan, HooksPlan};
use super::{SpecError, check, env};

/// Every kind, in the order in which they run.
pub(super) const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

pub(super) fn plan(hooks: Option<&Hooks>) -> Result<HooksPlan, SpecError> {
    let Some(hooks) = hooks else { return Ok(HooksPlan::default()) };
    // Deprecated in the specification, but callers still use it.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    Ok(HooksPlan {
        prestart: list("prestart", prestart)?,
        create_runtime: list("createRuntime", hooks.create_runtime())?,
        create_container: list("createContainer", hooks.create_container())?,
        start_container: list("startContainer", hooks.start_container())?,
        poststart: list("poststart", hooks.poststart())?,
        poststop: list("poststop", hooks.poststop())?,
    })
}

fn list(kind: &str, hooks: &Option<Vec<Hook>>) -> Result<Vec<HookPlan>, SpecError> {
    let hooks = hooks.iter().flatten().enumerate();
    hooks.map(|(index, hook)| plan_one(&format!("hooks.{kind}[{index}]"), hook)).collect()
}

fn plan_one(field: &str, hook: &Hook) -> Result<HookPlan, SpecError> {
    let path = check::absolute(&format!("{field}.path"), hook.path())?;
    let mut args = hook.args().clone().unwrap_or_default();
    for (index, arg) in args.iter().enumerate() {
        check::text(&format!("{field}.args[{index}]"), arg)?;
    }
    if args.is_empty() {
        args.push(path.to_string_lossy().into_owned());
    }
    let entries = hook.env().as_ref().map(|_| env::from_text(hook.env()));
    env::check(&format!("{field}.env"), entries.as_deref().unwrap_or_default())?;
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Some(seconds),
            _ => {
                let problem = format!("{seconds} is not in 1..={} (seconds)", u32::MAX);
                return Err(SpecError::invalid(format!("{field}.timeout"), problem));
            }
        },
    };
    Ok(HookPlan { path, args, env: entries, timeout })
}
