//! `--share`: what is shown beside the view, and where.

use std::path::{Path, PathBuf};

use super::Failure;
use super::pinned::pin;
use crate::spec::Identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// Something of the host's that has a place in the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// On the host, without symbolic links.
    pub(super) source: PathBuf,
    /// Inside.
    pub(super) at: PathBuf,
    pub(super) access: Access,
    /// What the source was when it was chosen; None: it is in a place where nobody but root renames.
    pub(super) identity: Option<Identity>,
}

/// `DIR[:PLACE][:ro|rw]`. A folder whose own name holds a colon cannot be named like this.
pub(super) fn parse(text: &str) -> Result<Share, Failure> {
    let wrong = |why: &str| Failure::new(format!("--share {text:?}: {why}"));
    let (rest, access) = match text.rsplit_once(':') {
        Some((rest, "rw")) => (rest, Access::Write),
        Some((rest, "ro")) => (rest, Access::Read),
        _ => (text, Access::Read),
    };
    let (source, at) = match rest.split_once(':') {
        Some((source, at)) => (source, Some(at)),
        None => (rest, None),
    };
    if source.is_empty() {
        return Err(wrong("give DIR, DIR:rw, DIR:PLACE or DIR:PLACE:rw"));
    }
    let (source, identity) = pin(Path::new(source)).map_err(|error| wrong(&crate::sys::told::on_one_line(&error)))?;
    let at = match at {
        None => source.clone(),
        Some(at) => place(at).ok_or_else(|| wrong("the place inside has to be absolute, without `..`"))?,
    };
    if source == Path::new("/") || at == Path::new("/") {
        return Err(wrong("the whole of / is shown already, for reading: share what is to be written"));
    }
    if ["/proc", "/sys"].iter().any(|own| at.starts_with(own)) {
        return Err(wrong("/proc and /sys are the sandbox's own"));
    }
    Ok(Share { source, at, access, identity: Some(identity) })
}

fn place(text: &str) -> Option<PathBuf> {
    use std::path::Component;
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    (path.is_absolute() && plain).then(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(PathBuf, PathBuf, Access)> {
        parse(text).ok().map(|share| (share.source, share.at, share.access))
    }

    #[test]
    fn a_share_is_for_reading_unless_it_says_so_and_keeps_its_path_unless_it_has_another() {
        let usr = || PathBuf::from("/usr");
        assert_eq!(of("/usr"), Some((usr(), usr(), Access::Read)));
        assert_eq!(of("/usr:ro"), Some((usr(), usr(), Access::Read)));
        assert_eq!(of("/usr/:rw"), Some((usr(), usr(), Access::Write)));
        assert_eq!(of("/usr:/a//b:rw"), Some((usr(), "/a/b".into(), Access::Write)));
        for wrong in ["", ":rw", "/", "/:rw", "/usr:/", "/usr:b", "/usr:/a/../b", "/usr:/proc/x", "/no/such"] {
            assert!(of(wrong).is_none(), "{wrong}");
        }
    }
}
