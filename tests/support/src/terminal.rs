//! A terminal of a test's own, with a program on it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;

use nix::pty::openpty;
use nix::sys::termios::{Termios, tcgetattr};

use super::command::{Cmd, Running};
use super::stream::Lines;

/// A pty. What is run on it has it as its controlling terminal.
pub struct Terminal {
    master: File,
    slave: File,
    pub lines: Lines,
    path: PathBuf,
}

impl Terminal {
    pub fn new() -> Terminal {
        let pty = openpty(None, None).expect("a pty");
        let path = std::fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
        let lines = Lines::of(pty.master.try_clone().unwrap());
        Terminal { master: File::from(pty.master), slave: File::from(pty.slave), lines, path }
    }

    pub fn run<S: AsRef<OsStr>>(&self, program: &OsStr, args: impl IntoIterator<Item = S>) -> Running {
        self.run_cmd(Cmd::new(program).args(args))
    }

    pub fn run_cmd(&self, cmd: Cmd) -> Running {
        let end = || self.slave.try_clone().unwrap();
        cmd.behind("setsid", &["--ctty", "--wait"]).stdin(end()).stdout(end()).stderr(end()).spawn()
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("type into the terminal");
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.set(&["rows", &rows.to_string(), "cols", &columns.to_string()]);
    }

    /// stty(1)
    pub fn set(&self, settings: &[&str]) {
        let status = Command::new("stty").arg("-F").arg(&self.path).args(settings).status().expect("stty");
        assert!(status.success());
    }

    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("termios")
    }
}
