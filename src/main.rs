//! Maps the outcome of a command to an exit code; everything else is in the library.

#![warn(clippy::disallowed_macros, clippy::disallowed_methods)]

use std::path::Path;
use std::process::ExitCode;

use sandkeep::boot;
use sandkeep::container::helper;

fn main() -> ExitCode {
    let called_as = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called_as).file_name().and_then(|name| name.to_str()) {
        Some(boot::NAME) => boot::main(std::env::args_os().skip(1)),
        Some(helper::NAME) => helper::main(std::env::args_os().skip(1)),
        _ => sandkeep::cli::main(std::env::args_os()),
    }
}
