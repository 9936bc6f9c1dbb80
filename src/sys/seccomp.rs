//! seccomp(2): a filter for the calling thread.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// SECCOMP_FILTER_FLAG_LOG: what is not allowed is logged, but for SECCOMP_RET_ALLOW.
pub const FLAG_LOG: u32 = 1 << 1;
/// SECCOMP_FILTER_FLAG_SPEC_ALLOW: no mitigation of speculative store bypass for who has this filter.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// SECCOMP_FILTER_FLAG_NEW_LISTENER: loading returns the descriptor that an agent listens on (seccomp_unotify(2)).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: once an agent has a call, only fatal signals interrupt it (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

const SET_MODE_FILTER: libc::c_ulong = 1;
/// BPF_MAXINSNS.
const MAX_INSTRUCTIONS: usize = 4096;

/// Puts the calling thread, and all that it starts, under a filter: an array of `struct sock_filter` as bytes. It
/// cannot be taken off again. Some: the listener, if `flags` asks for one with [`FLAG_NEW_LISTENER`]; it is
/// close-on-exec.
///
/// Needs CAP_SYS_ADMIN in the user namespace, or no_new_privs (EACCES otherwise).
pub fn load(bpf: &[u8], flags: u32) -> io::Result<Option<OwnedFd>> {
    let size = size_of::<libc::sock_filter>();
    let count = bpf.len() / size;
    if !bpf.len().is_multiple_of(size) || count == 0 || count > MAX_INSTRUCTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a filter of {} bytes", bpf.len())));
    }
    // The kernel only reads through the pointer, and copies byte by byte: alignment does not matter.
    let program = libc::sock_fprog { len: count as u16, filter: bpf.as_ptr().cast_mut().cast() };
    // SAFETY: `program` points to `count` whole instructions that live until the call returns.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), std::ptr::from_ref(&program))
    };
    match result {
        0 if flags & FLAG_NEW_LISTENER == 0 => Ok(None),
        // SAFETY: with this flag the result is a new file descriptor that nobody else owns.
        fd if fd >= 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this kernel takes these flags: it looks at them before it reads the filter, which is not there.
pub fn is_known(flags: u32) -> bool {
    let nowhere: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: the kernel reads through the null pointer and fails with EFAULT.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), nowhere) };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Deny getppid with EPERM, allow the rest", for the native architecture.
    fn deny_getppid(action: u32) -> Vec<u8> {
        let load_number = (0x20u16, 0u8, 0u8, 0u32);
        let is_getppid = (0x15, 0, 1, libc::SYS_getppid as u32);
        let program = [load_number, is_getppid, (0x06, 0, 0, action), (0x06, 0, 0, 0x7fff_0000)];
        let mut bytes = Vec::new();
        for (code, jump_true, jump_false, k) in program {
            bytes.extend(code.to_ne_bytes());
            bytes.extend([jump_true, jump_false]);
            bytes.extend(k.to_ne_bytes());
        }
        bytes
    }

    /// A filter binds the thread that loads it: here one that ends with the test.
    fn in_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn a_denied_call_fails_with_its_error_and_others_go_on() {
        let (listener, result, errno) = in_a_thread(|| {
            nix::sys::prctl::set_no_new_privs().unwrap();
            let listener = load(&deny_getppid(0x0005_0000 | libc::EPERM as u32), 0).unwrap();
            // SAFETY: getppid has no arguments.
            let result = unsafe { libc::syscall(libc::SYS_getppid) };
            (listener, result, io::Error::last_os_error().raw_os_error())
        });
        assert!(listener.is_none());
        assert_eq!((result, errno), (-1, Some(libc::EPERM)));
        // SAFETY: as above.
        assert!(unsafe { libc::syscall(libc::SYS_getppid) } > 0, "the filter reached another thread");
    }

    #[test]
    fn a_program_that_is_none_is_refused_without_a_call() {
        for bytes in [&[][..], &[0; 7], &[0; 9], &[0; 8 * 4097]] {
            assert_eq!(load(bytes, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
