//! Output read while it is being written: a pipe or a pty, line by line, each under a deadline.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::command::DEADLINE;

/// The lines that come out of a file descriptor.
pub struct Lines {
    file: File,
    seen: Vec<u8>,
}

impl Lines {
    /// A pipe: its lines, and the end to give to a command.
    pub fn pipe() -> (Lines, PipeWriter) {
        let (reader, writer): (PipeReader, PipeWriter) = std::io::pipe().expect("a pipe");
        (Lines::of(reader.into()), writer)
    }

    pub fn of(fd: OwnedFd) -> Lines {
        Lines { file: File::from(fd), seen: Vec::new() }
    }

    /// The next line, without its end; None at the end of the stream. Panics after the deadline.
    #[track_caller]
    pub fn next(&mut self) -> Option<String> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.seen.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.seen.drain(..=at).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.readable(left), "no line within {DEADLINE:?}; so far {:?}", self.so_far());
            if !self.take() {
                return None;
            }
        }
    }

    /// Reads lines until one holds `needle`, and gives that one.
    #[track_caller]
    pub fn until(&mut self, needle: &str) -> String {
        let mut before = Vec::new();
        while let Some(line) = self.next() {
            if line.contains(needle) {
                return line;
            }
            before.push(line);
        }
        panic!("the stream ended without {needle:?}; it said {before:?} {:?}", self.so_far());
    }

    /// Whether anything (or the end) comes within `time`.
    pub fn readable(&self, time: Duration) -> bool {
        let millis = PollTimeout::try_from(time.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, millis), Ok(ready) if ready > 0)
    }

    /// Takes everything that is there, and forgets it.
    pub fn drain(&mut self) {
        while self.readable(Duration::ZERO) && self.take() {}
        self.seen.clear();
    }

    /// Everything up to the end of the stream.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            assert!(self.readable(left), "no end within {DEADLINE:?}; so far {:?}", self.so_far());
            if !self.take() {
                return self.so_far();
            }
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// False at the end; a pty without any slave left reads EIO, which is its end.
    fn take(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.file.read(&mut buffer) {
            Ok(count) => {
                self.seen.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(_) => false,
        }
    }
}
