//! Commands of other runtimes that engines call and this one does not have: refused by name, whatever their flags.

use std::ffi::OsString;

use clap::Args;

use super::failure::Failure;

#[derive(Args)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Arguments {
    pub fn refuse(&self, command: &str) -> Result<u8, Failure> {
        Err(Failure::new(format!(
            "{command} is not supported: this runtime cannot save a container to disk and bring it back"
        )))
    }
}
