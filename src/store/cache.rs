//! What was computed once and can be computed again: `<root>/cache/<name>`, whole and checksummed, or not there.
//!
//! Nothing depends on it. A file is written without a name and linked to one when it is complete, so that a crash leaves
//! no half of it and no temporary; a damaged one is as good as none and is replaced; the oldest go when there are many.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

use super::Root;
use super::files::FLAGS;

/// Files that are kept, and how long one may be.
const MOST: usize = 64;
const LONGEST: usize = 1 << 20;
/// Length and CRC-32 of what follows, as everywhere.
const HEADER: usize = 8;

impl Root {
    /// What was kept under this name (letters and digits). None: nothing, or nothing whole, or nothing of ours.
    pub fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let options = OpenOptions::new().read(true).custom_flags(FLAGS | libc::O_NONBLOCK).clone();
        let file = options.open(self.cache_file(name)?).ok()?;
        let about = file.metadata().ok()?;
        if !about.is_file() || about.uid() != nix::unistd::geteuid().as_raw() || about.len() as usize > LONGEST {
            return None;
        }
        let mut bytes = Vec::with_capacity(about.len() as usize);
        file.take(LONGEST as u64).read_to_end(&mut bytes).ok()?;
        decode(&bytes).map(<[u8]>::to_vec)
    }

    /// Keeps it for the next time. An error is of no consequence: a full disk, or a file system that cannot do this.
    pub fn cache(&self, name: &str, payload: &[u8]) -> io::Result<()> {
        let target = self.cache_file(name).ok_or(ErrorKind::InvalidFilename)?;
        let folder = self.cache_folder();
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
        let mut file = OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(&folder)?;
        file.write_all(&encode(payload))?;
        match link(&file, &target) {
            // Somebody was faster, unless what is there is damaged.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.cached(name).is_none() => {
                std::fs::remove_file(&target)?;
                link(&file, &target)?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        self.drop_oldest()
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(self.cache_folder())?
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

    fn cache_folder(&self) -> PathBuf {
        self.path().join("cache")
    }

    fn cache_file(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| self.cache_folder().join(name))
    }
}

fn link(file: &File, target: &std::path::Path) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    let follow = nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW;
    Ok(nix::unistd::linkat(None, std::path::Path::new(&unnamed), None, target, follow)?)
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
