//! SIGKILL of `create`, `start`, `update` and `delete`: at chosen system calls (strace injects it) and at random moments. After
//! `recover` nothing is left behind that nobody knows of, and the id can be used again.
//!
//! SANDKEEP_CRASH_POINTS and SANDKEEP_CRASH_MOMENTS say how many of each, per command; SANDKEEP_CRASH_SEED repeats a
//! run. `make crash-matrix` does 40 and 80.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use support::cgroup::limit;
use support::command::DEADLINE;
use support::{Bundle, Cmd, Env, needs_root, needs_tool, strace};

const CI_POINTS: usize = 12;
const CI_MOMENTS: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Create,
    Start,
    Update,
    Delete,
}

/// What an update that is killed would have changed, and what that says before it.
const LIMITS_BEFORE: [&str; 2] = ["--pids-limit=100", "--memory=64m"];
const LIMITS_AFTER: [&str; 2] = ["--pids-limit=50", "--memory=32m"];

impl Victim {
    /// What must have happened before the command that will be killed.
    fn prepare(self, env: &Env, bundle: &Bundle, id: &str) {
        match self {
            Victim::Create => {}
            Victim::Start => env.created(bundle, id),
            Victim::Update => {
                env.started(bundle, id);
                env.run(["update", LIMITS_BEFORE[0], LIMITS_BEFORE[1], id]).success();
            }
            Victim::Delete => {
                env.started(bundle, id);
                env.run(["kill", id, "KILL"]).success();
                assert_eq!(env.wait(id), 137);
            }
        }
    }

    fn command(self, env: &Env, bundle: &Bundle, id: &str) -> Vec<String> {
        let root = env.root().to_string_lossy().into_owned();
        let dir = bundle.dir.to_string_lossy().into_owned();
        let mut words = vec![env.binary().to_string_lossy().into_owned(), "--root".to_owned(), root];
        words.extend(match self {
            Victim::Create => vec!["create".to_owned(), "--bundle".to_owned(), dir],
            Victim::Start => vec!["start".to_owned()],
            Victim::Update => ["update", LIMITS_AFTER[0], LIMITS_AFTER[1]].map(str::to_owned).into(),
            Victim::Delete => vec!["delete".to_owned()],
        });
        words.push(id.to_owned());
        words
    }
}

#[test]
fn create_killed_at_system_calls() {
    at_system_calls(Victim::Create);
}

#[test]
fn start_killed_at_system_calls() {
    at_system_calls(Victim::Start);
}

#[test]
fn update_killed_at_system_calls() {
    at_system_calls(Victim::Update);
}

#[test]
fn delete_killed_at_system_calls() {
    at_system_calls(Victim::Delete);
}

#[test]
fn create_killed_at_random_moments() {
    at_random_moments(Victim::Create);
}

#[test]
fn start_killed_at_random_moments() {
    at_random_moments(Victim::Start);
}

#[test]
fn update_killed_at_random_moments() {
    at_random_moments(Victim::Update);
}

#[test]
fn delete_killed_at_random_moments() {
    at_random_moments(Victim::Delete);
}

/// The start message cannot be called back: once it was sent, the application will run, and the state must say so.
#[test]
fn start_killed_while_a_hook_runs_between_its_message_and_the_application() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hook");
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let wait = "touch /shared/begun; while ! test -e /shared/go; do sleep 0.01; done";
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).script("echo runs; exec sleep 1000");
    let bundle = bundle.edit(|config| {
        config["hooks"]["startContainer"] = serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", wait] }]);
    });
    let (mut lines, out) = support::Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    let start = env.cmd(["start", &id]).spawn();
    support::until(DEADLINE, "running hook", || shared.join("begun").exists());
    support::process::send(start.pid(), nix::sys::signal::Signal::SIGKILL);
    assert!(!start.finish(DEADLINE).status.success());
    env.run(["recover"]).success().says("completed start-requested");
    assert_eq!(env.status(&id), "running");
    env.run(["start", &id]).fails("it is running");
    fs::write(shared.join("go"), "").unwrap();
    assert_eq!(lines.next().as_deref(), Some("runs"));
    env.run(["delete", "--force", &id]).success();
}

/// Nobody but the supervisor can tell, and it does not: then only what needs no answer goes on.
#[test]
fn start_killed_and_its_supervisor_silent() {
    needs_root!();
    let env = Env::new();
    let id = env.id("silent");
    env.created(&env.bundle().args(&["sleep", "1000"]), &id);
    let supervisor = env.supervisor(&id);
    support::process::send(supervisor, nix::sys::signal::Signal::SIGSTOP);
    let start = env.cmd(["start", &id]).spawn();
    let lock = env.root().join("sandboxes").join(&id).join("lock");
    support::until(DEADLINE, "intent of the start", || {
        fs::read(&lock).is_ok_and(|bytes| bytes.windows(15).any(|bytes| bytes == b"start-requested"))
    });
    support::process::send(start.pid(), nix::sys::signal::Signal::SIGKILL);
    assert!(!start.finish(DEADLINE).status.success());
    env.run(["recover"]).fails("does not say whether it happened");
    env.run(["recover"]).fails("does not say whether it happened");
    env.run(["delete", "--force", &id]).success();
    env.gone(&id);
}

fn at_system_calls(victim: Victim) {
    needs_root!();
    needs_tool!("strace");
    let env = Env::new();
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let all = trace(victim, &env, &bundle);
    let wanted = count("SANDKEEP_CRASH_POINTS", CI_POINTS).min(all.len());
    let points: Vec<(String, usize)> = (0..wanted).map(|point| all[point * all.len() / wanted].clone()).collect();

    let mut killed = 0;
    let mut wrong = String::new();
    for (point, (name, occurrence)) in points.iter().enumerate() {
        let id = env.id(&format!("s{point}"));
        victim.prepare(&env, &bundle, &id);
        let outcome = strace::killed_at(victim.command(&env, &bundle, &id), name, *occurrence);
        killed += usize::from(!outcome.status.success());
        let place = format!("{victim:?} killed at {name} number {occurrence}");
        check(victim, &env, &bundle, &id, &place, &mut wrong);
    }
    eprintln!("{victim:?}: {killed} of {} killed at a system call, {} traced", points.len(), all.len());
    assert!(wrong.is_empty(), "{wrong}");
    assert!(killed * 2 > points.len(), "{victim:?}: only {killed} of {} points were reached", points.len());
    env.run(["doctor"]).success();
}

fn at_random_moments(victim: Victim) {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let seed = count("SANDKEEP_CRASH_SEED", since_epoch());
    let mut random = Random(seed as u64 | 1);
    let whole = duration(victim, &env, &bundle);

    let moments = count("SANDKEEP_CRASH_MOMENTS", CI_MOMENTS);
    let mut killed = 0;
    let mut wrong = String::new();
    for moment in 0..moments {
        let id = env.id(&format!("m{moment}"));
        victim.prepare(&env, &bundle, &id);
        let words = victim.command(&env, &bundle, &id);
        let after = whole.mul_f64(random.next());
        let running = Cmd::new(&words[0]).args(&words[1..]).spawn();
        killed += usize::from(running.finish_or_kill(after).is_err());
        let place = format!("{victim:?} killed after {after:?} (seed {seed})");
        check(victim, &env, &bundle, &id, &place, &mut wrong);
    }
    eprintln!("{victim:?}: {killed} of {moments} killed within {whole:?}, seed {seed}");
    assert!(wrong.is_empty(), "{wrong}");
    env.run(["doctor"]).success();
}

/// The machine after a crash: `recover` succeeds and has nothing more to do when asked again; what still exists is a
/// sandbox that `state` knows and `delete --force` ends; then nothing is left and the id works.
fn check(victim: Victim, env: &Env, bundle: &Bundle, id: &str, place: &str, wrong: &mut String) {
    let mut complain = |what: &str, told: &dyn std::fmt::Display| {
        let _ = writeln!(wrong, "{place}: {what}\n{told}");
    };
    let recover = env.run(["recover"]);
    if !recover.status.success() {
        complain("recover fails", &recover);
    }
    let doctor = env.run(["doctor"]);
    if !doctor.status.success() {
        complain("doctor is not content after recover", &doctor);
    }
    let state = env.run(["state", id]);
    if state.status.success() {
        let status = state.json()["status"].as_str().unwrap_or_default().to_owned();
        if !matches!(status.as_str(), "created" | "running" | "stopped") {
            complain("a strange status", &state);
        }
        if victim == Victim::Update {
            let pid = state.json()["pid"].as_i64().expect("a pid") as i32;
            let limits = [limit(pid, "pids"), limit(pid, "memory")];
            let kept =
                fs::read_to_string(env.root().join("sandboxes").join(id).join("limits.json")).unwrap_or_default();
            let before = limits == ["100", "67108864"] && kept.contains(r#""limit":100"#);
            let after = limits == ["50", "33554432"] && kept.contains(r#""limit":50"#);
            if !before && !after {
                complain("limits that are neither the old nor the new", &format!("{limits:?} {kept}"));
            }
        }
        let delete = env.run(["delete", "--force", id]);
        if !delete.status.success() {
            complain("it cannot be deleted", &delete);
        }
    } else if !state.stderr.contains("does not exist") {
        complain("state fails", &state);
    }
    let left = env.leftovers();
    if !left.is_empty() {
        complain("left behind", &left.join("\n"));
    }
    for args in [vec!["create", "--bundle", bundle.dir.to_str().expect("UTF-8"), id], vec!["delete", id]] {
        let again = env.run(&args);
        if !again.status.success() {
            complain("the id is not usable again", &again);
        }
    }
}

/// Every system call of the command's main thread, in order, each with its number among those of its name.
fn trace(victim: Victim, env: &Env, bundle: &Bundle) -> Vec<(String, usize)> {
    let id = env.id("trace");
    victim.prepare(env, bundle, &id);
    let calls = strace::calls(env, victim.command(env, bundle, &id));
    env.run(["delete", "--force", &id]).code(0);
    calls
}

/// How long the command takes when it is left alone: the middle of three.
fn duration(victim: Victim, env: &Env, bundle: &Bundle) -> Duration {
    let mut times: Vec<Duration> = (0..3)
        .map(|number| {
            let id = env.id(&format!("time{number}"));
            victim.prepare(env, bundle, &id);
            let words = victim.command(env, bundle, &id);
            let began = Instant::now();
            Cmd::new(&words[0]).args(&words[1..]).spawn().finish(DEADLINE).success();
            let took = began.elapsed();
            env.run(["delete", "--force", &id]).code(0);
            took
        })
        .collect();
    times.sort();
    times[1]
}

fn count(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

fn since_epoch() -> usize {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.subsec_nanos() as usize)
}

/// xorshift64: enough to spread moments over a command.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
