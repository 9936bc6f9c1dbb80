//! What commands print. Whoever reads it may leave at any moment (`sandkeep list | head -1`): that is no failure of the
//! command, and no reason to die in the middle of a transition, as the macros of the standard library would. Anything
//! else that keeps us from writing is told once, at the end.
//!
//! `println!`, `print!` and `eprintln!` mean these functions everywhere below `cli`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use super::failure::Failure;

/// The first reason why standard output could not be written.
static FAILED: OnceLock<String> = OnceLock::new();

pub fn out(text: Arguments<'_>) {
    note(io::stdout().lock().write_fmt(text));
}

/// There is nobody to tell that this failed.
pub fn err(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// To be asked last: whether everything was written that somebody still wants to read.
pub fn finish() -> Result<(), Failure> {
    note(io::stdout().lock().flush());
    match FAILED.get() {
        Some(why) => Err(Failure::new(format!("cannot write to standard output: {why}"))),
        None => Ok(()),
    }
}

fn note(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => drop(FAILED.set(error.to_string())),
        _ => {}
    }
}
