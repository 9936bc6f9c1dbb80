//! Calls that belong to the machine, with arguments that do nothing once the permission has been granted.

use std::ffi::c_long;

use crate::child;
use crate::kernel::*;
use crate::report::{line, tried};

pub fn walk() {
    let nothing = c"/nothing/of/this/name".as_ptr() as usize;
    let garbage = [0u8; 64];
    let garbage = garbage.as_ptr() as usize;
    let hostname = hostname();
    // Each looks at the permission first: what it says of the nonsense is that it would have been done.
    let refused_later: [(&str, c_long, &[usize], &[i32]); 9] = [
        ("init_module", nr::INIT_MODULE, &[garbage, 64, c"".as_ptr() as usize], &[8, 22]),
        ("finit_module", nr::FINIT_MODULE, &[usize::MAX, c"".as_ptr() as usize, 0], &[9]),
        ("delete_module", nr::DELETE_MODULE, &[c"sandkeep_no_such".as_ptr() as usize, O_NONBLOCK], &[2]),
        ("kexec_load", nr::KEXEC_LOAD, &[0, 17, 0, 0], &[22]),
        ("reboot", nr::REBOOT, &[0, 0, 0, 0], &[22]),
        ("swapon", nr::SWAPON, &[nothing, 0], &[2]),
        ("acct", nr::ACCT, &[nothing], &[2]),
        ("chroot", nr::CHROOT, &[nothing], &[]),
        ("perf_event_open", nr::PERF_EVENT_OPEN, &[0, 0, usize::MAX, usize::MAX, 0], &[]),
    ];
    for (name, number, args, permitted) in refused_later {
        let result = match call(number, args) {
            Err(Errno(errno)) if permitted.contains(&errno) => Ok(0),
            other => other,
        };
        tried("call", name, "call", &result, None);
    }
    let zero = [0usize; 2];
    tried("call", "settimeofday", "call", &call(nr::SETTIMEOFDAY, &[0, 0]), None);
    let _ = zero;
    let same = [hostname.as_ptr() as usize, hostname.len()];
    tried("call", "sethostname", "call", &call(nr::SETHOSTNAME, &same), None);
    tried("call", "iopl", "call", &child::tries(|| call(nr::IOPL, &[3]).map(drop)), None);
    let mut log = [0u8; 16];
    tried("call", "syslog", "call", &call(nr::SYSLOG, &[3, log.as_mut_ptr() as usize, log.len()]), None);
    tried("call", "fanotify_init", "call", &call(nr::FANOTIFY_INIT, &[4, 0]).map(Fd), None);
    tried("call", "userfaultfd", "call", &call(nr::USERFAULTFD, &[O_CLOEXEC]).map(Fd), None);
    let parameters = [0u64; 15];
    let ring = call(nr_new::IO_URING_SETUP, &[1, parameters.as_ptr() as usize]).map(Fd);
    tried("call", "io_uring_setup", "call", &ring, None);
    // BPF_MAP_CREATE: an array of one.
    let map = [2u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tried("call", "bpf", "call", &call(nr::BPF, &[0, map.as_ptr() as usize, 64]).map(Fd), None);
    // A software clock of ourselves, kernel and user.
    let mut event = [0u64; 16];
    event[0] = 1 | (128 << 32);
    let perf = call(nr::PERF_EVENT_OPEN, &[event.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0]).map(Fd);
    tried("call", "perf_event_open of ourselves", "call", &perf, None);
    let perf = call(nr::PERF_EVENT_OPEN, &[event.as_ptr() as usize, usize::MAX, 0, usize::MAX, 0]).map(Fd);
    tried("call", "perf_event_open of the machine", "call", &perf, None);
    tried("call", "fsopen", "call", &call(nr_new::FSOPEN, &[c"tmpfs".as_ptr() as usize, 0]).map(Fd), None);
    let tree = call(nr_new::OPEN_TREE, &[AT_FDCWD, c"/".as_ptr() as usize, 1]).map(Fd);
    tried("call", "open_tree", "call", &tree, None);
    shocker();
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The root of the file system that ours is on, by a handle instead of a path: ext4 has it at inode 2, xfs at 128.
fn shocker() {
    let Ok(here) = open("/", 0) else { return };
    for (name, inode) in [("inode 2", 2u32), ("inode 128", 128)] {
        // struct file_handle: eight bytes, FILEID_INO32_GEN, inode and generation.
        let handle = [8u32, 1, inode, 0];
        let flags = O_PATH | O_DIRECTORY;
        let opened = call(nr::OPEN_BY_HANDLE_AT, &[here.0, handle.as_ptr() as usize, flags]).map(Fd);
        let which = opened.as_ref().ok().and_then(|fd| stat_at(fd.0, c"", 0).ok()).map(|stat| stat.identity);
        tried("handle", name, "open_by_handle_at", &opened, which);
        if let Some(which) = which {
            line("handle", name, "leads to", "ok", Some(which));
        }
    }
}
