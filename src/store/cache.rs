//! What was computed once and can be computed again: `<root>/cache/<name>`, whole and checksummed, or not there.
//!
//! Nothing depends on it. A file is written without a name and linked to one when it is complete, so that a crash leaves
//! no half of it and no temporary; a damaged one is as good as none and is replaced; the oldest go when there are many.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::Root;
use super::paths::in_dir;
use super::place::open_ours;

const CACHE: &str = "cache";
/// Files that are kept, and how long one may be.
const MOST: usize = 64;
const LONGEST: usize = 1 << 20;
/// Length and CRC-32 of what follows, as everywhere.
const HEADER: usize = 8;

impl Root {
    /// What was kept under this name (letters and digits). None: nothing, or nothing whole, or nothing of ours.
    pub fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let folder = self.part(CACHE).ok()??;
        self.cached_in(&folder, name)
    }

    /// Keeps it for the next time. An error is of no consequence: a full disk, or a file system that cannot do this.
    pub fn cache(&self, name: &str, payload: &[u8]) -> io::Result<()> {
        if !is_plain(name) {
            return Err(ErrorKind::InvalidFilename.into());
        }
        let folder = self.make_part(CACHE).map_err(io::Error::other)?;
        let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
        let mut file = OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(in_dir(&folder, "."))?;
        file.write_all(&encode(payload))?;
        match link(&file, &folder, name) {
            // Somebody was faster, unless what is there is damaged.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.cached_in(&folder, name).is_none() => {
                std::fs::remove_file(in_dir(&folder, name))?;
                link(&file, &folder, name)?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        drop_oldest(&folder)
    }

    fn cached_in(&self, folder: &File, name: &str) -> Option<Vec<u8>> {
        if !is_plain(name) {
            return None;
        }
        let shown = || self.path().join(CACHE).join(name);
        let file = open_ours(OpenOptions::new().read(true), &in_dir(folder, name), &shown).ok()??;
        let length = file.metadata().ok()?.len() as usize;
        if length > LONGEST {
            return None;
        }
        let mut bytes = Vec::with_capacity(length);
        file.take(LONGEST as u64).read_to_end(&mut bytes).ok()?;
        decode(&bytes).map(<[u8]>::to_vec)
    }
}

fn drop_oldest(folder: &File) -> io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(in_dir(folder, "."))?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(MOST);
    for (_, path) in files.into_iter().take(surplus) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// A name, and no path.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn link(file: &File, folder: &File, name: &str) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
    Ok(nix::unistd::linkat(None, unnamed.as_str(), Some(folder.as_raw_fd()), name, follow)?)
}

fn encode(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..], &crc32fast::hash(payload).to_le_bytes(), payload].concat()
}

/// Total: any bytes give a payload or none.
fn decode(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let crc = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..).filter(|payload| payload.len() == length)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_or_make(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn what_was_kept_is_found_and_a_damaged_file_is_replaced() {
        let (dir, root) = root();
        assert_eq!(root.cached("abc"), None);
        root.cache("abc", b"payload").unwrap();
        assert_eq!(root.cached("abc").unwrap(), b"payload");
        let file = dir.path().join("cache/abc");
        let whole = std::fs::read(&file).unwrap();
        for kept in 0..whole.len() {
            std::fs::write(&file, &whole[..kept]).unwrap();
            assert_eq!(root.cached("abc"), None, "{kept} bytes");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        std::fs::write(&file, &flipped).unwrap();
        assert_eq!(root.cached("abc"), None);
        root.cache("abc", b"payload").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), whole);
        assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    }

    #[test]
    fn the_number_of_files_is_bounded_and_the_newest_stay() {
        let (dir, root) = root();
        for number in 0..MOST + 10 {
            root.cache(&format!("n{number}"), b"x").unwrap();
            let file = File::open(dir.path().join(format!("cache/n{number}"))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64)).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), MOST);
        assert!(root.cached("n0").is_none() && root.cached(&format!("n{}", MOST + 9)).is_some());
    }

    #[test]
    fn names_that_lead_elsewhere_and_links_are_none() {
        let (dir, root) = root();
        root.cache("abc", b"x").unwrap();
        std::os::unix::fs::symlink("abc", dir.path().join("cache/link")).unwrap();
        for name in ["", "../store/format", "a/b", "link"] {
            assert_eq!(root.cached(name), None, "{name:?}");
        }
        assert!(root.cache("../x", b"").is_err());
    }
}
