//! An OCI `config.json` becomes a [`plan::Plan`]: data, validated whole before anything is touched.
//!
//! ```text
//!  bytes ──load──▶ Spec ─┐ Inputs ──plan──▶ Plan       exec: Spec + ExecOverrides ──exec_process──▶ ProcessPlan
//!         shapes  Further ─┘       meaning                   Process (a file)     ──exec_plan─────▶ ProcessPlan
//! ```
//!
//! It owns what a configuration means and every reason to refuse one. Three rules decide:
//! * unknown properties and annotations are ignored, as the runtime specification says, but for the annotations that other
//!   runtimes act upon (`annotations`);
//! * a value that is invalid, or that the kernel would refuse later, is an error that names the field;
//! * nothing that was asked for and cannot be done is dropped silently: it is [`SpecError::Unsupported`], or, where
//!   other runtimes accept and ignore it and callers rely on that, a warning.
//!
//! It never changes the machine: it reads the bundle, looks whether the root file system is a folder, and reads a few
//! facts of the host ([`Host`]). A crash in here leaves nothing.

mod annotations;
mod capabilities;
mod check;
mod confinement;
mod default;
mod default_seccomp;
mod devices;
mod env;
mod error;
mod exec;
mod features;
mod hooks;
mod host;
mod inline_idmap;
mod inputs;
mod intel_rdt;
mod load;
mod mappings;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod no_set_ids;
mod oci_state;
mod placement;
pub mod plan;
mod planner;
mod process;
mod resources;
mod scheduling;
mod seccomp;
mod strict;
mod sysctl;
mod tolerate;
mod update;

/// The version of the runtime specification that this follows.
pub const OCI_VERSION: &str = "1.3.0";

pub use annotations::pidfd_receiver;
pub use capabilities::check_covered;
pub use confinement::{LANDLOCK, SECUREBITS};
pub use default::{default_spec, to_json};
pub use default_seccomp::{Abis, default_seccomp};
pub use error::SpecError;
pub use exec::{ExecOverrides, exec_plan, exec_process};
pub use features::{Applied, features};
pub use host::Host;
pub use inputs::{Further, FurtherProcess, FurtherRoot, Identity, Inputs, RootCover};
pub use load::{Loaded, MAX_BYTES, digest, load, load_from, load_process, parse, parse_process};
pub use mappings::lacks_mappings;
pub use no_set_ids::no_set_ids;
pub use oci_state::{OciState, restated};
pub use planner::{plan, plan_kept};
pub use process::process_plan;
pub use scheduling::rlimit_name;
pub use update::{completed_limits, effective_limits, limits_of, limits_to_json, load_limits, merge_limits};
