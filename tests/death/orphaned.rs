//! The supervisor dies in a PID namespace that is not the sandbox's: the kernel ends nobody with it. The application runs
//! on, everyone is told so, every command but start works on it, and `recover` gives it another supervisor.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;
use support::command::DEADLINE;
use support::process::{self, send, until};
use support::{Bundle, Env, Lines, needs_root};

/// Whose PID namespace the container is in.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Hosts,
    /// That of another container, joined by path.
    Anothers,
}

const BOTH: [Whose; 2] = [Whose::Hosts, Whose::Anothers];

/// Says that it is up, and goes on until it is told to end, with 7.
const PATIENT: &str = "trap 'exit 7' TERM; echo up; sleep 1000 & wait";

/// A world with a container that has one PID namespace for others to join.
struct Shared {
    env: Env,
    owner: String,
}

impl Shared {
    fn new() -> Shared {
        let env = Env::new();
        let owner = env.id("owner");
        env.started(&env.bundle().args(&["sleep", "1000"]), &owner);
        Shared { env, owner }
    }

    fn bundle(&self, whose: Whose) -> Bundle {
        match whose {
            Whose::Hosts => self.env.bundle().namespace("pid", None),
            Whose::Anothers => {
                let path = format!("/proc/{}/ns/pid", self.env.pid(&self.owner));
                self.env.bundle().namespace("pid", Some(&path))
            }
        }
    }

    /// It runs, it has said that it is up, and its supervisor is dead.
    fn orphan(&self, whose: Whose, id: &str, script: &str) -> Lines {
        let (mut lines, out) = Lines::pipe();
        self.env.create(&self.bundle(whose).script(script), id).stdout(out).run().success();
        self.env.run(["start", id]).success();
        lines.until("up");
        kill_supervisor(&self.env, id);
        lines
    }

    fn end(self) {
        self.env.run(["delete", "--force", &self.owner]).success();
    }
}

fn kill_supervisor(env: &Env, id: &str) {
    let supervisor = env.supervisor(id);
    send(supervisor, Signal::SIGKILL);
    until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
}

/// This kernel tells whoever holds a pidfd how its process ended (Linux 6.15).
fn keeps_exit_status() -> bool {
    let release = nix::sys::utsname::uname().expect("uname");
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

#[test]
fn an_application_that_outlives_its_supervisor_is_told_running_and_takes_signals() {
    needs_root!();
    let shared = Shared::new();
    for whose in BOTH {
        let env = &shared.env;
        let id = env.id("runs");
        let mut lines = shared.orphan(
            whose,
            &id,
            "trap 'echo heard' USR1; trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
        );
        let state = env.state(&id);
        assert_eq!(state["status"], "running", "{whose:?}: {state}");
        assert!(process::runs(env.pid(&id)));
        let listed = env.run(["list", "--format", "json"]).success().json();
        let listed = listed.as_array().unwrap().iter().find(|sandbox| sandbox["id"] == json!(id)).unwrap().clone();
        assert_eq!(listed["status"], "running", "{whose:?}");
        env.run(["kill", &id, "USR1"]).success();
        lines.until("heard");
        env.run(["delete", &id]).fails_with(1, &[&id, "running"]);
        env.run(["kill", &id, "TERM"]).success();
        until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
        env.run(["kill", &id, "TERM"]).fails_with(1, &["container not running"]);
        // Nobody was there to see how it ended, and nobody says that it was killed.
        let exit = env.run(["wait", "--format", "json", &id]).code(0).json();
        assert_eq!((&exit["exitCode"], &exit["inferred"]), (&json!(255), &json!(true)), "{whose:?}: {exit}");
        env.delete(&id);
        env.gone(&id);
    }
    shared.end();
}

#[test]
fn everything_but_start_works_without_a_supervisor() {
    needs_root!();
    let shared = Shared::new();
    for whose in BOTH {
        let env = &shared.env;
        let id = env.id("works");
        let _lines = shared.orphan(whose, &id, PATIENT);
        env.run(["exec", &id, "echo", "inside"]).success().prints("inside\n");
        env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
        let pids = env.run(["ps", "--format", "json", &id]).success().json();
        assert!(pids.as_array().unwrap().len() >= 3, "{whose:?}: {pids}");
        env.run(["pause", &id]).success();
        assert_eq!(env.status(&id), "paused", "{whose:?}");
        env.run(["resume", &id]).success();
        assert_eq!(env.status(&id), "running", "{whose:?}");
        env.run(["update", "--pids-limit", "77", &id]).success();
        env.run(["events", "--stats", &id]).success().says("\"limit\":77");
        env.run(["start", &id]).fails_with(1, &[&id, "running"]);
        env.run(["kill", "--all", &id, "KILL"]).success();
        until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
        for pid in pids.as_array().unwrap() {
            assert!(!process::runs(pid.as_i64().unwrap() as i32), "{whose:?}: {pid} lives on");
        }
        env.delete(&id);
    }
    shared.end();
}

#[test]
fn a_forced_deletion_leaves_nothing_of_it_also_when_it_is_paused() {
    needs_root!();
    let shared = Shared::new();
    for whose in BOTH {
        for paused in [false, true] {
            let env = &shared.env;
            let id = env.id("forced");
            let mut lines = shared.orphan(whose, &id, "setsid sleep 1000 & echo up; wait");
            if paused {
                env.run(["pause", &id]).success();
            }
            env.run(["delete", "--force", &id]).success();
            env.gone(&id);
            // The pipe's end is the end of every process that held it.
            assert_eq!(lines.next(), None, "{whose:?}");
        }
    }
    shared.end();
}

#[test]
fn recover_gives_it_another_supervisor_which_keeps_it_as_the_first_one_did() {
    needs_root!();
    let shared = Shared::new();
    for whose in BOTH {
        for paused in [false, true] {
            let env = &shared.env;
            let id = env.id("renewed");
            let _lines = shared.orphan(whose, &id, PATIENT);
            if paused {
                env.run(["pause", &id]).success();
            }
            let pid = env.pid(&id);
            let doctor = env.run(["doctor"]).code(1);
            assert!(doctor.stdout.contains(&id) && doctor.stdout.contains("without its supervisor"), "{doctor}");
            env.run(["recover"]).code(0).says(&id).says("gave it another");
            let supervisor = env.supervisor(&id);
            let state = env.state(&id);
            assert_eq!(state["supervisorPid"], json!(supervisor), "{whose:?}");
            assert_eq!(
                (state["pid"].as_i64(), &state["status"]),
                (Some(pid.into()), &json!(if paused { "paused" } else { "running" }))
            );
            assert!(process::runs(pid));
            env.run(["recover"]).success().prints("");
            env.run(["doctor"]).success();
            let history = env.run(["history", &id]).success();
            assert!(history.stdout.contains("supervisor-lost"), "{history}");
            if paused {
                env.run(["resume", &id]).success();
            }
            // It adopts what is executed, answers who waits, and writes the end down.
            env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
            let waiting = env.cmd(["wait", &id]).spawn();
            env.run(["kill", &id, "TERM"]).success();
            if keeps_exit_status() {
                waiting.finish(DEADLINE).success().prints("7\n");
                assert_eq!(env.wait(&id), 7, "{whose:?}: the files answer afterwards");
            } else {
                waiting.finish(DEADLINE).code(0);
            }
            until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
            assert_eq!(env.status(&id), "stopped");
            env.run(["recover"]).code(0);
            env.delete(&id);
            env.gone(&id);
        }
    }
    shared.end();
}

#[test]
fn a_supervisor_that_dies_again_and_again_is_replaced_every_time() {
    needs_root!();
    let shared = Shared::new();
    let env = &shared.env;
    let id = env.id("often");
    let _lines = shared.orphan(Whose::Hosts, &id, PATIENT);
    let pid = env.pid(&id);
    for _ in 0..3 {
        env.run(["recover", &id]).code(0).says("gave it another");
        kill_supervisor(env, &id);
        assert_eq!((env.status(&id).as_str(), env.pid(&id)), ("running", pid));
    }
    env.run(["delete", "--force", &id]).success();
    shared.end();
}

#[test]
fn a_recovery_that_dies_leaves_no_second_supervisor_and_the_next_one_succeeds() {
    needs_root!();
    support::needs_tool!("strace");
    let shared = Shared::new();
    let env = &shared.env;
    let id = env.id("dies");
    let _lines = shared.orphan(Whose::Hosts, &id, PATIENT);
    let pid = env.pid(&id);
    let recover = || -> Vec<String> {
        let words = ["--root", env.root().to_str().unwrap(), "recover", &id].map(str::to_owned);
        std::iter::once(env.binary().to_string_lossy().into_owned()).chain(words).collect()
    };
    // Before and after it is spawned, recorded, published, given the init, and told that it runs.
    let deaths =
        [("clone3", 1), ("bind", 1), ("connect", 1), ("sendmsg", 1), ("sendmsg", 2), ("sendmsg", 3), ("shutdown", 1)];
    for (call, occurrence) in deaths {
        let killed = support::strace::killed_at(recover(), call, occurrence);
        assert!(!killed.status.success(), "there is no {call} {occurrence}: {killed}");
        assert_eq!((env.status(&id).as_str(), env.pid(&id)), ("running", pid), "killed at {call} {occurrence}");
        assert!(process::runs(pid), "killed at {call} {occurrence}");
        env.run(["recover", &id]).code(0);
        let supervisors = || {
            process::all().into_iter().filter(|(pid, args)| {
                args.first().is_some_and(|name| name.ends_with("sandkeep-sandbox"))
                    && args.contains(&id)
                    && process::runs(*pid)
            })
        };
        until(DEADLINE, "one supervisor", || supervisors().count() == 1);
        assert_eq!(env.state(&id)["supervisorPid"], json!(env.supervisor(&id)), "killed at {call} {occurrence}");
        kill_supervisor(env, &id);
    }
    env.run(["delete", "--force", &id]).success();
    shared.end();
}

#[test]
fn whoever_waits_is_told_the_real_status_with_or_without_a_supervisor() {
    needs_root!();
    if !keeps_exit_status() {
        support::skipped!("this kernel keeps no exit status in a pidfd");
    }
    let shared = Shared::new();
    for whose in BOTH {
        let env = &shared.env;
        let id = env.id("waits");
        let (mut lines, out) = Lines::pipe();
        env.create(&shared.bundle(whose).script(PATIENT), &id).stdout(out).run().success();
        env.run(["start", &id]).success();
        lines.until("up");
        let early = env.cmd(["wait", &id]).spawn();
        let init = env.pid(&id);
        until(DEADLINE, "waiting command", || is_connected(early.pid(), env.supervisor(&id)));
        kill_supervisor(env, &id);
        let late = env.cmd(["wait", "--format", "json", &id]).spawn();
        for waiting in [early.pid(), late.pid()] {
            until(DEADLINE, "pidfd of the init", || holds_pidfd_of(waiting, init));
        }
        env.run(["kill", &id, "TERM"]).success();
        early.finish(DEADLINE).success().prints("7\n");
        let late = late.finish(DEADLINE).success().json();
        assert_eq!((&late["exitCode"], &late["inferred"]), (&json!(7), &json!(false)), "{whose:?}");
        env.delete(&id);
    }
    shared.end();
}

#[test]
fn one_that_was_never_started_ends_with_its_supervisor() {
    needs_root!();
    let shared = Shared::new();
    for whose in BOTH {
        let env = &shared.env;
        let id = env.id("unborn");
        env.created(&shared.bundle(whose).script(PATIENT), &id);
        let init = env.pid(&id);
        kill_supervisor(env, &id);
        assert_eq!(env.status(&id), "stopped", "{whose:?}");
        assert!(!process::runs(init), "{whose:?}: it is told stopped, and lives");
        env.run(["start", &id]).fails_with(1, &[&id, "stopped"]);
        env.delete(&id);
        env.gone(&id);
    }
    shared.end();
}

/// The command and the supervisor die between the start message and the record of the start.
#[test]
fn one_whose_start_was_cut_short_is_told_running_when_it_runs() {
    needs_root!();
    let shared = Shared::new();
    let env = &shared.env;
    let id = env.id("started");
    let folder = env.dir().join("shared");
    fs::create_dir(&folder).unwrap();
    let hook = "touch /shared/begun; while ! test -e /shared/go; do sleep 0.01; done";
    let bundle = shared.bundle(Whose::Hosts).bind(&folder, "/shared", &["rbind", "rw"]).script(PATIENT);
    let bundle = bundle.edit(|config| {
        config["hooks"]["startContainer"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", hook] }]);
    });
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    let start = env.cmd(["start", &id]).spawn();
    until(DEADLINE, "running hook", || folder.join("begun").exists());
    send(start.pid(), Signal::SIGKILL);
    start.finish(DEADLINE);
    kill_supervisor(env, &id);
    fs::write(folder.join("go"), "").unwrap();
    lines.until("up");
    assert_eq!(env.status(&id), "running");
    env.run(["recover"]).code(0).says("completed start-requested").says("gave it another");
    assert_eq!(env.status(&id), "running");
    env.run(["kill", &id, "TERM"]).success();
    if keeps_exit_status() {
        assert_eq!(env.wait(&id), 7);
    }
    until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    env.delete(&id);
    shared.end();
}

#[test]
fn a_foreground_run_goes_on_without_its_supervisor_and_is_ended_by_recover() {
    needs_root!();
    let shared = Shared::new();
    let env = &shared.env;
    for ended_by in ["itself", "recover"] {
        let id = env.id("run");
        let (mut lines, out) = Lines::pipe();
        let running = env.run_bundle(&shared.bundle(Whose::Hosts).script(PATIENT), &id).stdout(out).spawn();
        lines.until("up");
        until(DEADLINE, "record of the start", || env.status(&id) == "running");
        kill_supervisor(env, &id);
        assert_eq!(env.status(&id), "running");
        if ended_by == "recover" {
            env.run(["recover"]).code(0).says("ended it");
            running.finish(DEADLINE).code(137);
        } else {
            env.run(["kill", &id, "TERM"]).success();
            running.finish(DEADLINE).code(7);
        }
        env.run(["delete", "--force", &id]).success();
    }
    shared.end();
}

/// Whether the command has a socket, and the supervisor a client beside its listener.
fn is_connected(pid: i32, supervisor: i32) -> bool {
    let sockets = |pid: i32| -> usize {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count()
    };
    sockets(pid) >= 1 && sockets(supervisor) >= 2
}

fn holds_pidfd_of(holder: i32, process: i32) -> bool {
    let infos = fs::read_dir(format!("/proc/{holder}/fdinfo")).into_iter().flatten().flatten();
    let line = format!("Pid:\t{process}");
    infos.filter_map(|info| fs::read_to_string(info.path()).ok()).any(|info| info.lines().any(|found| found == line))
}
