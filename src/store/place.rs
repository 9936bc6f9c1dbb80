//! A file in its place: opened if it is ours, and put out of the way if it is none.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::renameat;

use super::flock::lock_within;
use super::paths::in_dir;
use super::{StoreError, trust};
use crate::sys::patience;
use crate::sys::random;

pub(super) const FLAGS: i32 = libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// A file of ours, by a path that leads through an open folder; `shown` is what people know it as.
pub(super) fn open_ours(
    options: &mut OpenOptions,
    path: &Path,
    shown: &dyn Fn() -> PathBuf,
) -> Result<Option<File>, StoreError> {
    // Without O_NONBLOCK a fifo in this place would hold us for ever.
    match options.mode(0o600).custom_flags(FLAGS | libc::O_NONBLOCK).open(path) {
        Ok(file) => trust::our_file(file, shown).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        // A symbolic link; a folder, to write; a socket, or a fifo that nobody reads.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => {
            Err(StoreError::NotAFile { path: shown() })
        }
        Err(source) => Err(StoreError::Read { path: shown(), source }),
    }
}

/// What lies in the place of a file and is none gets a name that nothing looks at; it goes with its folder.
pub(super) fn put_away(folder: &File, name: &str) -> io::Result<()> {
    put_away_unless(folder, name, |found| found.is_file())
}

/// Whoever does this holds the folder itself, so that none puts away what another has just made in its place.
pub(super) fn put_away_unless(folder: &File, name: &str, good: impl Fn(&Metadata) -> bool) -> io::Result<()> {
    let options = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC).clone();
    let held = lock_within(options.open(in_dir(folder, "."))?, patience::A_RENAME)?.ok_or(ErrorKind::TimedOut)?;
    let put = match in_dir(folder, name).symlink_metadata() {
        Ok(found) if good(&found) => Ok(()),
        Ok(_) => {
            let dir = Some(folder.as_raw_fd());
            random::hex::<8>()
                .and_then(|random| Ok(renameat(dir, name, dir, format!("{name}.damaged-{random}").as_str())?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    let _ = fs2::FileExt::unlock(&held);
    put
}
