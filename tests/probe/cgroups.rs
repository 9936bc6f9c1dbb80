//! Cgroups: files that may be written, and folders that may be made.

use std::path::PathBuf;

use crate::kernel::*;
use crate::report::tried;
use crate::{mounts, touch, tree};

pub fn walk() {
    for top in mounts::all_of_type("cgroup") {
        for path in [top.clone()].into_iter().chain(tree::below(&top, 600)) {
            one(path);
        }
    }
}

fn one(path: PathBuf) {
    let Ok(stat) = lstat(&path) else { return };
    touch::attributes("cgroup", &path, &stat);
    match stat.kind() {
        S_IFDIR => touch::make("cgroup", &path, &stat),
        S_IFREG => {
            let opened = open(&path, O_WRONLY | O_NONBLOCK);
            tried("cgroup", &path.to_string_lossy(), "open-write", &opened, Some(stat.identity));
        }
        _ => {}
    }
}
