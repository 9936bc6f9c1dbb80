//! `features`: what this runtime can do (runtime-spec, "Features Structure").

use super::failure::Failure;
use crate::spec;

pub fn run() -> Result<u8, Failure> {
    println!("{:#}", spec::features());
    Ok(0)
}
