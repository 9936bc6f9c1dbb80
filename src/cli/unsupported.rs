//! Commands of other runtimes that callers call and this one does not have: refused by name, whatever their flags.

use std::ffi::OsString;

use clap::Args;

use super::failure::{Answer, Failure};

#[derive(Args)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Arguments {
    pub fn refuse(&self, command: &str, why: &str) -> Answer {
        Err(Failure::new(format!("{command} is not supported: {why}")))
    }
}

/// Why `checkpoint` and `restore` are not there.
pub const NO_SAVING: &str = "this runtime cannot save a container to disk and bring it back";

/// Why crun's `mounts` is not there.
pub const NO_LATER_MOUNTS: &str =
    "the mounts of a container are those of its config.json, or those that it makes itself";

/// crun's `--regex` of a command: which ids are meant is to be seen before anything is done to them.
pub fn refuse_regex(command: &str, asked: bool) -> Result<(), Failure> {
    match asked {
        false => Ok(()),
        true => Err(Failure::new(format!(
            "{command} --regex is not supported: ids are exact; choose from those that `sandkeep list --quiet` prints"
        ))),
    }
}
