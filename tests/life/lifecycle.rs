//! The life of a sandbox, step by step, as its callers see it.

use std::time::Duration;

use support::{Env, Lines, needs_root};

#[test]
fn from_create_to_delete() {
    needs_root!();
    let env = Env::new();
    let id = env.id("life");
    let bundle = env.bundle().script("echo started; exec sleep 1000");
    let (mut lines, out) = Lines::pipe();

    env.create(&bundle, &id).stdout(out).run().success();
    assert_eq!(env.status(&id), "created");
    assert!(!lines.readable(Duration::from_millis(100)), "a created container has run something");
    let created = env.pid(&id);

    env.run(["start", &id]).success().prints("");
    assert_eq!(lines.next().as_deref(), Some("started"));
    assert_eq!(env.status(&id), "running");
    assert_eq!(env.pid(&id), created, "the container's own process keeps its pid");

    env.run(["exec", &id, "sh", "-c", "echo inside; exit 3"]).code(3).prints("inside\n");
    let ps = env.run(["ps", &id]).success();
    assert!(ps.stdout.contains("sleep 1000"), "{ps}");
    let pids = env.run(["ps", "--format", "json", &id]).success().json();
    assert_eq!(pids, serde_json::json!([created]));

    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    assert_eq!(env.wait(&id), 137, "asked twice");
    assert_eq!(env.status(&id), "stopped");
    assert_eq!(env.state(&id)["pid"], 0, "a stopped container has no pid");
    assert_eq!(env.wait(&id), 137, "asked after the end");

    env.delete(&id);
    env.gone(&id);
}

#[test]
fn wait_tells_the_code_to_everyone_who_asks() {
    needs_root!();
    let env = Env::new();
    let id = env.id("wait");
    let bundle = env.bundle().script("echo up; read line; exit 7");
    let (mut lines, out) = Lines::pipe();
    let (input, keep_open) = std::io::pipe().unwrap();
    env.create(&bundle, &id).stdin(input).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("up");
    let waiting: Vec<_> = (0..3).map(|_| env.cmd(["wait", &id]).spawn()).collect();
    drop(keep_open);
    for waiter in waiting {
        waiter.finish(support::command::DEADLINE).success().prints("7\n");
    }
    assert_eq!(env.wait(&id), 7);
    env.delete(&id);
}

#[test]
fn a_paused_container_stands_still_and_a_resumed_one_goes_on() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pause");
    let bundle = env.bundle().script("while :; do echo tick; sleep 0.02; done");
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("tick");

    env.run(["pause", &id]).success();
    assert_eq!(env.status(&id), "paused");
    lines.drain();
    assert!(!lines.readable(Duration::from_millis(500)), "it ticks although it is paused");

    env.run(["resume", &id]).success();
    assert_eq!(env.status(&id), "running");
    lines.until("tick");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_signal_sent_while_paused_arrives_at_resume() {
    needs_root!();
    let env = Env::new();
    let id = env.id("late");
    let bundle = env.bundle().script("trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done");
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("up");
    env.run(["pause", &id]).success();
    env.run(["kill", &id, "TERM"]).success();
    assert_eq!(env.status(&id), "paused");
    env.run(["resume", &id]).success();
    assert_eq!(env.wait(&id), 5);
    env.delete(&id);
}

#[test]
fn a_created_container_can_be_deleted_unstarted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("unstarted");
    let bundle = env.bundle();
    env.created(&bundle, &id);
    env.delete(&id);
    env.gone(&id);
}

#[test]
fn a_created_container_can_be_killed_unstarted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("killed");
    env.created(&env.bundle(), &id);
    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    assert_eq!(env.status(&id), "stopped");
    env.delete(&id);
}

#[test]
fn a_program_that_is_missing_makes_start_fail_and_the_container_stop() {
    needs_root!();
    let env = Env::new();
    let id = env.id("missing");
    let bundle = env.bundle().args(&["/no/such/program"]);
    let create = env.create(&bundle, &id).run();
    // Both runc's way (create looks for the program) and crun's (start finds out) are known to callers.
    if create.status.success() {
        env.run(["start", &id]).fails_with(1, &["/no/such/program", "no such file or directory"]);
        assert_eq!(env.status(&id), "stopped");
        env.delete(&id);
    } else {
        create.fails_with(1, &["/no/such/program", "no such file or directory"]);
    }
    env.gone(&id);
}

#[test]
fn an_id_can_be_used_again_after_delete() {
    needs_root!();
    let env = Env::new();
    let id = env.id("again");
    let bundle = env.bundle().script("exit 3");
    for _ in 0..3 {
        env.started(&bundle, &id);
        assert_eq!(env.wait(&id), 3);
        env.delete(&id);
    }
}

#[test]
fn exec_has_options_of_its_own() {
    needs_root!();
    let env = Env::new();
    let id = env.id("exec");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let script = "pwd; echo $NAME; id -u; id -g; grep CapEff /proc/self/status";
    let exec = ["exec", "--cwd", "/tmp", "--env", "NAME=value", "--user", "1000:1000", &id, "sh", "-c", script];
    env.run(exec).success().prints("/tmp\nvalue\n1000\n1000\nCapEff:\t0000000000000000\n");
    let outcome = env.run(["exec", "--cap", "CAP_SYS_TIME", &id, "grep", "CapEff", "/proc/self/status"]).success();
    let mask = u64::from_str_radix(outcome.stdout.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert!(mask & (1 << 25) != 0, "CAP_SYS_TIME is bit 25: {outcome}");
    env.run(["exec", &id, "kill", "-0", "1"]).success();
    env.run(["exec", &id, "sh", "-c", "kill -9 $$"]).code(137);

    let file = env.dir().join("process.json");
    let process = serde_json::json!({"terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["echo", "from a file"],
        "env": ["PATH=/bin"], "cwd": "/"});
    std::fs::write(&file, process.to_string()).unwrap();
    env.cmd(["exec", "--process"]).arg(&file).arg(&id).run().success().prints("from a file\n");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_detached_exec_goes_on_by_itself_and_is_seen_by_ps() {
    needs_root!();
    let env = Env::new();
    let id = env.id("background");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let pid_file = env.dir().join("exec.pid");
    let exec = env.cmd(["exec", "--detach", "--pid-file"]).arg(&pid_file).args([&id, "sleep", "2000"]);
    exec.run().success().prints("");
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let pids = env.run(["ps", "--format", "json", &id]).success().json();
    assert!(pids.as_array().unwrap().contains(&pid.into()), "{pids}");
    env.run(["ps", &id]).success().says("sleep 2000");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn an_exec_that_cannot_run_its_program_says_so() {
    needs_root!();
    let env = Env::new();
    let id = env.id("badexec");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let missing = env.run(["exec", &id, "no-such-program"]).code(255);
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{missing}");
    env.run(["exec", &id, "/etc/passwd"]).fails_with(255, &["permission denied"]);
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn kill_all_reaches_every_process_and_a_fork_bomb_is_gone_after_delete() {
    needs_root!();
    let env = Env::new();
    let id = env.id("many");
    let script = "bomb() { bomb | bomb & }; echo up; for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; bomb; wait";
    let bundle = env.bundle().script(script);
    let bundle = bundle.edit(|config| config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 60}));
    let (mut lines, out) = Lines::pipe();
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    env.create(&bundle, &id).stdout(out).stderr(null).run().success();
    env.run(["start", &id]).success();
    lines.until("up");
    env.run(["kill", "--all", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    env.delete(&id);
}

#[test]
fn hooks_run_in_order_and_find_the_state() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hooks");
    let log = env.dir().join("hooks.log");
    let hook = |kind: &str| {
        let script = format!("echo {kind} $(tr -d ' \\n' | grep -o '\"status\":\"[a-z]*\"') >> {}", log.display());
        serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    let bundle = env.bundle().edit(|config| {
        config["hooks"] = serde_json::json!({
            "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
            "poststart": hook("poststart"), "poststop": hook("poststop"),
        });
    });
    env.run_bundle(&bundle, &id).run().success();
    let said = std::fs::read_to_string(&log).unwrap();
    let kinds: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(kinds, ["prestart", "createRuntime", "poststart", "poststop"], "{said}");
    assert!(said.lines().next().is_some_and(|line| line.contains("creat")), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains("stopped")), "{said}");
}

#[test]
fn a_hook_that_fails_undoes_create() {
    needs_root!();
    let env = Env::new();
    let id = env.id("badhook");
    let hook = serde_json::json!([{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 4"]}]);
    let bundle = env.bundle().edit(|config| config["hooks"] = serde_json::json!({"createRuntime": hook}));
    env.create(&bundle, &id).run().fails_with(1, &["hook"]);
    env.gone(&id);
}

#[test]
fn an_exec_whose_pid_file_cannot_be_written_leaves_no_process() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nopid");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let exec = ["exec", "--detach", "--pid-file", "/no/such/folder/pid", &id, "sleep", "2000"];
    env.run(exec).fails_with(255, &["pid file"]);
    let pids = env.run(["ps", "--format", "json", &id]).success().json();
    assert_eq!(pids.as_array().unwrap().len(), 1, "{pids}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn an_exec_in_a_paused_container_starts_when_it_is_resumed() {
    needs_root!();
    let env = Env::new();
    let id = env.id("later");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["pause", &id]).success();
    let (mut lines, out) = Lines::pipe();
    let waiting = env.cmd(["exec", "--ignore-paused", &id, "echo", "at last"]).stdout(out).spawn();
    env.run(["state", &id]).success().says("paused");
    env.run(["resume", &id]).success();
    assert_eq!(lines.next().as_deref(), Some("at last"));
    waiting.finish(support::command::DEADLINE).success();
    env.run(["delete", "--force", &id]).success();
}

/// A failed launch kills what it launched and reaps it: nobody waits for a deadline.
#[test]
fn a_run_that_fails_fails_at_once() {
    needs_root!();
    let env = Env::new();
    let began = std::time::Instant::now();
    env.run_bundle(&env.bundle().args(&["no-such-program"]), &env.id("missing")).run().code(127);
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A supervisor that hangs up, or cannot be reached, is waited for without spinning.
#[test]
fn waiting_beside_a_supervisor_that_does_not_answer_costs_no_cpu_time() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deaf");
    env.started(&env.bundle().script("sleep 1000"), &id);
    std::fs::remove_file(env.root().join("sandboxes").join(&id).join("control.sock")).unwrap();
    let wait = env.cmd(["wait", &id]).spawn();
    let stat = format!("/proc/{}/stat", wait.pid());
    let asked = std::time::Instant::now();
    support::until(std::time::Duration::from_secs(10), "second of waiting", || asked.elapsed().as_millis() > 1000);
    let fields = std::fs::read_to_string(&stat).unwrap();
    let ticks: u64 =
        fields.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    assert!(ticks < 40, "{ticks} ticks in a second");
    env.run(["kill", &id, "KILL"]).success();
    wait.finish(support::command::DEADLINE).success().prints("137\n");
    env.delete(&id);
}
