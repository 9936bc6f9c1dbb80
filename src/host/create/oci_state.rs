//! What hooks and agents are told of the container.

use super::Options;
use crate::spec::OciState;
use crate::spec::plan::Plan;

pub(super) fn oci_state(plan: &Plan, options: &Options) -> OciState {
    OciState::new(&options.id, &options.bundle, plan.annotations.iter().map(|(key, value)| (key, value)))
}
