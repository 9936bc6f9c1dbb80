//! What a new tmpfs takes from the folder that it covers.

use std::borrow::Cow;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::root::{Rootfs, is_folder};
use super::{SetupError, Step};

type Options = [(String, Option<String>)];

/// The options of a tmpfs at `destination`: without a mode of its own it has that of the folder of the image, all twelve bits
/// of it, as with runc and newer crun. Where there is none, the kernel's 1777 stays. To be asked before the place is made.
pub fn options<'o>(root: &Rootfs<'_>, destination: &Path, given: &'o Options) -> Result<Cow<'o, Options>, SetupError> {
    if given.iter().any(|(key, _)| key == "mode") {
        return Ok(Cow::Borrowed(given));
    }
    let Some(covered) = root.find(destination)? else { return Ok(Cow::Borrowed(given)) };
    if !is_folder(&covered)? {
        return Ok(Cow::Borrowed(given));
    }
    let stat = nix::sys::stat::fstat(covered.as_raw_fd()).step(|| format!("look at {destination:?}"))?;
    let mode = format!("{:o}", stat.st_mode & 0o7777);
    let mut options = given.to_vec();
    options.push(("mode".to_owned(), Some(mode)));
    Ok(Cow::Owned(options))
}
