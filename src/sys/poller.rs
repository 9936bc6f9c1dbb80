//! One epoll instance. What is watched must be forgotten before it is closed: a descriptor that came from another
//! process shares its open file with it, and the kernel would go on reporting it.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// A set of watched descriptors (epoll(7)). One whose last copy is closed leaves it by itself.
#[derive(Debug)]
pub struct Poller(Epoll);

/// What of a descriptor is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, or the other side has closed.
    Read,
    /// There is room to write.
    Write,
    /// Either of the two.
    ReadWrite,
    /// Only its hang-up, which is always told.
    Nothing,
    /// Each change once: the pidfd of a zombie stays readable until somebody else reaps it.
    Edges,
}

/// One descriptor that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// What `watch` was given for the descriptor.
    pub token: u64,
    /// The other side is gone for good; what it sent before may still be there.
    pub hung_up: bool,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Interest::Read => EpollFlags::EPOLLIN,
            Interest::Write => EpollFlags::EPOLLOUT,
            Interest::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
            Interest::Nothing => EpollFlags::empty(),
            Interest::Edges => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
        }
    }
}

impl Poller {
    /// An empty set; close-on-exec.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?))
    }

    /// Tells of `fd` by `token` from now on, as often as it is ready (level-triggered). EEXIST: it is watched already.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.0.add(fd, EpollEvent::new(interest.flags(), token))?)
    }

    /// Another interest in a descriptor that is watched. ENOENT: it is not.
    pub fn change(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.0.modify(fd, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// What was never watched is forgotten already.
    pub fn forget(&self, fd: BorrowedFd<'_>) {
        let _ = self.0.delete(fd);
    }

    /// Fills `ready` with what is ready, at most 64 at once. The timeout is in milliseconds; without one it waits for
    /// ever. None may be ready: at the timeout, or after a signal.
    pub fn wait(&self, ready: &mut Vec<Ready>, timeout: Option<u16>) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = timeout.map_or(EpollTimeout::NONE, EpollTimeout::from);
        ready.clear();
        match self.0.wait(&mut events, timeout) {
            Ok(count) => ready.extend(events[..count].iter().map(|event| Ready {
                token: event.data(),
                hung_up: event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            })),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}
