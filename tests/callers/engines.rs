//! What every engine that is called in docker's command line must show of the runtime under test: said once, asked of each.
//! What only one of them has is in `podman.rs` and `docker.rs`; containerd's ctr speaks another language, `containerd.rs`.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use support::command::DEADLINE;
use support::engines::image::NAME as IMAGE;
use support::engines::{Docker, Engine, Podman, installed, is_sandkeep};
use support::process::send;
use support::{HostNodes, Outcome, Terminal, needs_root, until};

/// The table: each line is a test of each engine.
macro_rules! each_engine_shows {
    ($($test:ident,)+) => {
        mod podman {
            $(#[test] fn $test() { super::ask::<super::Podman>(super::$test); })+
        }

        mod docker {
            $(#[test] fn $test() { super::ask::<super::Docker>(super::$test); })+
        }
    };
}

each_engine_shows! {
    the_image_runs_with_its_own_command_and_environment,
    every_exit_code_is_the_documented_one,
    an_interactive_terminal_takes_what_is_typed_and_follows_its_size,
    standard_input_reaches_the_container,
    exec_runs_more_processes_and_tells_how_they_ended,
    exec_has_a_terminal_too,
    stop_asks_first_and_kills_after_the_time_given,
    kill_restart_and_start_keep_the_container_and_its_log,
    a_container_that_dies_is_started_again_if_that_is_asked_for,
    a_paused_container_stands_still_until_it_is_unpaused,
    a_health_check_is_run_and_judged,
    a_process_over_the_memory_limit_is_killed,
    a_fork_over_the_limit_of_processes_is_refused,
    a_processor_limit_throttles,
    limits_are_changed_while_it_runs,
    a_read_only_root_is_read_only_except_for_its_tmpfs,
    capabilities_privileges_and_system_calls_are_taken_away,
    files_are_copied_in_and_out,
    what_is_deleted_behind_its_back_is_gone_for_the_engine_too,
    a_container_whose_init_was_killed_from_outside_has_ended,
    many_containers_start_and_end_at_once,
    a_default_container_cannot_change_the_null_device_of_the_host,
}

fn ask<E: Engine>(test: fn(&E)) {
    needs_root!();
    if installed(E::PROGRAMS) {
        test(&E::shared());
    }
}

/// Runs until it is told to end, and says what it was told.
pub const LISTENS: &str = "trap 'echo told to end; exit 3' TERM; echo ready; while :; do sleep 0.02; done";

/// Runs until it is killed.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.02; done";

#[track_caller]
pub fn tells(outcome: Outcome, needle: &str) {
    assert!(outcome.stderr.to_lowercase().contains(&needle.to_lowercase()), "{needle:?} is not told:\n{outcome}");
}

fn the_image_runs_with_its_own_command_and_environment<E: Engine>(engine: &E) {
    engine.run(["--rm", IMAGE]).run().success().prints("the image's own command\n");
    let flags = ["--rm", "--env", "ADDED=1", "--workdir", "/etc", "--hostname", "named", "--user", "user", IMAGE];
    let script = "echo $FROM_IMAGE $ADDED $PWD $(hostname) $(id -u):$(id -g)";
    engine.run(flags).args(["sh", "-c", script]).run().success().prints("yes 1 /etc named 1000:1000\n");
}

fn every_exit_code_is_the_documented_one<E: Engine>(engine: &E) {
    let run = |args: &[&str]| engine.run(["--rm"]).args(args).run();
    run(&[IMAGE, "true"]).success();
    run(&[IMAGE, "sh", "-c", "exit 7"]).code(7);
    tells(run(&["--no-such-flag", IMAGE, "true"]).code(125), "unknown flag");
    let refused = run(&["--sysctl", "net.ipv4.ip_forward=abc", IMAGE, "true"]).code(E::WORDS.setting_refused);
    tells(refused, "invalid argument");
    tells(run(&[IMAGE, "/etc/passwd"]).code(126), "permission denied");
    tells(run(&[IMAGE, "/etc"]).code(126), "permission denied");
    tells(run(&[IMAGE, "no-such-program"]).code(127), "executable file not found in $PATH");
    tells(run(&[IMAGE, "/no/such/program"]).code(127), "no such file or directory");
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -15 $$'; exit $?"]).code(143);
}

fn an_interactive_terminal_takes_what_is_typed_and_follows_its_size<E: Engine>(engine: &E) {
    let mut terminal = Terminal::new();
    terminal.resize(30, 90);
    let before = terminal.settings();
    let script = "test -t 0 && test -t 1 && echo on a terminal; stty size; while read line; do \
                  test $line = size && stty size; test $line = end && exit 5; done";
    let running = terminal.run_cmd(engine.run(["--rm", "-it", IMAGE, "sh", "-c", script]));
    terminal.lines.until("on a terminal");
    // The new size travels through the engine and its shim: it is there after a while. podman misses the second of two
    // changes that come together, which is how stty makes them.
    let end = Instant::now() + DEADLINE;
    loop {
        terminal.resize(43, 110);
        terminal.resize(44, 111);
        terminal.types("size\r");
        let told = terminal.lines.until(" ");
        if told.contains("44 111") {
            break;
        }
        assert!(Instant::now() < end, "the size is still {told}");
    }
    terminal.types("end\r");
    running.finish(DEADLINE).code(5);
    assert_eq!(terminal.settings(), before, "the terminal is as it was");
}

fn standard_input_reaches_the_container<E: Engine>(engine: &E) {
    let input = engine.dir().join("input");
    fs::write(&input, "from outside\n").unwrap();
    let stdin = || fs::File::open(&input).unwrap();
    engine.run(["--rm", "-i", IMAGE, "cat"]).stdin(stdin()).run().success().prints("from outside\n");
    let name = engine.detached("stdin", [IMAGE, "sleep", "1000"]);
    engine.cmd(["exec", "-i", &name, "cat"]).stdin(stdin()).run().success().prints("from outside\n");
    engine.remove(&name);
}

fn exec_runs_more_processes_and_tells_how_they_ended<E: Engine>(engine: &E) {
    let name = engine.detached("exec", ["--env", "OF=container", IMAGE, "sleep", "1000"]);
    let exec = |args: &[&str]| engine.cmd(["exec"]).args(args).run();
    exec(&[&name, "echo", "hello"]).success().prints("hello\n");
    exec(&["-e", "OF=exec", "-w", "/etc", "-u", "1000:1000", &name, "sh", "-c", "echo $OF $PWD $(id -u)"])
        .success()
        .prints("exec /etc 1000\n");
    exec(&[&name, "sh", "-c", "echo $OF; exit 9"]).code(9).prints("container\n");
    exec(&[&name, "sh", "-c", "kill -9 $$"]).code(137);
    let [missing, no_program, no_folder] = E::WORDS.exec_failures;
    for (args, code, needle) in [
        (&[name.as_str(), "no-such-program"][..], missing, "executable file not found in $path"),
        (&[&name, "/etc/passwd"], no_program, "permission denied"),
        (&["-w", "/no/such/folder", &name, "pwd"], no_folder, "no such file or directory"),
    ] {
        // docker tells it on the output.
        let outcome = exec(args).code(code);
        let told = format!("{}{}", outcome.stdout, outcome.stderr).to_lowercase();
        assert!(told.contains(needle), "{needle:?} is not told:\n{outcome}");
    }
    exec(&["-d", &name, "touch", "/tmp/made"]).success();
    until(DEADLINE, "a file made by a detached exec", || exec(&[&name, "ls", "/tmp/made"]).status.success());
    engine.remove(&name);
}

fn exec_has_a_terminal_too<E: Engine>(engine: &E) {
    let name = engine.detached("tty", [IMAGE, "sleep", "1000"]);
    let mut terminal = Terminal::new();
    terminal.resize(31, 91);
    // What is written just before the end, the shim of docker's containerd may lose.
    let cmd = engine.cmd(["exec", "-it", &name, "sh", "-c", "tty; read line; echo got $line; read line; exit 6"]);
    let running = terminal.run_cmd(cmd);
    terminal.lines.until("/dev/pts/");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    terminal.types("end\r");
    running.finish(DEADLINE).code(6);
    engine.remove(&name);
}

fn stop_asks_first_and_kills_after_the_time_given<E: Engine>(engine: &E) {
    let polite = engine.detached("polite", [IMAGE, "sh", "-c", LISTENS]);
    engine.until_logged(&polite, "ready", 1);
    engine.call(["stop", "--time", "20", &polite]).success();
    engine.until_logged(&polite, "told to end", 1);
    let state = engine.state(&polite);
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(3)), "{state}");
    assert_eq!(state["Pid"], 0, "{state}");
    let (code, words) = E::WORDS.kill_of_an_ended_one;
    tells(engine.call(["kill", &polite]).code(code), words);
    engine.remove(&polite);

    let deaf = engine.detached("deaf", [IMAGE, "sh", "-c", DEAF]);
    engine.until_logged(&deaf, "ready", 1);
    // podman warns that it had to kill.
    engine.call(["stop", "--time", "1", &deaf]).code(0);
    assert_eq!(engine.state(&deaf)["ExitCode"], 137);
    engine.remove(&deaf);
}

fn kill_restart_and_start_keep_the_container_and_its_log<E: Engine>(engine: &E) {
    let name = engine.detached("again", [IMAGE, "sh", "-c", LISTENS]);
    engine.until_logged(&name, "ready", 1);
    let first = engine.pid(&name);
    engine.call(["restart", "--time", "5", &name]).success();
    engine.until_logged(&name, "ready", 2);
    let second = engine.pid(&name);
    assert!(first != second && second > 1, "{first} and {second}");
    engine.call(["kill", "--signal", "TERM", &name]).success();
    engine.call(["wait", &name]).success().prints("3\n");
    engine.call(["start", &name]).success();
    engine.until_logged(&name, "ready", 3);
    engine.call(["kill", &name]).success();
    engine.call(["wait", &name]).success().prints("137\n");
    let events = engine.events(&name);
    // One says that it dies, another that it died.
    for event in ["create", "start", "kill", "die", "restart"] {
        assert!(events.iter().any(|told| told.starts_with(event)), "no {event}: {events:?}");
    }
    engine.remove(&name);
}

fn a_container_that_dies_is_started_again_if_that_is_asked_for<E: Engine>(engine: &E) {
    let name = engine.detached("phoenix", ["--restart", "always", IMAGE, "sleep", "1000"]);
    let mut last = engine.pid(&name);
    for death in ["the application's", "the supervisor's"] {
        let victim = match death {
            "the supervisor's" if is_sandkeep() => {
                let state = engine.runtime(["state", &engine.id(&name)]).success().json();
                state["supervisorPid"].as_i64().expect("the supervisor's pid") as i32
            }
            _ => last,
        };
        send(victim, Signal::SIGKILL);
        until(DEADLINE, &format!("another life after {death} death"), || {
            let state = engine.state(&name);
            state["Running"] == true && state["Pid"] != last && state["Pid"] != 0
        });
        last = engine.pid(&name);
    }
    assert_eq!(engine.inspect(&name)["RestartCount"], 2);
    engine.call(["exec", &name, "true"]).success();
    engine.remove(&name);
}

fn a_paused_container_stands_still_until_it_is_unpaused<E: Engine>(engine: &E) {
    let name = engine.detached("paused", [IMAGE, "sh", "-c", "while :; do echo tick; sleep 0.02; done"]);
    engine.until_logged(&name, "tick", 1);
    engine.call(["pause", &name]).success();
    assert_eq!(engine.state(&name)["Status"], "paused");
    let frozen = engine.call(["logs", &name]).stdout;
    let (code, words) = E::WORDS.exec_in_a_paused_one;
    tells(engine.call(["exec", &name, "true"]).code(code), words);
    assert_eq!(engine.call(["logs", &name]).stdout, frozen, "it goes on");
    engine.call(["unpause", &name]).success();
    assert_eq!(engine.state(&name)["Status"], "running");
    engine.until_logged(&name, "tick", frozen.matches("tick").count() + 1);
    // A paused one can be killed, too.
    engine.call(["pause", &name]).success();
    engine.remove(&name);
}

fn a_health_check_is_run_and_judged<E: Engine>(engine: &E) {
    let name = engine.detached("health", E::WORDS.health.iter().chain(&[IMAGE, "sleep", "1000"]));
    let until_judged = |wanted: &str| {
        engine.judge_health(&name);
        until(DEADLINE, wanted, || engine.state(&name)["Health"]["Status"] == wanted);
    };
    until_judged("unhealthy");
    engine.call(["exec", &name, "touch", "/tmp/healthy"]).success();
    until_judged("healthy");
    engine.remove(&name);
}

fn a_process_over_the_memory_limit_is_killed<E: Engine>(engine: &E) {
    let run = ["--rm", "--memory", "24m", "--memory-swap", "24m", IMAGE, "sh", "-c"];
    engine.run(run).args(["tail /dev/zero; echo died of $?"]).run().code(0).prints("died of 137\n");
    engine.run(run).args(["exec tail /dev/zero"]).run().code(137);
    // Below the limit nothing happens.
    engine.run(run).args(["head -c 4000000 /dev/zero | wc -c"]).run().success().prints("4000000\n");
}

fn a_fork_over_the_limit_of_processes_is_refused<E: Engine>(engine: &E) {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all of them";
    let outcome = engine.run(["--rm", "--pids-limit", "8", IMAGE, "sh", "-c", script]).run();
    assert!(!outcome.status.success() && !outcome.stdout.contains("all of them"), "{outcome}");
    tells(outcome, "fork");
    engine.run(["--rm", "--pids-limit", "20", IMAGE, "sh", "-c", script]).run().success().prints("all of them\n");
}

fn a_processor_limit_throttles<E: Engine>(engine: &E) {
    let name = engine.detached("slow", ["--cpus", "0.2", IMAGE, "sh", "-c", "while :; do :; done"]);
    until(DEADLINE, "throttling", || {
        let stat = engine.cgroup_file(&name, ("cpu", "cpu.stat"), "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
    engine.remove(&name);
}

fn limits_are_changed_while_it_runs<E: Engine>(engine: &E) {
    let first = ["--memory", "64m", "--memory-swap", "64m"];
    let name = engine.detached("changed", first.iter().chain(&[IMAGE, "sleep", "1000"]));
    engine.call(["update", "--memory", "16m", "--memory-swap", "16m", "--cpus", "0.5", &name]).code(0);
    let killed = engine.call(["exec", &name, "sh", "-c", "tail /dev/zero; echo died of $?"]);
    killed.code(0).prints("died of 137\n");
    // podman's own statistics keep telling the limit that it was made with.
    let memory = engine.cgroup_file(&name, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(memory.trim(), "16777216");
    assert!(engine.cgroup_file(&name, ("cpu", "cpu.cfs_quota_us"), "cpu.max").starts_with("50000"));
    engine.remove(&name);
}

fn a_read_only_root_is_read_only_except_for_its_tmpfs<E: Engine>(engine: &E) {
    let script = "touch /etc/x 2>/dev/null || echo read only; echo y > /scratch/y && cat /scratch/y; \
                  grep ' /scratch ' /proc/mounts | cut -d' ' -f3; df -k /scratch | tail -1 | awk '{print $2}'";
    let run = ["--rm", "--read-only", "--tmpfs", "/scratch:rw,size=1m,noexec", IMAGE, "sh", "-c", script];
    engine.run(run).run().success().prints("read only\ny\ntmpfs\n1024\n");
}

fn capabilities_privileges_and_system_calls_are_taken_away<E: Engine>(engine: &E) {
    let effective = ["sh", "-c", "grep CapEff /proc/self/status | cut -f2"];
    let sets = |flags: &[&str]| engine.run(["--rm"]).args(flags).arg(IMAGE).args(effective).run().success().stdout;
    assert_eq!(sets(&["--cap-drop", "all"]), "0000000000000000\n");
    assert_eq!(sets(&["--cap-drop", "all", "--cap-add", "kill"]), "0000000000000020\n");
    let usual = sets(&[]);
    assert!(usual != sets(&["--cap-drop", "chown"]), "{usual}");
    engine
        .run(["--rm", "--security-opt", "no-new-privileges", IMAGE, "grep", "NoNewPrivs", "/proc/self/status"])
        .run()
        .success()
        .prints("NoNewPrivs:\t1\n");

    let profile = engine.dir().join("seccomp.json");
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    fs::write(&profile, rules).unwrap();
    let seccomp = format!("seccomp={}", profile.display());
    let run = engine.run(["--rm", "--security-opt", &seccomp, IMAGE, "mkdir", "/tmp/x"]).run().code(1);
    tells(run, "function not implemented");
    // The engine's own profile, in force without being asked for.
    let seccomp = engine.run(["--rm", IMAGE, "grep", "^Seccomp:", "/proc/self/status"]).run().success();
    seccomp.prints("Seccomp:\t2\n");
}

fn files_are_copied_in_and_out<E: Engine>(engine: &E) {
    let name = engine.detached("copies", [IMAGE, "sleep", "1000"]);
    let (sent, received) = (engine.dir().join("sent"), engine.dir().join("received"));
    fs::write(&sent, "there and back\n").unwrap();
    let at = format!("{name}:/tmp/sent");
    engine.call(["cp".as_ref(), sent.as_os_str(), at.as_ref()]).code(0);
    engine.call(["exec", &name, "cat", "/tmp/sent"]).success().prints("there and back\n");
    engine.call(["cp".as_ref(), at.as_ref(), received.as_os_str()]).code(0);
    assert_eq!(fs::read_to_string(&received).unwrap(), "there and back\n");
    engine.call(["diff", &name]).success().says("/tmp/sent");
    engine.remove(&name);
}

fn what_is_deleted_behind_its_back_is_gone_for_the_engine_too<E: Engine>(engine: &E) {
    let name = engine.detached("behind", [IMAGE, "sleep", "1000"]);
    engine.runtime(["delete", "--force", &engine.id(&name)]).code(0);
    // For podman it has "stopped" first, until podman has cleaned up.
    until(DEADLINE, "the end of the container", || engine.state(&name)["Status"] == "exited");
    assert_eq!(engine.state(&name)["ExitCode"], 137);
    engine.call(["start", &name]).success();
    assert_eq!(engine.state(&name)["Running"], true);
    engine.remove(&name);
}

fn a_container_whose_init_was_killed_from_outside_has_ended<E: Engine>(engine: &E) {
    let name = engine.detached("outside", [IMAGE, "sleep", "1000"]);
    send(engine.pid(&name), Signal::SIGKILL);
    engine.call(["wait", &name]).success().prints("137\n");
    engine.remove(&name);
}

fn many_containers_start_and_end_at_once<E: Engine>(engine: &E) {
    let running: Vec<_> =
        (0..6).map(|n| engine.run(["--rm", IMAGE, "sh", "-c", &format!("echo {n}; exit {n}")]).spawn()).collect();
    for (n, running) in running.into_iter().enumerate() {
        running.finish(DEADLINE).code(n as i32).prints(&format!("{n}\n"));
    }
}

/// What a default container does to its masked files and to what it was given to read from stays in there.
fn a_default_container_cannot_change_the_null_device_of_the_host<E: Engine>(engine: &E) {
    let host = HostNodes::null();
    engine.run(["--rm", IMAGE, "sh", "-c", HostNodes::ATTACK]).run();
    host.assert_untouched();
    let name = engine.detached("masked", [IMAGE, "sleep", "1000"]);
    engine.call(["exec", &name, "sh", "-c", HostNodes::ATTACK]);
    host.assert_untouched();
    engine.call(["exec", "--detach", &name, "sh", "-c", &format!("{}; touch /done", HostNodes::ATTACK)]);
    until(DEADLINE, "the end of the attack", || engine.call(["exec", &name, "ls", "/done"]).status.success());
    host.assert_untouched();
    engine.remove(&name);
}
