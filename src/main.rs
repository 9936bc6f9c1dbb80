//! Maps the outcome of a command to an exit code; everything else is in the library.

use std::path::Path;
use std::process::ExitCode;

/// What a supervisor is started as; see `boot`.
const SUPERVISOR: &str = "sandkeep-sandbox";

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called_as).file_name().is_some_and(|name| name == SUPERVISOR) {
        return sandkeep::boot::main(std::env::args_os().skip(1));
    }
    sandkeep::cli::main(std::env::args_os())
}
