//! podman with conmon: what its users do every day, on the runtime under test.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::command::{DEADLINE, binary};
use support::engines::image::NAME as IMAGE;
use support::engines::{Podman, Shared, is_sandkeep, needs_engine};
use support::{Cmd, HostNodes, Outcome, Terminal, skipped, until};

fn podman() -> Arc<Podman> {
    static PODMAN: Shared<Podman> = Shared::new();
    PODMAN.get_or_start(Podman::start)
}

/// Runs until it is told to end, and says what it was told.
const LISTENS: &str = "trap 'echo told to end; exit 3' TERM; echo ready; while :; do sleep 0.02; done";

/// Runs until it is killed.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.02; done";

#[track_caller]
fn until_logged(podman: &Podman, name: &str, needle: &str, times: usize) {
    until(DEADLINE, &format!("{needle:?} in the log of {name}"), || {
        podman.podman(["logs", name]).stdout.matches(needle).count() >= times
    });
}

/// A file of a container's cgroup: on v1 below the controller, on v2 by the name it has there.
fn cgroup_file(podman: &Podman, name: &str, (controller, v1): (&str, &str), v2: &str) -> String {
    let path = podman.state(name)["CgroupPath"].as_str().expect("a cgroup path").to_owned();
    let (top, below) = (Path::new("/sys/fs/cgroup"), path.trim_start_matches('/'));
    let file = top.join(controller).join(below).join(v1);
    let file = if file.exists() { file } else { top.join(below).join(v2) };
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"))
}

#[test]
fn an_image_built_here_runs_with_its_own_command_and_environment() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    podman.run(["--rm", IMAGE]).run().success().prints("the image's own command\n");
    podman.run(["--rm", IMAGE, "cat", "/etc/built"]).run().success().prints("built by 0\n");
    let run = ["--rm", "--env", "ADDED=1", "--workdir", "/etc", "--hostname", "named", "--user", "user", IMAGE];
    let script = "echo $FROM_IMAGE $ADDED $PWD $(hostname) $(id -u):$(id -g)";
    podman.run(run).args(["sh", "-c", script]).run().success().prints("yes 1 /etc named 1000:1000\n");
}

#[test]
fn every_exit_code_is_the_one_that_podman_documents() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let run = |args: &[&str]| podman.run(["--rm"]).args(args).run();
    run(&[IMAGE, "true"]).success();
    run(&[IMAGE, "sh", "-c", "exit 7"]).code(7);
    tells(run(&["--no-such-flag", IMAGE, "true"]).code(125), "unknown flag");
    // The runtime refuses, and for none of the reasons that have a code of their own.
    tells(run(&["--sysctl", "net.ipv4.ip_forward=abc", IMAGE, "true"]).code(126), "invalid argument");
    tells(run(&[IMAGE, "/etc/passwd"]).code(126), "permission denied");
    tells(run(&[IMAGE, "/etc"]).code(126), "permission denied");
    tells(run(&[IMAGE, "no-such-program"]).code(127), "executable file not found in $PATH");
    tells(run(&[IMAGE, "/no/such/program"]).code(127), "no such file or directory");
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -15 $$'; exit $?"]).code(143);
}

#[track_caller]
fn tells(outcome: Outcome, needle: &str) {
    assert!(outcome.stderr.to_lowercase().contains(&needle.to_lowercase()), "{needle:?} is not told:\n{outcome}");
}

#[test]
fn an_interactive_terminal_takes_what_is_typed_and_follows_its_size() {
    needs_engine!("podman", "conmon", "setsid");
    let podman = podman();
    let mut terminal = Terminal::new();
    terminal.resize(30, 90);
    let before = terminal.settings();
    let script = "test -t 0 && test -t 1 && echo on a terminal; stty size; while read line; do \
                  test $line = size && stty size; test $line = end && exit 5; done";
    let running = terminal.run_cmd(podman.run(["--rm", "-it", IMAGE, "sh", "-c", script]));
    terminal.lines.until("on a terminal");
    // The new size travels through podman and conmon: it is there after a while. podman misses the second of two changes
    // that come together, which is how stty makes them.
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

#[test]
fn standard_input_reaches_the_container() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let input = podman.dir().join("input");
    fs::write(&input, "from outside\n").unwrap();
    let stdin = || fs::File::open(&input).unwrap();
    podman.run(["--rm", "-i", IMAGE, "cat"]).stdin(stdin()).run().success().prints("from outside\n");
    let name = podman.detached("stdin", [IMAGE, "sleep", "1000"]);
    podman.cmd(["exec", "-i", &name, "cat"]).stdin(stdin()).run().success().prints("from outside\n");
    podman.remove(&name);
}

#[test]
fn exec_runs_more_processes_and_tells_how_they_ended() {
    needs_engine!("podman", "conmon", "setsid");
    let podman = podman();
    let name = podman.detached("exec", ["--env", "OF=container", IMAGE, "sleep", "1000"]);
    let exec = |args: &[&str]| podman.cmd(["exec"]).args(args).run();
    exec(&[&name, "echo", "hello"]).success().prints("hello\n");
    exec(&["-e", "OF=exec", "-w", "/etc", "-u", "1000:1000", &name, "sh", "-c", "echo $OF $PWD $(id -u)"])
        .success()
        .prints("exec /etc 1000\n");
    exec(&[&name, "sh", "-c", "echo $OF; exit 9"]).code(9).prints("container\n");
    exec(&[&name, "sh", "-c", "kill -9 $$"]).code(137);
    tells(exec(&[&name, "no-such-program"]).code(127), "executable file not found in $PATH");
    tells(exec(&[&name, "/etc/passwd"]).code(126), "permission denied");
    tells(exec(&["-w", "/no/such/folder", &name, "pwd"]).code(127), "no such file or directory");
    exec(&["-d", &name, "touch", "/tmp/made"]).success();
    until(DEADLINE, "a file made by a detached exec", || exec(&[&name, "ls", "/tmp/made"]).status.success());

    let mut terminal = Terminal::new();
    terminal.resize(31, 91);
    let cmd = podman.cmd(["exec", "-it", &name, "sh", "-c", "tty; read line; echo got $line; exit 6"]);
    let running = terminal.run_cmd(cmd);
    terminal.lines.until("/dev/pts/");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    running.finish(DEADLINE).code(6);
    podman.remove(&name);
}

#[test]
fn stop_asks_first_and_kills_after_the_time_given() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let polite = podman.detached("polite", [IMAGE, "sh", "-c", LISTENS]);
    until_logged(&podman, &polite, "ready", 1);
    podman.podman(["stop", "--time", "20", &polite]).success();
    until_logged(&podman, &polite, "told to end", 1);
    let state = podman.state(&polite);
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(3)), "{state}");
    assert_eq!(state["Pid"], 0, "{state}");
    podman.remove(&polite);

    let deaf = podman.detached("deaf", [IMAGE, "sh", "-c", DEAF]);
    until_logged(&podman, &deaf, "ready", 1);
    podman.podman(["stop", "--time", "1", &deaf]);
    assert_eq!(podman.state(&deaf)["ExitCode"], 137);
    podman.remove(&deaf);
}

/// `--pid host`: the kernel ends nobody with the supervisor.
#[test]
fn a_container_in_the_hosts_pid_namespace_outlives_its_supervisor_and_can_be_stopped_and_removed() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        support::skipped!("only sandkeep has supervisors");
    }
    let podman = podman();
    for way in ["stop", "kill", "rm"] {
        let name = podman.detached(&format!("orphaned-{way}"), ["--pid", "host", IMAGE, "sh", "-c", LISTENS]);
        until_logged(&podman, &name, "ready", 1);
        let id = podman.inspect(&name)["Id"].as_str().unwrap().to_owned();
        let state = Cmd::new(binary()).args(["state", &id]).run().success().json();
        let supervisor = state["supervisorPid"].as_i64().expect("the supervisor's pid") as i32;
        support::process::send(supervisor, nix::sys::signal::Signal::SIGKILL);
        until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
        let state = podman.state(&name);
        assert_eq!(state["Status"], "running", "{state}");
        podman.podman(["exec", &name, "true"]).success();
        podman.podman(["pause", &name]).success();
        podman.podman(["unpause", &name]).success();
        match way {
            "stop" => {
                podman.podman(["stop", "--time", "20", &name]).success();
                assert_eq!(podman.state(&name)["ExitCode"], 3);
            }
            "kill" => {
                podman.podman(["kill", &name]).success();
                podman.podman(["wait", &name]).success().prints("137\n");
            }
            _ => {}
        }
        podman.remove(&name);
    }
}

#[test]
fn kill_restart_and_start_keep_the_container_and_its_log() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("again", [IMAGE, "sh", "-c", LISTENS]);
    until_logged(&podman, &name, "ready", 1);
    let first = podman.state(&name)["Pid"].as_i64().unwrap();
    podman.podman(["restart", "--time", "5", &name]).success();
    until_logged(&podman, &name, "ready", 2);
    let second = podman.state(&name)["Pid"].as_i64().unwrap();
    assert!(first != second && second > 1, "{first} and {second}");
    podman.podman(["kill", "--signal", "TERM", &name]).success();
    podman.podman(["wait", &name]).success().prints("3\n");
    podman.podman(["start", &name]).success();
    until_logged(&podman, &name, "ready", 3);
    podman.podman(["kill", &name]).success();
    podman.podman(["wait", &name]).success().prints("137\n");
    tells(podman.podman(["kill", &name]).code(125), "can only kill running containers");
    let events = podman.podman(["events", "--stream=false", "--since", "5m", "--filter", &format!("container={name}")]);
    for event in ["create", "start", "kill", "died", "restart"] {
        assert!(events.stdout.contains(&format!(" container {event} ")), "no {event}:\n{events}");
    }
    podman.remove(&name);
}

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("paused", [IMAGE, "sh", "-c", "while :; do echo tick; sleep 0.02; done"]);
    until_logged(&podman, &name, "tick", 1);
    podman.podman(["pause", &name]).success();
    assert_eq!(podman.state(&name)["Status"], "paused");
    let frozen = podman.podman(["logs", &name]).stdout;
    tells(podman.podman(["exec", &name, "true"]).code(255), "container state improper");
    assert_eq!(podman.podman(["logs", &name]).stdout, frozen, "it goes on");
    podman.podman(["unpause", &name]).success();
    assert_eq!(podman.state(&name)["Status"], "running");
    until_logged(&podman, &name, "tick", frozen.matches("tick").count() + 1);
    // A paused one can be killed, too.
    podman.podman(["pause", &name]).success();
    podman.remove(&name);
}

#[test]
fn stats_and_top_show_what_runs() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("seen", ["--memory", "64m", IMAGE, "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    let stats = podman.podman(["stats", "--no-stream", "--format", "json", &name]).success().json()[0].clone();
    assert_eq!(stats["pids"], "2", "{stats}");
    assert!(stats["mem_usage"].as_str().is_some_and(|usage| usage.ends_with(" / 67.11MB")), "{stats}");
    let top = podman.podman(["top", &name, "pid", "args"]).success();
    let lines: Vec<&str> = top.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 3, "{top}");
    assert!(lines.iter().any(|line| line.starts_with('1') && line.ends_with("sleep 2000")), "{top}");
    // Without one of podman's own columns it is ps(1) in the container, called through the runtime.
    podman.podman(["top", &name, "-o", "pid,args"]).success().says("sleep 1000");
    podman.remove(&name);
}

#[test]
fn a_health_check_is_run_and_judged() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let check = ["--health-cmd", "test -e /tmp/healthy", "--health-interval", "disable", "--health-retries", "1"];
    let name = podman.detached("health", check.iter().chain(&[IMAGE, "sleep", "1000"]));
    podman.podman(["healthcheck", "run", &name]).code(1);
    assert_eq!(podman.state(&name)["Health"]["Status"], "unhealthy");
    podman.podman(["exec", &name, "touch", "/tmp/healthy"]).success();
    podman.podman(["healthcheck", "run", &name]).code(0);
    assert_eq!(podman.state(&name)["Health"]["Status"], "healthy");
    podman.remove(&name);
}

#[test]
fn a_process_over_the_memory_limit_is_killed() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let run = ["--rm", "--memory", "24m", "--memory-swap", "24m", IMAGE, "sh", "-c"];
    podman.run(run).args(["tail /dev/zero; echo died of $?"]).run().code(0).prints("died of 137\n");
    podman.run(run).args(["exec tail /dev/zero"]).run().code(137);
    // Below the limit nothing happens.
    podman.run(run).args(["head -c 4000000 /dev/zero | wc -c"]).run().success().prints("4000000\n");
}

#[test]
fn a_fork_over_the_limit_of_processes_is_refused() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all of them";
    let outcome = podman.run(["--rm", "--pids-limit", "8", IMAGE, "sh", "-c", script]).run();
    assert!(!outcome.status.success(), "{outcome}");
    assert!(!outcome.stdout.contains("all of them"), "{outcome}");
    tells(outcome, "fork");
    podman.run(["--rm", "--pids-limit", "20", IMAGE, "sh", "-c", script]).run().success().prints("all of them\n");
}

#[test]
fn a_processor_limit_throttles() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("slow", ["--cpus", "0.2", IMAGE, "sh", "-c", "while :; do :; done"]);
    until(DEADLINE, "throttling", || {
        let stat = cgroup_file(&podman, &name, ("cpu", "cpu.stat"), "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
    podman.remove(&name);
}

#[test]
fn limits_are_changed_while_it_runs() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let first = ["--memory", "64m", "--memory-swap", "64m"];
    let name = podman.detached("changed", first.iter().chain(&[IMAGE, "sleep", "1000"]));
    podman.podman(["update", "--memory", "16m", "--memory-swap", "16m", "--cpus", "0.5", &name]).code(0);
    let killed = podman.podman(["exec", &name, "sh", "-c", "tail /dev/zero; echo died of $?"]);
    killed.code(0).prints("died of 137\n");
    // podman's own statistics keep telling the limit that it was made with.
    let memory = cgroup_file(&podman, &name, ("memory", "memory.limit_in_bytes"), "memory.max");
    assert_eq!(memory.trim(), "16777216");
    assert!(cgroup_file(&podman, &name, ("cpu", "cpu.cfs_quota_us"), "cpu.max").starts_with("50000"));
    podman.remove(&name);
}

#[test]
fn a_user_namespace_maps_root_to_somebody_else() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let maps = ["--uidmap", "0:200000:5000", "--gidmap", "0:300000:5000"];
    let name = podman.detached("mapped", maps.iter().chain(&[IMAGE, "sleep", "1000"]));
    let script = "id -u; id -g; touch /tmp/mine && stat -c %u:%g /tmp/mine /etc/passwd; cat /proc/self/uid_map";
    let told = podman.podman(["exec", &name, "sh", "-c", script]).success();
    let words: Vec<&str> = told.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "0:0", "0:0", "0", "200000", "5000"], "{told}");
    let pid = podman.state(&name)["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t200000\t") && status.contains("Gid:\t300000\t"), "{status}");
    podman.podman(["exec", "-u", "7:8", &name, "id", "-u"]).success().prints("7\n");
    podman.podman(["stop", "--time", "0", &name]);
    podman.remove(&name);
}

#[test]
fn a_read_only_root_is_read_only_except_for_its_tmpfs() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let script = "touch /etc/x 2>/dev/null || echo read only; echo y > /scratch/y && cat /scratch/y; \
                  grep ' /scratch ' /proc/mounts | cut -d' ' -f3; df -k /scratch | tail -1 | awk '{print $2}'";
    let run = ["--rm", "--read-only", "--tmpfs", "/scratch:rw,size=1m,noexec", IMAGE, "sh", "-c", script];
    podman.run(run).run().success().prints("read only\ny\ntmpfs\n1024\n");
}

#[test]
fn capabilities_privileges_and_system_calls_are_taken_away() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let effective = ["sh", "-c", "grep CapEff /proc/self/status | cut -f2"];
    let sets = |flags: &[&str]| podman.run(["--rm"]).args(flags).arg(IMAGE).args(effective).run().success().stdout;
    assert_eq!(sets(&["--cap-drop", "all"]), "0000000000000000\n");
    assert_eq!(sets(&["--cap-drop", "all", "--cap-add", "kill"]), "0000000000000020\n");
    let usual = sets(&[]);
    assert!(usual != sets(&["--cap-drop", "chown"]), "{usual}");
    podman
        .run(["--rm", "--security-opt", "no-new-privileges", IMAGE, "grep", "NoNewPrivs", "/proc/self/status"])
        .run()
        .success()
        .prints("NoNewPrivs:\t1\n");

    let profile = podman.dir().join("seccomp.json");
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NATIVE"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    fs::write(&profile, rules.replace("\"SCMP_ARCH_NATIVE\"", "")).unwrap();
    let seccomp = format!("seccomp={}", profile.display());
    let run = podman.run(["--rm", "--security-opt", &seccomp, IMAGE, "mkdir", "/tmp/x"]).run().code(1);
    tells(run, "function not implemented");
    // podman's own profile, in force without being asked for.
    let seccomp = podman.run(["--rm", IMAGE, "grep", "^Seccomp:", "/proc/self/status"]).run().success();
    seccomp.prints("Seccomp:\t2\n");
}

#[test]
fn volumes_devices_limits_and_settings_reach_the_container() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let outside = podman.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "from the host\n").unwrap();
    let bind = |options: &str| format!("{}:/data{options}", outside.display());
    let run = |args: &[&str]| podman.run(["--rm"]).args(args).run();
    let writes = ["sh", "-c", "cat /data/file; echo more > /data/more && echo written"];
    run(&[&["--volume", &bind(":z"), IMAGE], &writes[..]].concat()).success().prints("from the host\nwritten\n");
    assert_eq!(fs::read_to_string(outside.join("more")).unwrap(), "more\n");
    let refused = run(&[&["--volume", &bind(":ro"), IMAGE], &writes[..]].concat()).code(1);
    assert_eq!(refused.stdout, "from the host\n", "{refused}");
    tells(refused, "read-only file system");

    let volume = format!("volume-{}", podman.tag());
    let mount = format!("{volume}:/kept");
    run(&["--volume", &mount, IMAGE, "sh", "-c", "echo kept > /kept/file"]).success();
    run(&["--volume", &mount, IMAGE, "cat", "/kept/file"]).success().prints("kept\n");
    podman.podman(["volume", "rm", &volume]).success();

    let device = ["--cap-add", "syslog", "--device", "/dev/kmsg:/dev/mine:r", IMAGE, "sh", "-c"];
    let read =
        "ls -l /dev/mine | cut -c1; dd if=/dev/mine bs=8k count=1 2>/dev/null | head -1 | wc -l; echo x > /dev/mine";
    let read = run(&[&device, &[read][..]].concat()).code(1);
    assert_eq!(read.stdout, "c\n1\n", "{read}");
    tells(read, "operation not permitted");
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=300:400", IMAGE, "sh", "-c"];
    run(&[&limits, &["ulimit -Sn; ulimit -Hn; ulimit -Su"][..]].concat()).success().prints("100\n200\n300\n");
    run(&["--sysctl", "net.ipv4.ip_forward=1", IMAGE, "cat", "/proc/sys/net/ipv4/ip_forward"]).success().prints("1\n");
    run(&["--shm-size", "1m", IMAGE, "sh", "-c", "df -k /dev/shm | tail -1 | awk '{print $2}'"])
        .success()
        .prints("1024\n");
}

#[test]
fn an_init_of_podmans_own_is_the_first_process() {
    needs_engine!("podman", "conmon", "catatonit");
    let podman = podman();
    let script = "tr '\\0' ' ' < /proc/1/cmdline; echo; exit 4";
    podman.run(["--rm", "--init", IMAGE, "sh", "-c", script]).run().code(4).says("init -- sh");
}

#[test]
fn files_are_copied_in_and_out() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("copies", ["--tmpfs", "/scratch", IMAGE, "sleep", "1000"]);
    let (sent, received) = (podman.dir().join("sent"), podman.dir().join("received"));
    fs::write(&sent, "there and back\n").unwrap();
    for path in ["/tmp/sent", "/scratch/sent"] {
        let at = format!("{name}:{path}");
        podman.podman(["cp".as_ref(), sent.as_os_str(), at.as_ref()]).success();
        podman.podman(["exec", &name, "cat", path]).success().prints("there and back\n");
        podman.podman(["cp".as_ref(), at.as_ref(), received.as_os_str()]).success();
        assert_eq!(fs::read_to_string(&received).unwrap(), "there and back\n");
        fs::remove_file(&received).unwrap();
    }
    podman.podman(["diff", &name]).success().says("/tmp/sent");
    podman.remove(&name);
}

#[test]
fn a_pod_shares_its_network_and_its_ipc_and_nothing_else() {
    needs_engine!("podman", "conmon", "catatonit");
    let podman = podman();
    let pod = format!("pod-{}", podman.tag());
    let create = podman.cmd(["pod", "create", "--network", "none", "--name", &pod, "--cgroup-parent"]);
    create.arg(podman.cgroup()).deadline(Duration::from_secs(60)).run().code(0);
    let script = "echo one > /dev/shm/shared; exec nc -l -p 7777 -e echo served";
    let flags = ["--pod", &pod, "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096"];
    let in_pod = |name: &str, args: &[&str]| {
        let name = format!("{name}-{}", podman.tag());
        podman.cmd(["run", "--detach", "--name", &name]).args(flags).args(args).run().success();
        name
    };
    let server = in_pod("server", &[IMAGE, "sh", "-c", script]);
    let client = in_pod("client", &[IMAGE, "sleep", "1000"]);
    let talk = "until nc 127.0.0.1 7777 </dev/null; do sleep 0.05; done; cat /dev/shm/shared; ps | grep -c '[n]c -l'";
    let told = podman.podman(["exec", &client, "sh", "-c", talk]);
    assert_eq!(told.stdout, "served\none\n0\n", "{told}");
    let namespace = |name: &str, kind: &str| {
        let pid = podman.state(name)["Pid"].as_i64().unwrap();
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
    };
    podman.podman(["start", &server]);
    until(DEADLINE, "two that run", || podman.state(&server)["Running"] == true);
    for (kind, shared) in [("net", true), ("ipc", true), ("uts", true), ("mnt", false), ("pid", false)] {
        assert_eq!(namespace(&server, kind) == namespace(&client, kind), shared, "{kind}");
    }
    podman.podman(["pod", "pause", &pod]).success();
    assert_eq!(podman.state(&client)["Status"], "paused");
    podman.podman(["pod", "unpause", &pod]).success();
    podman.podman(["pod", "stop", "--time", "0", &pod]);
    let removed = podman.podman(["pod", "rm", "--force", &pod]);
    // podman takes every folder beside the hierarchies for one, and cannot remove what it makes in those that are none.
    let not_mounted = |entry: &fs::DirEntry| entry.path().is_dir() && !entry.path().join("cgroup.procs").exists();
    if !fs::read_dir("/sys/fs/cgroup").unwrap().flatten().any(|entry| not_mounted(&entry)) {
        removed.success();
    }
    assert!(!podman.podman(["ps", "--all"]).stdout.contains(&server));
}

#[test]
fn what_is_deleted_behind_its_back_is_gone_for_podman_too() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("behind", [IMAGE, "sleep", "1000"]);
    let id = podman.inspect(&name)["Id"].as_str().unwrap().to_owned();
    Cmd::new(binary()).args(["delete", "--force", &id]).run().code(0);
    // "stopped" comes first, until podman has cleaned up.
    until(DEADLINE, "the end of the container", || podman.state(&name)["Status"] == "exited");
    podman.podman(["start", &name]).success();
    assert_eq!(podman.state(&name)["Running"], true);
    podman.remove(&name);
}

#[test]
fn a_container_whose_init_was_killed_from_outside_has_ended() {
    needs_engine!("podman", "conmon");
    let podman = podman();
    let name = podman.detached("outside", [IMAGE, "sleep", "1000"]);
    let pid = podman.state(&name)["Pid"].as_i64().unwrap() as i32;
    support::process::send(pid, nix::sys::signal::Signal::SIGKILL);
    podman.podman(["wait", &name]).success().prints("137\n");
    podman.remove(&name);
}

#[test]
fn without_cgroups_containers_run_as_well() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        skipped!("only crun and sandkeep can do without cgroups");
    }
    let podman = podman();
    let name = format!("bare-{}", podman.tag());
    let run = ["run", "--detach", "--cgroups", "disabled", "--name", &name, IMAGE, "sh", "-c", LISTENS];
    podman.podman(run).success();
    until_logged(&podman, &name, "ready", 1);
    podman.podman(["exec", &name, "true"]).success();
    podman.podman(["stop", "--time", "10", &name]).success();
    assert_eq!(podman.state(&name)["ExitCode"], 3);
    podman.remove(&name);
}

#[test]
fn an_ordinary_user_has_containers_too() {
    needs_engine!("podman", "conmon", "newuidmap", "setpriv", "unshare");
    let podman = Podman::start_rootless();
    podman.run(["--rm", IMAGE, "sh", "-c", "id -u; exit 7"]).run().code(7).prints("0\n");
    let name = podman.detached("rootless", [IMAGE, "sh", "-c", LISTENS]);
    until_logged(&podman, &name, "ready", 1);
    let script = "id -u; cat /proc/self/uid_map | awk '{print $2}'; exit 5";
    podman.podman(["exec", &name, "sh", "-c", script]).code(5).prints("0\n70077\n1000000\n");
    podman.podman(["exec", "-u", "1000", &name, "id", "-u"]).code(0).prints("1000\n");
    let pid = podman.state(&name)["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t70077\t"), "{status}");
    podman.podman(["restart", "--time", "10", &name]).code(0);
    until_logged(&podman, &name, "ready", 2);
    podman.podman(["stop", "--time", "10", &name]).code(0);
    assert_eq!(podman.state(&name)["ExitCode"], 3);
    tells(podman.run(["--rm", IMAGE, "no-such-program"]).run().code(127), "executable file not found in $PATH");
    podman.podman(["rm", &name]).code(0);
}

#[test]
fn the_message_of_a_failure_is_told_once_and_whole() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        skipped!("other runtimes have words of their own");
    }
    let podman = podman();
    let message = "sandkeep: exec \"no-such-program\": executable file not found in $PATH: OCI runtime";
    let run = ["run", "--rm", "--cgroup-parent", &podman.cgroup(), IMAGE, "no-such-program"];
    let text = podman.cmd(run).run().code(127);
    let json = podman.cmd_with_json(run).run().code(127);
    for outcome in [text, json] {
        assert!(outcome.stderr.contains(message), "{outcome}");
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome}");
    }
    // The log file is one JSON object a failure: podman reads it whole.
    let log = podman.dir().join("runtime.log");
    let flags = format!("log={}", log.display());
    podman.cmd(["--runtime-flag", &flags, "--runtime-flag", "log-format=json"]).args(run).run().code(127);
    let lines = fs::read_to_string(&log).expect("the runtime's log");
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(entries.iter().all(|entry| entry["level"] == "error"), "{lines}");
    assert!(entries[0]["msg"].as_str().is_some_and(|text| text.contains("$PATH")), "{lines}");
}

/// What a default container does to its masked files and to what it was given to read from stays in there.
#[test]
fn a_default_container_cannot_change_the_null_device_of_the_host() {
    needs_engine!("podman", "conmon");
    let host = HostNodes::null();
    let podman = podman();
    podman.run(["--rm", IMAGE, "sh", "-c", HostNodes::ATTACK]).run();
    host.assert_untouched();
    podman.run(["--detach", "--name", "masked", IMAGE, "sleep", "1000"]).run().success();
    podman.podman(["exec", "masked", "sh", "-c", HostNodes::ATTACK]);
    host.assert_untouched();
    podman.podman(["exec", "--detach", "masked", "sh", "-c", &format!("{}; touch /done", HostNodes::ATTACK)]);
    until(DEADLINE, "the end of the attack", || podman.podman(["exec", "masked", "ls", "/done"]).status.success());
    host.assert_untouched();
    podman.podman(["rm", "--force", "--time", "0", "masked"]).code(0);
}
