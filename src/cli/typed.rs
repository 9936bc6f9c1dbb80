//! What was typed, looked at before it is parsed: for what holds also where it cannot be.

use std::ffi::OsString;

/// The global flags whose value may be the next word.
pub const FLAGS_WITH_VALUE: [&str; 6] =
    ["--log", "--log-format", "--root", "--log-level", "--cgroup-manager", "--rootless"];

/// `--version` stands alone or before the command; after a command's name it is the container's.
pub fn asks_for_version(args: &[OsString]) -> bool {
    global_flags(args).any(|arg| arg == "--version" || arg == "-v")
}

/// The global flags before the command, without values that are words of their own.
fn global_flags(args: &[OsString]) -> impl Iterator<Item = &OsString> {
    let mut rest = args.iter().skip(1);
    std::iter::from_fn(move || {
        let flag = rest.next().filter(|arg| arg.as_encoded_bytes().starts_with(b"-"))?;
        if FLAGS_WITH_VALUE.iter().any(|with_value| flag == with_value) {
            rest.next();
        }
        Some(flag)
    })
}

/// The name of the command.
pub fn command_of(args: &[OsString]) -> Option<&OsString> {
    let values = global_flags(args).filter(|flag| FLAGS_WITH_VALUE.iter().any(|with_value| flag == with_value)).count();
    args.get(1 + global_flags(args).count() + values)
}
