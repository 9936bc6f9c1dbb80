//! What a container uses, in the shape and with the names that `runc events` prints: callers parse it.
//!
//! Reading never fails: a controller that is not there, or a file that this kernel does not have, counts as zero, so that
//! the others can still be seen.

mod parse;
mod shape;
mod v1;
mod v2;

pub use shape::Stats;

use super::hierarchies::{Hierarchies, Version};
use super::layout::Layout;
use crate::model::record::CgroupRecord;

/// Of the cgroups that a record names, as far as they are there.
pub fn stats(hierarchies: &Hierarchies, record: &CgroupRecord) -> Stats {
    let layout = Layout::of_record(hierarchies, record);
    let mut stats = Stats::default();
    for folder in &layout.folders {
        match folder.version {
            Version::V1 => v1::read(&mut stats, folder),
            Version::V2 => v2::read(&mut stats, folder),
            Version::Beside => {}
        }
    }
    stats
}
