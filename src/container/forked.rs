//! A program that is forked first and executed when it may be: who it will be is known, and can be written down, before
//! it does anything. If we die in between, it never does.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use crate::sys::clone::{self, Cloned, Parent};
use crate::sys::image::Image;
use crate::sys::{descriptor_limit, descriptors, pidfd, signals};

/// What is to be run: the leader of a process group of its own, with nothing open but its standard descriptors.
pub struct Program {
    pub image: Image,
    /// None: where we are.
    pub folder: Option<CString>,
    pub stdio: [OwnedFd; 3],
}

/// Forked, and waiting to be let go. Dropped, it ends without having executed anything.
pub struct Forked {
    pub pid: i32,
    /// Until it is somebody else's to wait for.
    pidfd: Option<OwnedFd>,
    gate: Option<OwnedFd>,
    report: OwnedFd,
}

/// A child that executes its program.
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

impl Program {
    /// The child never touches memory that another thread of ours could have locked.
    pub fn fork(self) -> io::Result<Forked> {
        let (their_gate, gate) = pipe2(OFlag::O_CLOEXEC)?;
        let (report, their_report) = pipe2(OFlag::O_CLOEXEC)?;
        // Above the numbers that they will be placed at.
        let stdio = [&self.stdio[0], &self.stdio[1], &self.stdio[2]].map(|fd| descriptors::above(fd.as_fd(), 3));
        let [input, output, errors] = stdio;
        let stdio = [input?, output?, errors?];
        match clone::clone(0, Parent::Me, None)? {
            Cloned::Parent { pid, pidfd } => Ok(Forked { pid, pidfd: Some(pidfd), gate: Some(gate), report }),
            Cloned::Child => {
                // Else our own copy would keep the gate from ever closing.
                drop(gate);
                let error = match self.arrange(&stdio, their_gate) {
                    Ok(()) => self.image.execute(),
                    Err(error) => error,
                };
                let errno = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
                let _ = nix::unistd::write(&their_report, &errno);
                clone::exit_now(127)
            }
        }
    }

    fn arrange(&self, stdio: &[OwnedFd; 3], gate: OwnedFd) -> io::Result<()> {
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        signals::reset()?;
        let mut byte = [0];
        loop {
            match nix::unistd::read(gate.as_raw_fd(), &mut byte) {
                Ok(1) => break,
                Err(nix::Error::EINTR) => {}
                // Whoever would have let us go is dead, or has thought better of it.
                _ => clone::exit_now(0),
            }
        }
        for (number, fd) in (0..).zip(stdio) {
            descriptors::place(fd.as_fd(), number)?;
        }
        descriptors::close_on_exec_from(3)?;
        descriptor_limit::go_back()?;
        if let Some(folder) = &self.folder {
            nix::unistd::chdir(folder.as_c_str())?;
        }
        Ok(())
    }
}

impl Forked {
    /// Lets it go. An error: it could not be executed, and is no more.
    pub fn execute(mut self) -> io::Result<Child> {
        if let Some(gate) = self.gate.take() {
            std::fs::File::from(gate).write_all(&[1])?;
        }
        let mut errno = [0; 4];
        match std::fs::File::from(self.report.try_clone()?).read_exact(&mut errno) {
            Ok(()) => Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno))),
            // The end of the pipe: execve has closed it.
            Err(_) => match self.pidfd.take() {
                Some(pidfd) => Ok(Child { pid: self.pid, pidfd }),
                None => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.gate = None;
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd::wait_exit(pidfd.as_fd(), None);
            let _ = pidfd::wait_child(pidfd.as_fd());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    fn program(path: &str, script: &str) -> Program {
        let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into();
        let args = ["sh", "-c", script].map(text).to_vec();
        Program { image: Image::new(text(path), args, vec![]), folder: None, stdio: [null(), null(), null()] }
    }

    fn status_of(child: &Child) -> i32 {
        assert!(pidfd::wait_exit(child.pidfd.as_fd(), None).unwrap());
        pidfd::wait_child(child.pidfd.as_fd()).unwrap().expect("it has ended")
    }

    #[test]
    fn nothing_happens_before_it_is_let_go_nor_ever_when_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let held = program("/bin/sh", &format!("> {done:?}; exit 3")).fork().unwrap();
        assert!(held.pid > 0 && !done.exists());
        let child = held.execute().unwrap();
        assert_eq!(pidfd::Ended::of(status_of(&child)).code, 3);
        assert!(done.exists());

        let never = dir.path().join("never");
        drop(program("/bin/sh", &format!("> {never:?}")).fork().unwrap());
        assert!(!never.exists());
    }

    #[test]
    fn what_cannot_be_executed_says_why() {
        let error = program("/no/such/program", "").fork().unwrap().execute().map(drop).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let nowhere = Program { folder: Some(text("/no/such/folder")), ..program("/bin/sh", "exit 0") };
        assert!(nowhere.fork().unwrap().execute().is_err());
    }
}
