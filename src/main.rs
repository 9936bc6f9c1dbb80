//! Maps the outcome of a command to an exit code; everything else is in the library.

fn main() {}
