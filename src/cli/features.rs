//! `features`: what this runtime can do (runtime-spec, "Features Structure").

use super::failure::{Answer, Done};
use crate::container::seccomp;
use crate::{cgroup, spec};

pub fn run() -> Answer {
    let applied = spec::Applied { cgroup: cgroup::features(), seccomp: seccomp::features() };
    println!("{:#}", spec::features(applied));
    Ok(Done::Well)
}
