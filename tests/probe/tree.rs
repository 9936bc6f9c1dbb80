//! Trees of files, and the baits in every tree that could be the host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kernel::*;
use crate::report::line;
use crate::{Baits, dotdot, touch};

/// Of every tree; a machine that is emulated takes long.
pub static MOST: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Everything below a folder, at most so many, symlinks not followed.
pub fn below(folder: &Path, most: usize) -> Vec<PathBuf> {
    below_without(folder, Path::new("/nothing/of/this/name"), most)
}

pub fn below_without(folder: &Path, without: &Path, most: usize) -> Vec<PathBuf> {
    let most = most.min(MOST.load(Ordering::Relaxed));
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if found.len() == most {
                return found;
            }
            if path == without {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Files that every host has, and that should be nobody's in here.
const OF_EVERY_HOST: [&str; 7] = ["dev/null", "dev/vda", "etc/passwd", "etc/shadow", "proc/1", "root", "var/tmp"];

/// What an owner would not show to a stranger. An image has none of it, or its own.
const SECRETS: [&str; 8] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssh/ssh_host_ed25519_key",
    "/etc/ssh/ssh_host_rsa_key",
    "/root/.bash_history",
    "/root/.ssh/id_ed25519",
    "/root/.ssh/id_rsa",
    "/root/.ssh/authorized_keys",
];

fn read(path: &Path) {
    let result = fs::read(path).map(|bytes| bytes.is_empty());
    let result = match result {
        Ok(true) => "empty".to_owned(),
        Ok(false) => "ok".to_owned(),
        Err(error) => Errno(error.raw_os_error().unwrap_or(5)).name(),
    };
    line("secret", &path.to_string_lossy(), "read", &result, stat(path).ok().map(|stat| stat.identity));
}

/// Two levels of our own root, and what the host has where `..` led out.
pub fn walk(baits: &Baits, outside: &[Fd]) {
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        if ["proc", "sys", "dev"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        touch_unless_link(&entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            for below in fs::read_dir(entry.path()).into_iter().flatten().flatten().take(40) {
                touch_unless_link(&below.path());
            }
        }
    }
    for path in &baits.paths {
        touch::everything("bait", path);
    }
    for path in SECRETS {
        read(Path::new(path));
    }
    for path in baits.paths.iter().filter(|path| path.ends_with("secret")) {
        read(path);
    }
    for root in outside {
        host(baits, &dotdot::path_of(root));
    }
}

/// Tries on another root what the host is known to have.
pub fn host(baits: &Baits, root: &Path) {
    for name in OF_EVERY_HOST {
        touch::everything("host", &root.join(name));
    }
    for path in &baits.paths {
        touch::everything("host", &root.join(path.strip_prefix("/").unwrap_or(path)));
    }
}

fn touch_unless_link(path: &Path) {
    if lstat(path).is_ok_and(|found| found.kind() != S_IFLNK) {
        touch::everything("file", path);
    }
}
