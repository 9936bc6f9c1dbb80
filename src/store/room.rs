//! Is there room on the disk? What a database did on a full one proves nothing against it.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Two segments of the database's log: an opening that takes more than one new one is rare.
const ENOUGH: u64 = 1 << 20;

/// Whether so little is left that the database may have met the end of it. No answer is no shortage.
pub(super) fn is_short(path: &Path) -> bool {
    let Ok(stat) = statvfs(path) else { return false };
    // A filesystem without a bound says that it has no blocks at all.
    let blocks = stat.blocks() > 0 && stat.blocks_available().saturating_mul(stat.fragment_size()) < ENOUGH;
    blocks || (stat.files() > 0 && stat.files_available() == 0)
}
