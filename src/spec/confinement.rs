//! Walls that the runtime specification has no property for. They are annotations, so that whatever enters a container
//! later is confined as its first process was; and they only ever take something away, whoever writes them.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::plan::{LandlockPlan, ProcessPlan};
use super::{SpecError, check};

/// A [`LandlockPlan`] as JSON.
pub const LANDLOCK: &str = "org.sandkeep.landlock";
/// SECBIT_* bits as a decimal number (capabilities(7)).
pub const SECUREBITS: &str = "org.sandkeep.securebits";

pub(super) fn add(spec: &Spec, process: &mut ProcessPlan) -> Result<(), SpecError> {
    let Some(annotations) = spec.annotations() else { return Ok(()) };
    if let Some(text) = annotations.get(LANDLOCK) {
        process.landlock = Some(landlock(text)?);
    }
    if let Some(text) = annotations.get(SECUREBITS) {
        let bits = text.parse().map_err(|_| invalid(SECUREBITS, format!("{} is not a number", check::quote(text))))?;
        process.securebits = bits;
    }
    Ok(())
}

fn landlock(text: &str) -> Result<LandlockPlan, SpecError> {
    let mut plan: LandlockPlan = serde_json::from_str(text).map_err(|error| invalid(LANDLOCK, error.to_string()))?;
    for path in &mut plan.writable {
        *path = check::absolute(&field(LANDLOCK), Path::new(path))?;
    }
    Ok(plan)
}

fn field(annotation: &str) -> String {
    format!("annotations[{annotation}]")
}

fn invalid(annotation: &str, problem: String) -> SpecError {
    SpecError::invalid(field(annotation), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::plan::AbstractSockets;

    #[test]
    fn a_wall_is_read_as_it_is_written_and_nothing_is_guessed() {
        let plan = landlock(r#"{"writable":["/tmp","/a//b"],"abstract_sockets":"own"}"#).unwrap();
        assert_eq!(plan.writable, [Path::new("/tmp"), Path::new("/a/b")]);
        assert_eq!(plan.abstract_sockets, AbstractSockets::Own);
        for text in ["", "{}", r#"{"writable":["tmp"],"abstract_sockets":"own"}"#, r#"{"writable":[],"x":1}"#] {
            assert!(landlock(text).is_err(), "{text}");
        }
    }
}
