//! What a process says of itself to the kernel: signals, scheduling, keyrings, what libc has no safe call for.

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use super::check;

/// A fresh session keyring, so that the container cannot read its creator's keys (keyctl(2)).
pub fn new_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: `name` is a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }).map(drop)
}

/// Whether the kernel has no keyrings at all, and not only a filter against one of their calls: with addresses that are
/// none, each of the other two says EFAULT where it exists.
pub fn has_no_keyrings() -> bool {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the kernel looks at the addresses before it uses them.
    let add = check(unsafe { libc::syscall(libc::SYS_add_key, null, null, null, 0, 0) });
    // SAFETY: as above.
    let request = check(unsafe { libc::syscall(libc::SYS_request_key, null, null, null, 0) });
    [add, request].into_iter().all(|answer| answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENOSYS)))
}

/// ioprio_set(2) for this process; `priority` is (class << 13) | level.
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, libc::c_int::from(priority)) }).map(drop)
}

/// What sched_setattr(2) takes.
#[allow(missing_docs)] // As `struct sched_attr` of sched_setattr(2) has them; times in nanoseconds.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedulerAttributes {
    size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) for this process.
pub fn set_scheduler(mut attributes: SchedulerAttributes) -> io::Result<()> {
    attributes.size = size_of::<SchedulerAttributes>() as u32;
    // SAFETY: `attributes` outlives the call and says its own size.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &attributes, 0) }).map(drop)
}

/// The CPUs of this process as a bit mask, lowest word first. EINVAL: its cpuset has none of them.
pub fn set_affinity(cpus: &[u64]) -> io::Result<()> {
    // SAFETY: pointer and length are of one slice, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(cpus), cpus.as_ptr()) }).map(drop)
}

/// set_mempolicy(2); `nodes` is a bit mask, lowest word first.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> io::Result<()> {
    // The kernel reads one bit less than it is told, and takes no list for an empty one.
    let (list, bits) = match nodes {
        [] => (std::ptr::null(), 0),
        nodes => (nodes.as_ptr(), size_of_val(nodes) * 8 + 1),
    };
    // SAFETY: pointer and number of bits are of one slice, which outlives the call.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode as libc::c_int, list, bits) }).map(drop)
}

/// personality(2): PER_* and flags, for this process and what it executes.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::personality(persona) }.into()).map(drop)
}

/// setrlimit(2), by the number of RLIMIT_*; RLIM64_INFINITY is no limit. EPERM: to raise a hard limit takes
/// CAP_SYS_RESOURCE.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; the null pointer asks for no old value.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &limit, std::ptr::null_mut::<libc::rlimit64>()) })
        .map(drop)
}

/// setdomainname(2), in this UTS namespace. EINVAL: longer than 64 bytes.
pub fn set_domainname(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are of one string.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Brings the loopback interface of this network namespace up (netdevice(7)).
pub fn raise_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is what SIOCSIFFLAGS reads, and outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd() as RawFd, libc::SIOCSIFFLAGS, &request) }.into()).map(drop)
}
