//! Why there can be no sandbox here, said before anything is made and in words: the kernel has one errno for all of it.

use std::os::fd::AsRawFd;
use std::path::Path;

use super::Failure;
use super::ids::Ids;
use crate::host::rootless;
use crate::sys::descriptors::STDIO;
use crate::sys::mountinfo::{self, Mount};

pub(super) fn check(ids: Ids, writable: bool) -> Result<(), Failure> {
    if let Some(why) = rootless::why_refused() {
        return Err(Failure::new(format!("do needs a user namespace: {why}")));
    }
    if let Some(covered) = covered_in_proc(&mountinfo::ours()?) {
        return Err(Failure::new(format!(
            "do needs a /proc of its own, and the kernel gives none where a part of /proc is covered (here {covered:?}), as in \
             a container: call it outside, or in a container that covers nothing"
        )));
    }
    if writable && !matches!(ids, Ids::Range { .. }) {
        return Err(Failure::new("--writable needs root and a range of ids, which only the machine's own root has"));
    }
    match STDIO.into_iter().position(is_folder) {
        Some(number) => Err(Failure::new(format!(
            "do: descriptor {number} is a folder of the host's, and whoever has it is not kept in a sandbox: redirect it"
        ))),
        None => Ok(()),
    }
}

fn is_folder(file: std::os::fd::BorrowedFd<'_>) -> bool {
    nix::sys::stat::fstat(file.as_raw_fd()).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Something is mounted over a part of /proc, other than on the folders that are there for that: the kernel then lets no
/// user namespace see what is below (mount_too_revealing in fs/namespace.c).
fn covered_in_proc(mounts: &[Mount]) -> Option<&Path> {
    const MEANT_FOR_MOUNTS: [&str; 3] = ["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd", "/proc/openprom"];
    let points = mounts.iter().map(|mount| mount.at.as_path()).filter(|point| *point != Path::new("/proc"));
    points.filter(|point| point.starts_with("/proc")).find(|point| MEANT_FOR_MOUNTS.iter().all(|meant| point != meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_covered_part_of_proc_is_named_and_a_place_for_mounts_is_none() {
        let host = "22 27 0:21 / /proc rw - proc proc rw\n30 22 0:30 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n";
        let parse = |text: &str| mountinfo::parse(text.as_bytes()).unwrap();
        assert_eq!(covered_in_proc(&parse(host)), None);
        let container = format!("{host}40 22 0:5 /null /proc/kcore ro - devtmpfs x rw\n");
        assert_eq!(covered_in_proc(&parse(&container)), Some(Path::new("/proc/kcore")));
    }
}
