//! The start sync: a pipe on which a supervisor says one thing, once: that its control server answers, or why it never will.
//!
//! Both ends are here. An end of file without a word is a supervisor that was killed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

const READY: u8 = b'K';
const FAILED: u8 = b'E';

/// The longest error that is read, in bytes.
const LONGEST: u64 = 4096;

/// What a supervisor has said of its start.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Its control server answers.
    Ready,
    /// In its own words.
    Failed(String),
    /// It has ended.
    Nothing,
}

/// The creator's end.
pub struct Listening(OwnedFd);

/// The supervisor's end.
pub struct Speaking(OwnedFd);

/// Both closed by execve.
pub fn pair() -> io::Result<(Listening, Speaking)> {
    let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((Listening(ours), Speaking(theirs)))
}

impl Listening {
    /// Blocks; the caller waits until it is readable.
    pub fn hear(&self) -> io::Result<Said> {
        let mut first = [0u8; 1];
        let mut pipe = File::from(self.0.try_clone()?);
        if pipe.read(&mut first)? == 0 {
            return Ok(Said::Nothing);
        }
        if first[0] == READY {
            return Ok(Said::Ready);
        }
        Ok(Said::Failed(crate::sys::text::all_of(&mut pipe.take(LONGEST))?))
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Speaking {
    /// Whoever holds the descriptor speaks.
    pub fn on(fd: OwnedFd) -> Speaking {
        Speaking(fd)
    }

    /// The control server answers.
    pub fn ready(self) -> io::Result<()> {
        File::from(self.0).write_all(&[READY])
    }

    /// There is nobody to tell whether it was heard.
    pub fn failed(self, text: &str) {
        let message = [&[FAILED], text.as_bytes()].concat();
        let _ = File::from(self.0).write_all(&message);
    }
}

impl AsFd for Speaking {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let (listening, speaking) = pair().unwrap();
        speaking.ready().unwrap();
        assert_eq!(listening.hear().unwrap(), Said::Ready);
        let (listening, speaking) = pair().unwrap();
        speaking.failed("no room");
        assert_eq!(listening.hear().unwrap(), Said::Failed("no room".into()));
        let (listening, speaking) = pair().unwrap();
        drop(speaking);
        assert_eq!(listening.hear().unwrap(), Said::Nothing);
    }
}
