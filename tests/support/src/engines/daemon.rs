//! A process that a test started and will stop: by its pid, and by no other means.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::until;

const STARTING: Duration = Duration::from_secs(60);
const STOPPING: Duration = Duration::from_secs(30);

pub struct Daemon {
    name: String,
    pid: i32,
    ended: Mutex<Receiver<ExitStatus>>,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, its output in `log`. It dies with this process, however that ends.
    pub fn start<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>, log: &Path) -> Daemon {
        let file = File::create(log).expect("a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", program]).args(args).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("dup")).stderr(file);
        let (tell, told) = mpsc::channel();
        let (tell_end, ended) = mpsc::channel();
        // The kernel's signal comes when the thread that started it ends, so that thread stays with it.
        thread::spawn(move || {
            let mut child = command.spawn().expect("run setpriv");
            let _ = tell.send(child.id() as i32);
            let _ = tell_end.send(child.wait().expect("wait for a daemon"));
        });
        let pid = told.recv().unwrap_or_else(|_| panic!("cannot start {program}"));
        Daemon { name: program.to_owned(), pid, ended: Mutex::new(ended), log: log.to_owned() }
    }

    /// Waits until it answers. Panics with its log if it ends instead.
    pub fn until_ready(&self, mut answers: impl FnMut() -> bool) {
        until(STARTING, &format!("answer of {}; it says:\n{}", self.name, self.log()), || {
            if let Ok(status) = self.ended().try_recv() {
                panic!("{} ended with {status}; it said:\n{}", self.name, self.log());
            }
            answers()
        });
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, and SIGKILL when that takes too long. Gives how it ended, None if it had to be killed.
    pub fn stop(&self) -> Option<ExitStatus> {
        let ended = self.ended();
        if let Ok(status) = ended.try_recv() {
            return Some(status);
        }
        let pid = Pid::from_raw(self.pid);
        let _ = kill(pid, Signal::SIGTERM);
        if let Ok(status) = ended.recv_timeout(STOPPING) {
            return Some(status);
        }
        let _ = kill(pid, Signal::SIGKILL);
        let _ = ended.recv_timeout(STOPPING);
        None
    }

    fn ended(&self) -> MutexGuard<'_, Receiver<ExitStatus>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
