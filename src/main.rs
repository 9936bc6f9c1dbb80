//! Maps the outcome of a command to an exit code; everything else is in the library.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name).file_name() == Some(OsStr::new(sandkeep::boot::NAME)) {
        return sandkeep::boot::main(args);
    }
    ExitCode::SUCCESS
}
