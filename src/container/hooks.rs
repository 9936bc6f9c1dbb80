//! Hooks: programs of the caller at the turning points of a container's life (runtime-spec, config.md,
//! "POSIX-platform Hooks"). Run by the CLI in its namespaces, and by a container's init in the container's.
//!
//! A hook can do whatever it likes but stop us: it may not read its input, may write for ever, may leave processes
//! behind that hold its output open, may outlive its timeout. It is waited for by its pidfd, never by the end of a pipe.
//!
//! If we die while a hook runs, it goes on by itself. What the CLI runs is recorded around each hook (`host::hooks`), so
//! that whoever recovers neither runs it again nor leaves it running; what an init runs ends with the init's PID namespace.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::forked::{Child, Program};
use crate::spec::plan::HookPlan;
use crate::sys::image::Image;
use crate::sys::interrupt::{self, Interrupts};
use crate::sys::pidfd::{self, Ended};
use crate::sys::ready::timeout_until;

/// How much of what a hook wrote is kept for its error: the end, where the reason stands.
const TAIL: usize = 2048;

/// A hook that did not do what it was for. `kind` is its name in the specification, `output` the end of what it said on
/// stderr, or nothing.
#[allow(missing_docs)] // Their texts say it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("the state cannot be prepared for the {kind} hook {path:?}")]
    State { kind: String, path: PathBuf, source: io::Error },
    #[error("error running hook: the {kind} hook {path:?} cannot be started")]
    Start { kind: String, path: PathBuf, source: io::Error },
    #[error("the {kind} hook {path:?} was started but cannot be watched")]
    Watch { kind: String, path: PathBuf, source: io::Error },
    // The first words are runc's, which its callers look for.
    #[error("error running hook: the {kind} hook {path:?} failed: {outcome}{output}")]
    Failed { kind: String, path: PathBuf, outcome: String, output: String },
    #[error(
        "error running hook: the {kind} hook {path:?} did not end within its timeout of {seconds} s and was killed{output}"
    )]
    TimedOut { kind: String, path: PathBuf, seconds: u32, output: String },
    #[error("error running hook: the {kind} hook {path:?} was killed, since this command was told to end{output}")]
    Interrupted { kind: String, path: PathBuf, output: String, signal: i32 },
}

/// What hooks are run as.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// As in the specification: it names them in errors.
    pub kind: &'a str,
    /// What each reads from its standard input.
    pub state_json: &'a [u8],
    /// The working directory; None: our own.
    pub folder: Option<&'a Path>,
    /// Of those for which the configuration has none; with one, even an empty one, they have that and nothing else.
    pub env: Environment<'a>,
}

/// Where a hook without `env` of its own has its environment from.
#[derive(Debug, Clone, Copy)]
pub enum Environment<'a> {
    /// The one that this process has.
    Ours,
    /// The application's.
    Of(&'a [CString]),
}

impl Environment<'_> {
    fn variables(self) -> Vec<CString> {
        let ours = || {
            std::env::vars_os()
                .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        };
        match self {
            Environment::Ours => ours().collect(),
            Environment::Of(variables) => variables.to_vec(),
        }
    }
}

/// Runs the hooks in order and stops at the first that fails.
///
/// SIGCHLD must not be ignored by the calling process: how a hook ended would be lost.
pub fn run(hooks: &[HookPlan], call: Call<'_>) -> Result<(), HookError> {
    hooks.iter().try_for_each(|hook| run_one(hook, call, |_| Ok(())))
}

/// `begins` is told the pid of the hook before that does anything; on its error, or our death, the hook never does.
pub fn run_one<E: From<HookError>>(
    hook: &HookPlan,
    call: Call<'_>,
    begins: impl FnOnce(i32) -> Result<(), E>,
) -> Result<(), E> {
    let named = |kind: fn(String, PathBuf, io::Error) -> HookError| {
        move |source| kind(call.kind.to_owned(), hook.path.clone(), source)
    };
    let input =
        in_memory(call.state_json).map_err(named(|kind, path, source| HookError::State { kind, path, source }))?;
    let start = named(|kind, path, source| HookError::Start { kind, path, source });
    let (program, mut output) = program(hook, input, call).map_err(&start)?;
    let held = program.fork().map_err(&start)?;
    begins(held.pid)?;
    let child = held.execute().map_err(&start)?;
    Ok(wait(&child, hook, call.kind, &mut output)?)
}

fn wait(child: &Child, hook: &HookPlan, kind: &str, output: &mut Output) -> Result<(), HookError> {
    let (kind, path) = (kind.to_owned(), hook.path.clone());
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let watched = watch(child, output, deadline);
    if !matches!(watched, Ok(Ending::Ended)) {
        // The leader is not reaped yet, so the number still names this group.
        let _ = killpg(Pid::from_raw(child.pid), Signal::SIGKILL);
    }
    let status = pidfd::wait_exit(child.pidfd.as_fd(), None).and_then(|_| pidfd::wait_child(child.pidfd.as_fd()));
    match (watched, status) {
        (Ok(Ending::Ended), Ok(Some(0))) => Ok(()),
        (Ok(Ending::Ended), Ok(status)) => {
            Err(HookError::Failed { kind, path, outcome: outcome(status), output: output.told() })
        }
        (Ok(Ending::TimedOut), Ok(_)) => {
            let seconds = hook.timeout.unwrap_or_default();
            Err(HookError::TimedOut { kind, path, seconds, output: output.told() })
        }
        (Ok(Ending::Interrupted(signal)), Ok(_)) => {
            Err(HookError::Interrupted { kind, path, output: output.told(), signal })
        }
        (Err(source), _) | (_, Err(source)) => Err(HookError::Watch { kind, path, source }),
    }
}

/// The state as a file in memory: reading it never blocks the hook, and a hook that does not read never blocks us, nor
/// could it end us with SIGPIPE, which a container's init has at its default.
fn in_memory(state_json: &[u8]) -> io::Result<OwnedFd> {
    const NAME: &CStr = c"state.json";
    let mut file = File::from(memfd_create(NAME, MemFdCreateFlag::MFD_CLOEXEC)?);
    file.write_all(state_json)?;
    file.rewind()?;
    Ok(file.into())
}

/// Ready to be forked, and our ends of what it writes to.
fn program(hook: &HookPlan, input: OwnedFd, call: Call<'_>) -> io::Result<(Program, Output)> {
    let text = |text: &str| CString::new(text).map_err(io::Error::from);
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let args = hook.args.iter().map(|arg| text(arg)).collect::<io::Result<_>>()?;
    let env = match &hook.env {
        Some(entries) => entries.iter().map(|entry| path(Path::new(entry))).collect::<io::Result<_>>()?,
        None => call.env.variables(),
    };
    let (out, its_out) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let (err, its_err) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let image = Image::new(path(&hook.path)?, args, env);
    let folder = call.folder.map(path).transpose()?;
    Ok((Program { image, folder, stdio: [input, its_out, its_err] }, Output::of(out, err)))
}

enum Ending {
    Ended,
    TimedOut,
    /// By this signal.
    Interrupted(i32),
}

/// A command that keeps signals answers to those that ask it to end: while a hook runs there is nobody else who would.
fn watch(child: &Child, output: &mut Output, deadline: Option<Instant>) -> io::Result<Ending> {
    output.never_block()?;
    let told = interrupt::current();
    loop {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Ending::TimedOut);
        }
        let mut watched = vec![PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN)];
        watched.extend(told.map(|told| PollFd::new(told.as_fd(), PollFlags::POLLIN)));
        watched.extend(output.open().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout_until(deadline)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ended = watched[0].any().unwrap_or(false);
        output.read();
        if ended {
            return Ok(Ending::Ended);
        }
        if let Some(signal) = told.and_then(Interrupts::ending) {
            return Ok(Ending::Interrupted(signal));
        }
    }
}

/// What a hook writes: read so that it never waits for us, kept up to a limit, dropped otherwise.
struct Output {
    out: Pipe,
    err: Pipe,
}

struct Pipe {
    end: Option<File>,
    tail: Vec<u8>,
}

impl Output {
    fn of(out: OwnedFd, err: OwnedFd) -> Output {
        let pipe = |end: OwnedFd| Pipe { end: Some(end.into()), tail: Vec::new() };
        Output { out: pipe(out), err: pipe(err) }
    }

    fn never_block(&self) -> io::Result<()> {
        for pipe in self.open() {
            fcntl(pipe.as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    fn open(&self) -> impl Iterator<Item = &File> {
        [&self.out, &self.err].into_iter().filter_map(|pipe| pipe.end.as_ref())
    }

    fn read(&mut self) {
        self.out.read();
        self.err.read();
    }

    /// For the end of an error: on one line, from where errors are written, else from where the rest is.
    fn told(&self) -> String {
        let tails = [&self.err, &self.out].map(|pipe| String::from_utf8_lossy(&pipe.tail).trim().to_owned());
        match tails.iter().find(|tail| !tail.is_empty()) {
            None => String::new(),
            Some(tail) => format!(": {}", tail.lines().map(str::trim).collect::<Vec<_>>().join(" | ")),
        }
    }
}

impl Pipe {
    /// What is there now, but no more than a pipe holds: a hook that writes for ever must not keep us here.
    fn read(&mut self) {
        let Some(end) = &mut self.end else { return };
        let mut buffer = [0; 4096];
        for _ in 0..16 {
            match end.read(&mut buffer) {
                Ok(0) => return self.end = None,
                Ok(count) => {
                    self.tail.extend(&buffer[..count]);
                    let surplus = self.tail.len().saturating_sub(TAIL);
                    self.tail.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.end = None,
            }
        }
    }
}

/// A raw wait status (wait(2)); None: somebody else has reaped it.
fn outcome(status: Option<i32>) -> String {
    match status.map(Ended::of) {
        Some(Ended { signal: Some(signal), .. }) => format!("killed by signal {signal}{}", meaning_of(signal)),
        Some(Ended { code, signal: None }) => format!("exit code {code}"),
        None => "nobody knows how it ended".to_owned(),
    }
}

/// What a startContainer hook gets for a call that the seccomp filter kills for; other numbers are known by heart.
fn meaning_of(signal: u8) -> &'static str {
    if i32::from(signal) == libc::SIGSYS { " (bad system call)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<u32>) -> HookPlan {
        let args = ["hook-name", "-c", script].map(str::to_owned).to_vec();
        HookPlan {
            path: "/bin/sh".into(),
            args,
            env: Some(vec!["A=b c=d".into(), "PATH=/usr/bin:/bin".into()]),
            timeout,
        }
    }

    fn call<'a>(kind: &'a str, state_json: &'a [u8]) -> Call<'a> {
        Call { kind, state_json, folder: None, env: Environment::Ours }
    }

    fn failure(script: &str, timeout: Option<u32>) -> String {
        run(&[shell(script, timeout)], call("prestart", b"{}")).unwrap_err().to_string()
    }

    #[test]
    fn hooks_run_in_order_with_the_state_and_exactly_the_environment_given() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let write = |text: &str| shell(&format!("{{ {text}; }} >> {}", log.display()), None);
        let hooks = [write("cat"), write("echo; echo $0"), write("env | grep -v -e PWD -e SHLVL -e '^_='")];
        run(&hooks, call("createRuntime", br#"{"id":"x"}"#)).unwrap();
        let lines = std::fs::read_to_string(log).unwrap();
        assert_eq!(lines.lines().collect::<Vec<_>>()[..3], [r#"{"id":"x"}"#, "hook-name", "A=b c=d"]);
    }

    #[test]
    fn a_failure_names_the_hook_its_code_and_its_last_words_and_stops_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let never = folder.path().join("never");
        let hooks = [shell("echo reason >&2; echo more >&2; exit 7", None), shell(&format!("> {never:?}"), None)];
        let error = run(&hooks, call("prestart", b"{}")).unwrap_err().to_string();
        assert_eq!(error, "error running hook: the prestart hook \"/bin/sh\" failed: exit code 7: reason | more");
        assert!(!never.exists());
        assert!(failure("kill -9 $$", None).ends_with("killed by signal 9"));
        assert!(failure("kill -31 $$", None).ends_with("(bad system call)"));
        assert!(failure("echo only here; exit 1", None).ends_with("exit code 1: only here"));
    }

    #[test]
    fn a_hook_without_an_environment_has_that_of_whoever_runs_it_and_an_empty_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let run_with = |env: Option<Vec<std::ffi::OsString>>, given: Environment<'_>| {
            let hook = HookPlan { env, ..shell(&format!("/usr/bin/env > {}", log.display()), None) };
            run(&[hook], Call { env: given, ..call("poststart", b"{}") }).unwrap();
            let text = std::fs::read_to_string(&log).unwrap();
            let own = |line: &&str| !["PWD=", "SHLVL=", "_="].iter().any(|name| line.starts_with(name));
            let mut lines: Vec<String> = text.lines().filter(own).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let variables = [c"A=1".to_owned(), c"B=\xff".to_owned()];
        let hook = HookPlan { env: None, ..shell("[ \"$A\" = 1 ] && [ ${#B} = 1 ]", None) };
        run(&[hook], Call { env: Environment::Of(&variables), ..call("startContainer", b"{}") }).unwrap();
        assert_eq!(run_with(None, Environment::Of(&variables[..1])), ["A=1"]);
        assert_eq!(run_with(Some(vec![]), Environment::Ours), Vec::<String>::new());
        assert!(run_with(None, Environment::Ours).iter().any(|line| line.starts_with("PATH=")));
    }

    #[test]
    fn a_missing_hook_is_named() {
        let hook = HookPlan { path: "/no/such/hook".into(), args: vec![], env: None, timeout: None };
        let error = run(&[hook], call("poststart", b"{}")).unwrap_err();
        assert!(matches!(error, HookError::Start { .. }));
        assert!(error.to_string().contains("/no/such/hook"), "{error}");
    }

    #[test]
    fn a_hook_that_never_reads_a_large_state_does_not_block_us() {
        run(&[shell("exec <&-; true", Some(60))], call("prestart", &vec![b' '; 1 << 20])).unwrap();
    }

    #[test]
    fn a_hook_that_writes_more_than_a_pipe_holds_is_not_blocked_and_only_its_end_is_kept() {
        let error = failure("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 3", Some(60));
        assert!(error.ends_with("xend") && error.len() < TAIL + 200, "{} bytes", error.len());
    }

    #[test]
    fn a_timeout_kills_the_whole_group_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let error = failure(&script, Some(1));
        assert!(error.contains("timeout of 1 s"), "{error}");
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        // Killed, but perhaps not off the CPU yet; once it is reaped there is nothing left to open.
        if let Ok(handle) = pidfd::open(pid) {
            let ended = poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], 10_000u16);
            assert_eq!(ended, Ok(1), "process {pid} outlived its group");
        }
    }

    #[test]
    fn what_a_hook_leaves_running_is_neither_waited_for_nor_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let before = Instant::now();
        run(&[shell(&format!("sleep 1000 & echo $! > {}", pid_file.display()), None)], call("poststart", b"{}"))
            .unwrap();
        assert!(before.elapsed() < Duration::from_secs(500));
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it still runs");
    }

    #[test]
    fn a_hook_that_may_not_begin_never_does() {
        let folder = tempfile::tempdir().unwrap();
        let never = folder.path().join("never");
        let failed = HookError::State { kind: String::new(), path: "/".into(), source: io::ErrorKind::Other.into() };
        let refused = run_one(&shell(&format!("> {never:?}"), None), call("poststop", b"{}"), |_| Err(failed));
        assert!(matches!(refused, Err(HookError::State { .. })));
        assert!(!never.exists());
    }
}
