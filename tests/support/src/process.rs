//! Processes, as the tests see them: waited for, looked at, and a process of its own for a test that needs one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Waits for a child's end; kills it with SIGKILL when `time` has passed first. The second value says whether it did.
pub fn wait_or_kill(mut child: Child, time: Duration) -> (ExitStatus, bool) {
    let pid = Pid::from_raw(child.id() as i32);
    let (tell, told) = mpsc::channel();
    let waiter = thread::spawn(move || tell.send(child.wait().expect("wait for a child")));
    let (status, killed) = match told.recv_timeout(time) {
        Ok(status) => (status, false),
        Err(_) => {
            // The waiter has not reaped it as long as it has not told: the pid is still the child's. If it told in
            // between, the number may only be free, since nothing else forks that fast with the same one.
            let _ = kill(pid, Signal::SIGKILL);
            (told.recv().expect("the waiter tells"), true)
        }
    };
    let _ = waiter.join();
    (status, killed)
}

/// Reaps a child by its pid, which need not have been started from here: a subreaper's foundlings too.
#[track_caller]
pub fn reap(pid: i32, deadline: Duration) -> WaitStatus {
    let mut last = WaitStatus::StillAlive;
    until(deadline, &format!("the end of process {pid}"), || {
        last = match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(status) => status,
            Err(Errno::EINTR) => WaitStatus::StillAlive,
            Err(error) => panic!("waitpid({pid}): {error}"),
        };
        last != WaitStatus::StillAlive
    });
    last
}

/// Asks again and again until it holds; panics after the deadline. For facts that no file descriptor tells.
#[track_caller]
pub fn until(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !holds() {
        assert!(Instant::now() < end, "after {deadline:?} still no {what}");
        let _ = poll(&mut [], PollTimeout::from(2u8));
    }
}

pub fn send(pid: i32, signal: Signal) {
    assert!(pid > 1, "no signal to process {pid}");
    kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}

/// Whether a process runs: exists, and is neither a zombie nor on its way out.
pub fn runs(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let exiting = fields.get(6).and_then(|flags| flags.parse::<u64>().ok()).is_some_and(|flags| flags & 0x4 != 0);
    !matches!(fields.first(), Some(&"Z" | &"X")) && !exiting
}

/// Every process there is: its pid and its arguments.
pub fn all() -> Vec<(i32, Vec<String>)> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, arguments(pid)?))).collect()
}

fn arguments(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect())
}

/// The line of /proc/PID/status with this name, without the name.
pub fn status_line(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn on_path(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|dir| Path::new(dir).join(tool).is_file())
}

/// Runs `body` in a process of its own, for what changes a process as a whole: its limits, being a subreaper, ignored
/// signals. It must be a closure of the test itself: the test is found by the closure's type, and run again there, alone.
#[track_caller]
pub fn in_own_process<F: FnOnce()>(body: F) {
    if is_alone::<F>() {
        body();
    }
}

/// The same, in a process that inherits the children of those below it which end.
#[track_caller]
pub fn as_subreaper<F: FnOnce()>(body: F) {
    if is_alone::<F>() {
        set_child_subreaper(true).expect("become a subreaper");
        body();
    }
}

/// Whether this process was started for this test alone. If not, one is, and has ended well when this returns.
#[track_caller]
fn is_alone<F>() -> bool {
    const MARK: &str = "SANDKEEP_TEST_IN_OWN_PROCESS";
    let closure = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, name) = closure.split_once("::").unwrap_or_else(|| panic!("{closure} is not in a test"));
    if std::env::var(MARK).is_ok_and(|marked| marked == name) {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("the path of this test"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(MARK, name);
    let output = command.output().expect("run this test again");
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "in its own process:\n{told}");
    assert!(told.contains("1 passed"), "no test is called {name}:\n{told}");
    for line in told.lines().filter(|line| line.starts_with("skipped:")) {
        eprintln!("{line}");
    }
    false
}
