//! An error as it is told: with all its causes, on one line. The one way to a log, a channel or a user.

use std::error::Error;
use std::io;

/// The error, then what caused it, and so on, with ": " between them.
///
/// Errors of the operating system are told as every caller's patterns expect them, "no such file or directory", instead of
/// Rust's "No such file or directory (os error 2)".
pub fn on_one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = plain(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&plain(error));
        cause = error.source();
    }
    text
}

fn plain(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    let text = match text.find(" (os error ") {
        Some(at) => format!("{}{}", &text[..at], text[at..].split_once(')').map_or("", |(_, rest)| rest)),
        None => text,
    };
    // Only errno texts start with a capital that is nobody's name.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some()) {
        let mut letters = text.chars();
        return letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read {name:?}")]
    struct Outer {
        name: &'static str,
        source: io::Error,
    }

    #[test]
    fn an_error_is_told_with_its_cause_and_without_its_number() {
        let error = Outer { name: "A file", source: io::Error::from_raw_os_error(libc::ENOENT) };
        assert_eq!(on_one_line(&error), "read \"A file\": no such file or directory");
        let error = Outer { name: "A file", source: io::Error::other("SELinux refuses") };
        assert_eq!(on_one_line(&error), "read \"A file\": SELinux refuses");
    }
}
