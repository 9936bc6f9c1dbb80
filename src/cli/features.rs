//! `features`: what this runtime can do (runtime-spec, "Features Structure").

use super::failure::Failure;
use crate::container::seccomp;
use crate::{cgroup, spec};

pub fn run() -> Result<u8, Failure> {
    let applied = spec::Applied { cgroup: cgroup::features(), seccomp: seccomp::features() };
    println!("{:#}", spec::features(applied));
    Ok(0)
}
