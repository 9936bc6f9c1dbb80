//! Checks that many fields share: text that can reach the kernel, absolute paths, quoting for a message.

use std::path::{Component, Path, PathBuf};

use super::SpecError;

/// The longest path that the kernel takes, with its final NUL.
const PATH_MAX: usize = 4096;

/// User text in a message: escaped to one line and cut to a length that still tells which text it was.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head:?}… ({} bytes)", text.len())
}

/// The kernel takes NUL-terminated text: one inside would cut it short.
pub(super) fn text(field: &str, value: &str) -> Result<(), SpecError> {
    match value.contains('\0') {
        true => Err(SpecError::invalid(field, format!("{} contains a NUL byte", quote(value)))),
        false => Ok(()),
    }
}

/// Not empty, no NUL, not longer than the kernel takes.
pub(super) fn path(field: &str, value: &Path) -> Result<(), SpecError> {
    let shown = value.to_string_lossy();
    if shown.is_empty() {
        return Err(SpecError::invalid(field, "is empty"));
    }
    text(field, &shown)?;
    match value.as_os_str().len() >= PATH_MAX {
        true => Err(SpecError::invalid(field, format!("{} is longer than {} bytes", quote(&shown), PATH_MAX - 1))),
        false => Ok(()),
    }
}

/// A path that is also absolute, without `.` and doubled slashes. `..` is left to whoever resolves it in the rootfs.
pub(super) fn absolute(field: &str, value: &Path) -> Result<PathBuf, SpecError> {
    path(field, value)?;
    match value.is_absolute() {
        true => Ok(value.components().filter(|part| *part != Component::CurDir).collect()),
        false => Err(SpecError::invalid(field, format!("{} is not an absolute path", quote(&value.to_string_lossy())))),
    }
}

/// `None` for an absent and for an empty text, which mean the same all over the specification.
pub(super) fn non_empty(field: &str, value: &Option<String>) -> Result<Option<String>, SpecError> {
    match value.as_deref() {
        None | Some("") => Ok(None),
        Some(given) => text(field, given).map(|()| Some(given.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_is_one_short_line() {
        let quoted = quote(&"a\n".repeat(1000));
        assert!(!quoted.contains('\n') && quoted.len() < 300, "{quoted}");
    }

    #[test]
    fn an_absolute_path_loses_its_dots_and_doubled_slashes() {
        assert_eq!(absolute("f", Path::new("/a/./b//c/")).unwrap(), Path::new("/a/b/c"));
        assert!(absolute("f", Path::new("a")).is_err());
        assert!(absolute("f", Path::new("")).is_err());
        assert!(absolute("f", Path::new("/a\0b")).is_err());
        assert!(absolute("f", Path::new(&format!("/{}", "a".repeat(5000)))).is_err());
    }
}
