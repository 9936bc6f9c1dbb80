//! Files that are text but for the names in them, which are bytes: a mount point, a command, a user's home. One name that is
//! no UTF-8 must not make the whole of the file unreadable, since anybody may have given it.
//!
//! `clippy.toml` keeps the standard library's way of reading text out of this crate.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The whole file; in place of what is no UTF-8 stands U+FFFD, which is in no name that we look for.
pub fn read(path: impl AsRef<Path>) -> io::Result<String> {
    all_of(&mut File::open(path)?)
}

/// The same of what is open, from where it stands.
pub fn all_of(reader: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_name_hides_nothing_else() {
        let mut bytes: &[u8] = b"/a\xff\n/b\n";
        assert_eq!(all_of(&mut bytes).unwrap(), "/a\u{fffd}\n/b\n");
    }
}
