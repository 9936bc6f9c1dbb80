//! Somebody ends a command that waits for others while it makes something: it ends at once, with the signal's exit code, and
//! takes back what it has begun.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::command::Running;
use support::{Bundle, Env, Lines, Outcome, needs_root, process, until};

/// Whatever it waits for lasts longer.
const SOON: Duration = Duration::from_secs(20);

/// Opened for both, so that neither side waits for the other.
struct Told {
    path: PathBuf,
    lines: Lines,
}

impl Told {
    fn new(env: &Env, name: &str) -> Told {
        let path = env.dir().join(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        Told { path, lines: Lines::of(both.into()) }
    }

    /// A hook that says where it is, and stays there.
    fn hook(&self, name: &str) -> Value {
        let script = format!("echo {name} > {}; exec sleep 1000", self.path.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    }
}

fn with_hook(bundle: Bundle, kind: &str, hook: Value) -> Bundle {
    bundle.edit(|config| config["hooks"][kind] = hook)
}

#[track_caller]
fn end(running: Running, signal: Signal) -> Outcome {
    let began = Instant::now();
    process::send(running.pid(), signal);
    let outcome = running.finish(SOON);
    assert!(began.elapsed() < SOON);
    let outcome = outcome.code(128 + signal as i32);
    assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome}");
    outcome
}

const BOTH: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

#[test]
fn a_hook_that_lasts_keeps_nobody_from_ending_create_or_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hook");
    let mut told = Told::new(&env, "told");
    for kind in ["prestart", "createRuntime"] {
        for (command, signal) in [("create", BOTH[0]), ("create", BOTH[1]), ("run", BOTH[0]), ("run", BOTH[1])] {
            let bundle = with_hook(env.bundle(), kind, told.hook(kind));
            let running = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
            told.lines.until(kind);
            end(running, signal).fails_with(128 + signal as i32, &[kind, "told to end"]);
            env.gone(&id);
        }
    }
}

#[test]
fn a_hook_inside_that_lasts_keeps_nobody_from_it_either() {
    needs_root!();
    let env = Env::new();
    let id = env.id("inside");
    let mut told = Told::new(&env, "told");
    for (kind, commands) in [
        ("createContainer", &[&["create"][..], &["run"], &["run", "--detach"]][..]),
        // `start` alone leaves the container as it is: whoever waits no longer has lost nothing.
        ("startContainer", &[&["run"][..], &["run", "--detach"]]),
    ] {
        for (command, signal) in commands.iter().zip(BOTH.into_iter().cycle()) {
            let bundle = env.bundle().bind(env.dir(), "/host", &["bind"]);
            let hook = match kind {
                "startContainer" => {
                    let script = format!("echo {kind} > /host/told; exec sleep 1000");
                    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}])
                }
                _ => told.hook(kind),
            };
            let bundle = with_hook(bundle, kind, hook);
            let running = env.cmd(*command).arg("--bundle").arg(&bundle.dir).arg(&id).spawn();
            told.lines.until(kind);
            let outcome = end(running, signal);
            if kind == "startContainer" {
                outcome.fails_with(128 + signal as i32, &["while the container was being started"]);
            }
            env.gone(&id);
        }
    }
}

#[test]
fn a_poststart_hook_that_lasts_ends_with_its_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("poststart");
    let mut told = Told::new(&env, "told");
    for command in [&["run"][..], &["run", "--detach"]] {
        let bundle = with_hook(env.bundle().args(&["sleep", "1000"]), "poststart", told.hook("poststart"));
        let running = env.cmd(command).arg("--bundle").arg(&bundle.dir).arg(&id).spawn();
        told.lines.until("poststart");
        end(running, Signal::SIGTERM);
        env.gone(&id);
    }
}

#[test]
fn the_next_signal_ends_what_taking_back_waits_for() {
    needs_root!();
    let env = Env::new();
    let id = env.id("twice");
    let mut told = Told::new(&env, "told");
    for command in ["create", "run"] {
        let bundle = with_hook(env.bundle(), "createRuntime", told.hook("createRuntime"));
        let bundle = with_hook(bundle, "poststop", told.hook("poststop"));
        let running = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
        told.lines.until("createRuntime");
        process::send(running.pid(), Signal::SIGTERM);
        told.lines.until("poststop");
        process::send(running.pid(), Signal::SIGINT);
        let outcome = running.finish(SOON).code(143);
        assert!(outcome.stderr.contains("poststop") && outcome.stderr.contains("createRuntime"), "{outcome}");
        env.gone(&id);
    }
}

#[test]
fn a_supervisor_that_does_not_answer_keeps_nobody_from_ending_create_or_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deaf");
    let mut told = Told::new(&env, "told");
    let gate = Told::new(&env, "gate");
    let script = format!("echo up > {}; read line < {}", told.path.display(), gate.path.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    for command in ["create", "run"] {
        let bundle = with_hook(env.bundle(), "createRuntime", hook.clone());
        let running = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
        told.lines.until("up");
        let supervisor = env.supervisor(&id);
        process::send(supervisor, Signal::SIGSTOP);
        std::fs::write(&gate.path, "go\n").unwrap();
        // It waits for the supervisor once its hooks are over and the init is ready, which has this last.
        let init = env.pid(&id);
        until(SOON, "an init that is ready", || process::status_line(init, "NoNewPrivs").as_deref() == Some("1"));
        end(running, Signal::SIGTERM);
        env.gone(&id);
    }
}

#[test]
fn an_exec_that_waits_for_a_thaw_ends_when_it_is_told_to_and_leaves_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("frozen");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    for flags in [&["--ignore-paused"][..], &["--ignore-paused", "--detach"]] {
        for signal in BOTH {
            env.run(["pause", &id]).success();
            let exec = env.cmd(["exec"]).args(flags).args([&id, "touch", "/tmp/ran"]).spawn();
            until(SOON, "a helper of its own", || !children(exec.pid()).is_empty());
            end(exec, signal);
            env.run(["resume", &id]).success();
            env.run(["exec", &id, "ls", "/tmp"]).success().prints("");
        }
    }
    env.run(["delete", "--force", &id]).success();
}

fn children(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default().trim().to_owned()
}

#[test]
fn a_signal_that_the_caller_ignores_ends_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nohup");
    let mut told = Told::new(&env, "told");
    let gate = Told::new(&env, "gate");
    let script = format!("echo up > {}; read line < {}", told.path.display(), gate.path.display());
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    let bundle = with_hook(env.bundle(), "createRuntime", hook);
    let create = env.create(&bundle, &id).behind("sh", &["-c", "trap '' HUP; exec \"$0\" \"$@\""]).spawn();
    told.lines.until("up");
    process::send(create.pid(), Signal::SIGHUP);
    std::fs::write(&gate.path, "go\n").unwrap();
    create.finish(SOON).success();
    assert_eq!(env.status(&id), "created");
    env.run(["delete", "--force", &id]).success();
}

/// A helper that was ended with the launch may have cloned an init that nobody has been told of: a child of the command, which
/// kept the supervisor from its end for as long as that was waited for. Of 150 moments, about four met it.
#[test]
fn at_whatever_moment_a_run_is_ended_everything_is_taken_back() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().args(&["true"]);
    let began = Instant::now();
    env.run_bundle(&bundle, &env.id("whole")).run().success();
    let whole = began.elapsed();
    let mut ended = 0;
    for part in 0..150 {
        let id = env.id(&format!("at-{part}"));
        let run = env.run_bundle(&bundle, &id).spawn();
        // Not to wait for anything: the moment is what is tried.
        std::thread::sleep(whole * part / 150);
        let told = Instant::now();
        process::send(run.pid(), Signal::SIGTERM);
        let outcome = run.finish(SOON);
        assert!(told.elapsed() < Duration::from_secs(4), "{part} of 150: it took its time: {outcome}");
        assert!(!outcome.stderr.contains("taken back"), "{part} of 150: {outcome}");
        ended += usize::from(outcome.status.code() == Some(143));
        env.run(["delete", "--force", &id]);
    }
    assert!(ended > 0, "it was never ended before it was over");
}
