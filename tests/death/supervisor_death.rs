//! The supervisor dies: everything in its sandbox dies with it, and everyone is told the truth at once.

use nix::sys::signal::Signal;
use support::command::DEADLINE;
use support::process::{self, send};
use support::{Env, Lines, cgroup, needs_root};

#[test]
fn killing_the_supervisor_ends_the_sandbox() {
    needs_root!();
    let env = Env::new();
    let id = env.id("keeper");
    let bundle = env.bundle().script("sleep 1000 & setsid sleep 1000 & echo up; wait");
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("up");
    env.run(["exec", "--detach", &id, "sleep", "2000"]).success();
    let pids: Vec<i32> = env
        .run(["ps", "--format", "json", &id])
        .success()
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|pid| pid.as_i64().unwrap() as i32)
        .collect();
    assert!(pids.len() >= 4, "{pids:?}");
    let waiting = env.cmd(["wait", &id]).spawn();

    let supervisor = env.supervisor(&id);
    send(supervisor, Signal::SIGKILL);
    // As soon as the kernel has got round to the signal.
    process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
    assert_eq!(env.status(&id), "stopped", "state tells it at once");
    // The pipe's end is the end of every process that held it.
    assert_eq!(lines.next(), None);
    process::until(DEADLINE, "end of all processes", || !pids.iter().any(|pid| process::runs(*pid)));
    waiting.finish(DEADLINE).prints("137\n");
    assert_eq!(env.wait(&id), 137);
    let state = env.state(&id);
    assert_eq!((&state["status"], &state["pid"]), (&"stopped".into(), &0.into()));
    env.run(["exec", "--detach", &id, "true"]).fails_with(255, &[&id, "stopped"]);
    env.delete(&id);
    env.gone(&id);
}

#[test]
fn killing_the_supervisor_of_a_created_sandbox_ends_it_too() {
    needs_root!();
    let env = Env::new();
    let id = env.id("unborn");
    let bundle = env.bundle();
    env.created(&bundle, &id);
    let supervisor = env.supervisor(&id);
    send(supervisor, Signal::SIGKILL);
    // As soon as the kernel has got round to the signal.
    process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
    assert_eq!(env.status(&id), "stopped");
    env.run(["start", &id]).fails_with(1, &[&id, "stopped"]);
    env.delete(&id);
    env.created(&bundle, &id);
    env.delete(&id);
}

/// On the v1 freezer not even SIGKILL reaches what is frozen.
#[test]
fn a_paused_sandbox_whose_supervisor_dies_is_not_told_stopped_while_anything_in_it_lives() {
    needs_root!();
    let env = Env::new();
    for end in ["recover", "kill", "delete", "wait"] {
        let id = env.id(end);
        env.started(&env.bundle().args(&["sleep", "1000"]), &id);
        let init = env.pid(&id);
        env.run(["pause", &id]).success();
        let supervisor = env.supervisor(&id);
        send(supervisor, Signal::SIGKILL);
        process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
        let status = env.status(&id);
        // In this order: it may end meanwhile, and not begin.
        assert!(status == "stopped" || process::runs(init), "{status}, and its init is dead");
        assert!(status == "paused" || !process::runs(init), "{status}, and its init lives");
        match end {
            "recover" => drop(env.run(["recover"]).code(0)),
            "kill" => drop(env.run(["kill", &id, "KILL"])),
            "wait" => {
                let waiting = env.cmd(["wait", &id]).spawn();
                env.run(["kill", &id, "KILL"]);
                waiting.finish(DEADLINE).success().prints("137\n");
            }
            _ => {}
        }
        env.delete(&id);
        assert!(!process::runs(init), "deleted, and it lives");
    }
}

#[test]
fn a_foreground_run_whose_supervisor_dies_says_137() {
    needs_root!();
    let env = Env::new();
    let id = env.id("foreground");
    let bundle = env.bundle().script("echo up; exec sleep 1000");
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &id).stdout(out).spawn();
    lines.until("up");
    assert!(!listens(running.pid()), "the command would keep the control socket open after the supervisor's end");
    // The application may say so before its supervisor has told the command that it runs.
    process::until(DEADLINE, "record of the start", || env.status(&id) == "running");
    send(env.supervisor(&id), Signal::SIGKILL);
    running.finish(DEADLINE).code(137);
    env.run(["recover"]).code(0);
    env.run(["delete", "--force", &id]);
}

/// It dies after the application has begun and before the command has heard of that.
#[test]
fn a_foreground_run_whose_supervisor_dies_while_it_starts_says_137_too() {
    needs_root!();
    let env = Env::new();
    let id = env.id("starting");
    let shared = env.dir().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let hook = "touch /shared/begun; while ! test -e /shared/go; do sleep 0.01; done";
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).script("echo up; exec sleep 1000");
    let bundle = bundle.edit(|config| {
        config["hooks"]["startContainer"] = serde_json::json!([{ "path": "/bin/sh", "args": ["sh", "-c", hook] }]);
    });
    let (mut lines, out) = Lines::pipe();
    let running = env.run_bundle(&bundle, &id).stdout(out).spawn();
    process::until(DEADLINE, "running hook", || shared.join("begun").exists());
    let supervisor = env.supervisor(&id);
    send(supervisor, Signal::SIGSTOP);
    std::fs::write(shared.join("go"), "").unwrap();
    lines.until("up");
    send(supervisor, Signal::SIGKILL);
    running.finish(DEADLINE).fails_with(137, &["supervisor is gone"]);
    env.gone(&id);
}

#[test]
fn a_supervisor_that_does_not_answer_is_told_by_doctor() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deaf");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["doctor"]).success();
    let supervisor = env.supervisor(&id);
    send(supervisor, Signal::SIGSTOP);
    let doctor = env.run(["doctor"]).code(1);
    let told = format!("{id}: its supervisor, process {supervisor}, does not answer (state T)");
    assert!(doctor.stdout.contains(&told), "{told:?} is not in {doctor}");
    send(supervisor, Signal::SIGCONT);
    env.run(["doctor"]).success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_supervisor_leaves_by_itself_when_its_container_has_ended() {
    needs_root!();
    let env = Env::new();
    let id = env.id("leaves");
    env.created(&env.bundle().script("exit 6"), &id);
    let supervisor = env.supervisor(&id);
    env.run(["start", &id]).success();
    assert_eq!(env.wait(&id), 6);
    process::until(DEADLINE, "end of the supervisor", || !process::runs(supervisor));
    assert_eq!(env.wait(&id), 6, "the files answer afterwards");
    assert_eq!(env.status(&id), "stopped");
    env.delete(&id);
}

#[test]
fn a_supervisor_ignores_what_a_terminal_or_a_service_manager_sends() {
    needs_root!();
    let env = Env::new();
    let id = env.id("stubborn");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let supervisor = env.supervisor(&id);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR1] {
        send(supervisor, signal);
    }
    env.run(["exec", &id, "true"]).success();
    assert_eq!(env.status(&id), "running");
    assert!(process::runs(supervisor));
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_supervisor_is_confined_and_holds_nothing_of_its_caller() {
    needs_root!();
    let env = Env::new();
    let id = env.id("confined");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let supervisor = env.supervisor(&id);
    assert!(listens(supervisor));
    let status = |name| process::status_line(supervisor, name).unwrap_or_default();
    assert_eq!(status("CapEff"), "0000000000000020", "CAP_KILL alone");
    assert_eq!(status("CapPrm"), "0000000000000020");
    assert_eq!((status("NoNewPrivs"), status("Seccomp")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(status("Threads"), "1");
    let root = std::fs::read_dir(format!("/proc/{supervisor}/root/")).unwrap();
    let root: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(root, ["null"], "its root holds nothing else");
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/{supervisor}/fd/{fd}")).unwrap();
        assert!(target.ends_with("null"), "fd {fd} is {}", target.display());
    }
    let environ = std::fs::read(format!("/proc/{supervisor}/environ")).unwrap();
    assert!(environ.is_empty(), "its environment is empty: {}", String::from_utf8_lossy(&environ));
    let stat = std::fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, supervisor.to_string(), "it leads a session of its own");
    let (own, containers) = (cgroups(supervisor), cgroups(env.pid(&id)));
    assert_ne!(own, containers, "it has a cgroup of its own");
    assert_eq!(cgroup::limit(supervisor, "memory"), (64 << 20).to_string());
    assert_eq!(cgroup::limit(supervisor, "pids"), "16");
    env.run(["delete", "--force", &id]).success();
}

/// Whether the process has a control socket that others may connect to.
fn listens(pid: i32) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let inodes: Vec<String> = sockets
        .lines()
        .filter(|line| line.ends_with("/control.sock") && line.split_whitespace().nth(3) == Some("00010000"))
        .map(|line| format!("socket:[{}]", line.split_whitespace().nth(6).unwrap()))
        .collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| inodes.contains(&to.display().to_string()))
}

fn cgroups(pid: i32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines()
        .filter(|line| line.contains(":memory:") || line.contains("freezer") || line.starts_with("0::"))
        .collect()
}
