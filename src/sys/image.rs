//! What execve(2) will be given, made ready beforehand: a child forked from a process with other threads must not
//! allocate memory, since one of them may have held the allocator's lock.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A program with its arguments and its whole environment.
pub struct Image {
    path: CString,
    /// What the pointers below point into.
    _texts: Vec<CString>,
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
}

impl Image {
    /// All memory that an execution takes is allocated here.
    pub fn new(path: CString, args: Vec<CString>, env: Vec<CString>) -> Image {
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arg_pointers, env_pointers) = (pointers(&args), pointers(&env));
        Image { path, args: arg_pointers, env: env_pointers, _texts: args.into_iter().chain(env).collect() }
    }

    /// Returns only on failure.
    pub fn execute(&self) -> io::Error {
        // SAFETY: both lists end with a null pointer, and all texts live as long as `self`.
        unsafe { libc::execve(self.path.as_ptr(), self.args.as_ptr(), self.env.as_ptr()) };
        io::Error::last_os_error()
    }

    /// The same with the program that is open here, whatever the path is. Returns only on failure.
    pub fn execute_open(&self, program: BorrowedFd<'_>) -> io::Error {
        let (args, env) = (self.args.as_ptr(), self.env.as_ptr());
        // SAFETY: as above; the empty path stands for the descriptor.
        unsafe { libc::syscall(libc::SYS_execveat, program.as_raw_fd(), c"".as_ptr(), args, env, libc::AT_EMPTY_PATH) };
        io::Error::last_os_error()
    }
}
