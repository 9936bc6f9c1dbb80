//! One command, run to its end under a deadline, and what came of it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, SigHandler, Signal};
use serde_json::Value;

use super::process;

/// Far above what any command should take; a command that reaches it hangs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A command to be run. Its output goes to files, not pipes: a container that lives on may hold them open.
pub struct Cmd {
    command: Command,
    stdout: Option<File>,
    stderr: Option<File>,
    deadline: Duration,
    what: String,
}

impl Cmd {
    pub fn new(program: impl AsRef<OsStr>) -> Cmd {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null());
        let stdout = tempfile::tempfile().expect("a file for stdout");
        let stderr = tempfile::tempfile().expect("a file for stderr");
        command.stdout(stdout.try_clone().expect("dup")).stderr(stderr.try_clone().expect("dup"));
        let what = program.as_ref().to_string_lossy().into_owned();
        Cmd { command, stdout: Some(stdout), stderr: Some(stderr), deadline: DEADLINE, what }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Cmd {
        self.what.push(' ');
        self.what.extend(arg.as_ref().to_string_lossy().chars().take(200));
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Cmd {
        args.into_iter().fold(self, Cmd::arg)
    }

    /// The same command, called by another program with these arguments.
    pub fn behind(self, program: &str, args: &[&str]) -> Cmd {
        let mut wrapped = Cmd::new(program).args(args).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => wrapped.command.env(name, value),
                None => wrapped.command.env_remove(name),
            };
        }
        if let Some(dir) = self.command.get_current_dir() {
            wrapped.command.current_dir(dir);
        }
        wrapped.deadline = self.deadline;
        wrapped
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Cmd {
        self.command.env(name, value);
        self
    }

    pub fn env_clear(mut self) -> Cmd {
        self.command.env_clear();
        self
    }

    pub fn current_dir(mut self, dir: &Path) -> Cmd {
        self.command.current_dir(dir);
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Cmd {
        self.command.stdin(stdin);
        self
    }

    /// The output goes here instead; [`Outcome::stdout`] is then empty.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Cmd {
        self.command.stdout(stdout);
        self.stdout = None;
        self
    }

    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Cmd {
        self.command.stderr(stderr);
        self.stderr = None;
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Cmd {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. Panics, after killing it, when the deadline passes.
    pub fn run(self) -> Outcome {
        let deadline = self.deadline;
        self.spawn().finish(deadline)
    }

    /// Starts it; the caller says when to wait for its end.
    /// With the signals as a shell that somebody sits at gives them: nohup(1) and jobs in the background of a script ignore some,
    /// and whoever runs these tests may be one of those.
    #[allow(unsafe_code)]
    pub fn spawn(mut self) -> Running {
        let defaults = || {
            for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
                // SAFETY: sigaction(2) alone, which may be called between fork and exec; no handler is installed.
                unsafe { signal::signal(signal, SigHandler::SigDfl) }?;
            }
            Ok(())
        };
        // SAFETY: see there; nothing is allocated.
        unsafe { self.command.pre_exec(defaults) };
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.what));
        Running { child, stdout: self.stdout, stderr: self.stderr, what: self.what }
    }
}

/// A command that has been started.
pub struct Running {
    child: Child,
    stdout: Option<File>,
    stderr: Option<File>,
    what: String,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn finish(self, deadline: Duration) -> Outcome {
        let (what, pid) = (self.what.clone(), self.pid());
        self.finish_or_kill(deadline).unwrap_or_else(|killed| panic!("{what} (pid {pid}) hangs\n{killed}"))
    }

    /// Ok: it ended by itself within `time`. Err: it was killed with SIGKILL then.
    pub fn finish_or_kill(self, time: Duration) -> Result<Outcome, Outcome> {
        let (status, killed) = process::wait_or_kill(self.child, time);
        let outcome = Outcome { what: self.what, status, stdout: read(self.stdout), stderr: read(self.stderr) };
        if killed { Err(outcome) } else { Ok(outcome) }
    }
}

fn read(file: Option<File>) -> String {
    let Some(mut file) = file else { return String::new() };
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).expect("the command's output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What came of a command.
pub struct Outcome {
    what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// It exited with 0, and had nothing to say on stderr: callers parse the two together.
    #[track_caller]
    pub fn success(self) -> Outcome {
        assert!(self.status.success(), "should succeed:\n{self}");
        assert!(self.stderr.is_empty(), "stderr should be empty on success:\n{self}");
        self
    }

    /// It exited with this code; 128 + n of a shell stands for signal n, as everywhere.
    #[track_caller]
    pub fn code(self, code: i32) -> Outcome {
        assert_eq!(self.status.code(), Some(code), "exit code:\n{self}");
        self
    }

    /// It exited with 1, and said why in one line.
    #[track_caller]
    pub fn fails(self, needle: &str) -> Outcome {
        self.fails_with(1, &[needle])
    }

    /// It exited with `code`, and one line on stderr holds every one of `needles`, whatever the case.
    #[track_caller]
    pub fn fails_with(self, code: i32, needles: &[&str]) -> Outcome {
        let outcome = self.code(code);
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "one line of error:\n{outcome}");
        let message = outcome.stderr.to_lowercase();
        for needle in needles {
            assert!(message.contains(&needle.to_lowercase()), "{needle:?} is not in the message:\n{outcome}");
        }
        assert!(!message.contains("panicked"), "a panic is no error message:\n{outcome}");
        outcome
    }

    /// Its whole standard output is this.
    #[track_caller]
    pub fn prints(self, expected: &str) -> Outcome {
        assert_eq!(self.stdout, expected, "stdout:\n{self}");
        self
    }

    #[track_caller]
    pub fn says(self, needle: &str) -> Outcome {
        assert!(self.stdout.contains(needle), "{needle:?} is not in stdout:\n{self}");
        self
    }

    /// Its standard output, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}):\n{self}"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exited with {code}"),
            (_, Some(signal)) => format!("was killed by signal {signal}"),
            _ => self.status.to_string(),
        };
        writeln!(f, "$ {}\n{how}\n--- stdout\n{}\n--- stderr\n{}", self.what, self.stdout, self.stderr)
    }
}

/// The binary under test: SANDKEEP_BIN, or else what cargo has built beside the test.
pub fn binary() -> OsString {
    std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the path of this test");
        let built = test.parent().and_then(Path::parent).expect("a folder of what was built");
        built.join("sandkeep").into_os_string()
    })
}
