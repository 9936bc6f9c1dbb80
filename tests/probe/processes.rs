//! Every process that can be seen: what is behind it in /proc, and what can be done to it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::kernel::*;
use crate::report::{line, tried};
use crate::{Baits, child, touch, tree};

const PTRACE_SEIZE: usize = 0x4206;

pub fn walk(baits: &Baits) {
    let marker: Option<Vec<u8>> = baits.reversed.as_ref().map(|text| text.bytes().rev().collect());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid != crate::kernel::pid() {
            look(pid, baits, marker.as_deref());
        }
    }
}

/// Ours have our root. Of a process whose root we cannot see, nothing else should be had either. In between are peers: where
/// the host's processes can be seen, the kernel lets us at those of our user that may do nothing that we may not.
fn look(pid: i32, baits: &Baits, marker: Option<&[u8]>) {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let comm = fs::read_to_string(proc.join("comm")).unwrap_or_default();
    let (ours, its) = (stat("/"), stat(proc.join("root")));
    let own = matches!((&ours, &its), (Ok(ours), Ok(its))
        if (ours.mount, ours.identity) == (its.mount, its.identity));
    let peer = rights(&proc).is_some_and(|its| rights(Path::new("/proc/self")).is_some_and(|ours| its & !ours == 0));
    let whose = if own {
        "own"
    } else if peer {
        "peer"
    } else {
        "foreign"
    };
    let kind = format!("process-{whose}");
    let name = if baits.pid == Some(pid) { "bait".to_owned() } else { format!("{pid} {}", comm.trim()) };
    line(&kind, &name, "seen", "ok", None);
    for link in ["root", "cwd", "exe"] {
        let found = stat(proc.join(link));
        tried(&kind, &name, link, &found, found.as_ref().ok().map(|stat| stat.identity));
        if found.is_ok() && whose == "foreign" && link != "exe" {
            tree::host(baits, &proc.join(link));
        }
    }
    tried(&kind, &name, "exe-write", &open(proc.join("exe"), O_WRONLY), its.as_ref().ok().map(|stat| stat.identity));
    for file in ["environ", "maps", "auxv", "mem", "syscall", "stack"] {
        read(&kind, &name, &proc, file, marker);
    }
    for fd in fs::read_dir(proc.join("fd")).into_iter().flatten().flatten() {
        let found = stat(fd.path());
        let target = format!("{name} fd {}", fd.file_name().to_string_lossy());
        let to = fs::read_link(fd.path()).unwrap_or_default();
        line(&kind, &target, "fd", &to.to_string_lossy(), found.as_ref().ok().map(|stat| stat.identity));
        if let (Ok(found), true) = (found, whose != "peer") {
            touch::attributes(&kind, &fd.path(), &found);
        }
    }
    for namespace in ["mnt", "net", "pid", "user", "ipc", "uts", "cgroup"] {
        let path = proc.join("ns").join(namespace);
        if fs::read_link(&path)
            .is_ok_and(|its| fs::read_link(format!("/proc/self/ns/{namespace}")).is_ok_and(|o| o != its))
        {
            let result = child::tries(|| call(nr::SETNS, &[open(&path, 0)?.0, 0]).map(drop));
            tried(&kind, &name, &format!("setns-{namespace}"), &result, None);
        }
    }
    tried(&kind, &name, "signal", &call(nr::KILL, &[pid as usize, 0]), None);
    tried(
        &kind,
        &name,
        "ptrace",
        &child::tries(|| call(nr::PTRACE, &[PTRACE_SEIZE, pid as usize, 0, 0]).map(drop)),
        None,
    );
    tried(&kind, &name, "process_vm_readv", &peek(pid), None);
    if let Ok(pidfd) = call(nr_new::PIDFD_OPEN, &[pid as usize, 0]).map(Fd) {
        let got = call(nr_new::PIDFD_GETFD, &[pidfd.0, 0, 0]).map(Fd);
        tried(&kind, &name, "pidfd_getfd", &got, None);
    }
}

/// The capabilities that it may use.
fn rights(proc: &Path) -> Option<u64> {
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Opened, read, and looked through for what the caller has in its memory.
fn read(kind: &str, name: &str, proc: &Path, file: &str, marker: Option<&[u8]>) {
    // What counts is the right to read: at the place that is asked for there may be nothing.
    let opened = fs::File::open(proc.join(file));
    let result = match &opened {
        Ok(open) => match open.take(1).read(&mut [0]) {
            Err(error) if error.raw_os_error() != Some(5) => Err(Errno(error.raw_os_error().unwrap_or(5))),
            // A thread of the kernel has no memory to tell of.
            Ok(0) => return line(kind, name, file, "empty", None),
            _ => Ok(()),
        },
        Err(error) => Err(Errno(error.raw_os_error().unwrap_or(5))),
    };
    tried(kind, name, file, &result, None);
    if let (Some(marker), "environ", Ok(())) = (marker, file, &result) {
        let text = fs::read(proc.join(file)).unwrap_or_default();
        if text.windows(marker.len()).any(|window| window == marker) {
            line(kind, name, "secret in environ", "ok", None);
        }
    }
}

/// One byte of an address where nothing is: EFAULT says that the permission was there.
fn peek(pid: i32) -> Result<(), Errno> {
    let mut byte = 0u8;
    let here = [&raw mut byte as usize, 1];
    let there = [4096usize, 1];
    let args = [pid as usize, here.as_ptr() as usize, 1, there.as_ptr() as usize, 1, 0];
    match call(nr::PROCESS_VM_READV, &args) {
        Err(Errno(14)) | Ok(_) => Ok(()),
        Err(errno) => Err(errno),
    }
}
