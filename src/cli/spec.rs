//! `spec`: a config.json to start from.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::failure::{Answer, Done, Failure};
use crate::spec;

#[derive(Args)]
pub struct Arguments {
    /// Where to write it
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For an ordinary user: with a user namespace
    #[arg(long = "rootless", id = "rootless_spec")]
    rootless: bool,
}

pub fn run(arguments: &Arguments) -> Answer {
    let path = arguments.bundle.join("config.json");
    let text = spec::to_json(&spec::default_spec(arguments.rootless));
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| file.write_all(&text)).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!("{path:?} exists already: remove it first")),
        _ => Failure::new(format!("write {path:?}: {error}")),
    })?;
    Ok(Done::Well)
}
