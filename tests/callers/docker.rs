//! docker, its daemon and its containerd, with the runtime under test as the default one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::command::DEADLINE;
use support::engines::image::NAME as IMAGE;
use support::engines::{Docker, Shared, is_sandkeep, needs_engine};
use support::{HostNodes, Outcome, Terminal, until};

fn docker() -> Arc<Docker> {
    static DOCKER: Shared<Docker> = Shared::new();
    DOCKER.get_or_start(Docker::start)
}

/// Runs until it is told to end, and says what it was told.
const LISTENS: &str = "trap 'echo told to end; exit 3' TERM; echo ready; while :; do sleep 0.02; done";

/// Runs until it is killed.
const DEAF: &str = "trap '' TERM; echo ready; while :; do sleep 0.02; done";

#[track_caller]
fn until_logged(docker: &Docker, name: &str, needle: &str, times: usize) {
    until(DEADLINE, &format!("{needle:?} in the log of {name}"), || {
        docker.docker(["logs", name]).stdout.matches(needle).count() >= times
    });
}

#[track_caller]
fn tells(outcome: Outcome, needle: &str) {
    assert!(outcome.stderr.to_lowercase().contains(&needle.to_lowercase()), "{needle:?} is not told:\n{outcome}");
}

/// A file of a container's cgroup: on v1 below the controller, on v2 by the name it has there.
fn cgroup_file(docker: &Docker, name: &str, (controller, v1): (&str, &str), v2: &str) -> String {
    let below = PathBuf::from(docker.tag()).join(docker.inspect(name)["Id"].as_str().expect("an id"));
    let top = Path::new("/sys/fs/cgroup");
    let file = top.join(controller).join(&below).join(v1);
    let file = if file.exists() { file } else { top.join(below).join(v2) };
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"))
}

#[test]
fn the_daemon_knows_its_runtime_and_runs_the_image_with_it() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    docker.docker(["info", "--format", "{{.DefaultRuntime}}"]).success().prints("tested\n");
    docker.run(["--rm", IMAGE]).run().success().prints("the image's own command\n");
    let flags = ["--rm", "--env", "ADDED=1", "--workdir", "/etc", "--hostname", "named", "--user", "user", IMAGE];
    let script = "echo $FROM_IMAGE $ADDED $PWD $(hostname) $(id -u):$(id -g)";
    docker.run(flags).args(["sh", "-c", script]).run().success().prints("yes 1 /etc named 1000:1000\n");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let network = |flags: &[&str]| {
        docker.cmd(["run", "--rm"]).args(flags).args([IMAGE, "readlink", "/proc/self/ns/net"]).run().success().stdout
    };
    assert_eq!(network(&["--network", "host"]).trim(), host.to_str().unwrap());
    assert_ne!(network(&["--network", "none"]).trim(), host.to_str().unwrap());
}

#[test]
fn every_exit_code_is_the_one_that_docker_documents() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let run = |args: &[&str]| docker.run(["--rm"]).args(args).run();
    run(&[IMAGE, "true"]).success();
    run(&[IMAGE, "sh", "-c", "exit 7"]).code(7);
    tells(run(&["--no-such-flag", IMAGE, "true"]).code(125), "unknown flag");
    // The runtime refuses, and for none of the reasons that have a code of their own.
    tells(run(&["--sysctl", "net.ipv4.ip_forward=abc", IMAGE, "true"]).code(125), "invalid argument");
    tells(run(&[IMAGE, "/etc/passwd"]).code(126), "permission denied");
    tells(run(&[IMAGE, "/etc"]).code(126), "permission denied");
    tells(run(&[IMAGE, "no-such-program"]).code(127), "executable file not found in $PATH");
    tells(run(&[IMAGE, "/no/such/program"]).code(127), "no such file or directory");
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
    run(&[IMAGE, "sh", "-c", "sh -c 'kill -15 $$'; exit $?"]).code(143);
}

#[test]
fn an_interactive_terminal_takes_what_is_typed_and_follows_its_size() {
    needs_engine!("dockerd", "containerd", "docker", "setsid");
    let docker = docker();
    let mut terminal = Terminal::new();
    terminal.resize(33, 99);
    let before = terminal.settings();
    let sized = "until stty size 2>/dev/null | grep \"$1\"; do sleep 0.02; done";
    let script = format!(
        "test -t 0 && test -t 1 && echo on a terminal; read line; echo got $line; set -- '33 99'; {sized}; \
         set -- '44 111'; {sized}; read line; exit 5"
    );
    let running = terminal.run_cmd(docker.run(["--rm", "-it", IMAGE, "sh", "-c", &script]));
    terminal.lines.until("on a terminal");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    terminal.lines.until("33 99");
    terminal.resize(44, 111);
    terminal.lines.until("44 111");
    // What is written just before the end, the shim may lose.
    terminal.types("end\r");
    running.finish(DEADLINE).code(5);
    assert_eq!(terminal.settings(), before, "the terminal is as it was");
}

#[test]
fn exec_runs_more_processes_and_tells_how_they_ended() {
    needs_engine!("dockerd", "containerd", "docker", "setsid");
    let docker = docker();
    let name = docker.detached("execs", ["--env", "OF=container", IMAGE, "sleep", "1000"]);
    let exec = |args: &[&str]| docker.cmd(["exec"]).args(args).run();
    exec(&[&name, "echo", "hello"]).success().prints("hello\n");
    exec(&["-e", "OF=exec", "-w", "/etc", "-u", "1000:1000", &name, "sh", "-c", "echo $OF $PWD $(id -u)"])
        .success()
        .prints("exec /etc 1000\n");
    exec(&[&name, "sh", "-c", "echo $OF; exit 9"]).code(9).prints("container\n");
    exec(&[&name, "sh", "-c", "kill -9 $$"]).code(137);
    // docker has one code for all that could not be started by exec, and tells why on the output.
    exec(&[&name, "no-such-program"]).code(126).says("executable file not found in $PATH");
    exec(&[&name, "/etc/passwd"]).code(126).says("permission denied");
    exec(&["-w", "/no/such/folder", &name, "pwd"]).code(126).says("no such file or directory");
    exec(&["-d", &name, "touch", "/tmp/made"]).success();
    until(DEADLINE, "a file made by a detached exec", || exec(&[&name, "ls", "/tmp/made"]).status.success());
    let input = docker.dir().join("input");
    fs::write(&input, "from outside\n").unwrap();
    let stdin = fs::File::open(&input).unwrap();
    docker.cmd(["exec", "-i", &name, "cat"]).stdin(stdin).run().success().prints("from outside\n");
    exec(&["--privileged", &name, "grep", "CapEff", "/proc/self/status"]).success().says("ffff");

    let mut terminal = Terminal::new();
    let cmd = docker.cmd(["exec", "-it", &name, "sh", "-c", "tty; read line; echo got $line; read line; exit 6"]);
    let running = terminal.run_cmd(cmd);
    terminal.lines.until("/dev/pts/");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    terminal.types("end\r");
    running.finish(DEADLINE).code(6);
    docker.remove(&name);
}

#[test]
fn stop_asks_first_and_kills_after_the_time_given() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let polite = docker.detached("polite", [IMAGE, "sh", "-c", LISTENS]);
    until_logged(&docker, &polite, "ready", 1);
    docker.docker(["stop", "--time", "20", &polite]).success();
    until_logged(&docker, &polite, "told to end", 1);
    let state = docker.state(&polite);
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(3)), "{state}");
    tells(docker.docker(["kill", &polite]).code(1), "is not running");
    docker.remove(&polite);

    let deaf = docker.detached("deaf", [IMAGE, "sh", "-c", DEAF]);
    until_logged(&docker, &deaf, "ready", 1);
    docker.docker(["stop", "--time", "1", &deaf]).success();
    assert_eq!(docker.state(&deaf)["ExitCode"], 137);
    docker.remove(&deaf);
}

#[test]
fn kill_restart_and_start_keep_the_container_and_its_log() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("again", [IMAGE, "sh", "-c", LISTENS]);
    until_logged(&docker, &name, "ready", 1);
    let first = docker.state(&name)["Pid"].as_i64().unwrap();
    docker.docker(["restart", "--time", "5", &name]).success();
    until_logged(&docker, &name, "ready", 2);
    let second = docker.state(&name)["Pid"].as_i64().unwrap();
    assert!(first != second && second > 1, "{first} and {second}");
    docker.docker(["kill", "--signal", "TERM", &name]).success();
    docker.docker(["wait", &name]).success().prints("3\n");
    docker.docker(["start", &name]).success();
    until_logged(&docker, &name, "ready", 3);
    docker.docker(["kill", &name]).success();
    docker.docker(["wait", &name]).success().prints("137\n");
    // With a time that has passed, docker may stop before it has told everything.
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 2;
    let soon = soon.to_string();
    let since = ["events", "--since", "10m", "--until", soon.as_str(), "--filter"];
    let events = docker.cmd(since).arg(format!("container={name}")).args(["--format", "{{.Action}}"]).run().success();
    for event in ["create", "start", "kill", "die", "restart"] {
        assert!(events.stdout.lines().any(|line| line == event), "no {event}:\n{events}");
    }
    docker.remove(&name);
}

#[test]
fn a_container_that_dies_is_started_again_if_that_is_asked_for() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("phoenix", ["--restart", "always", IMAGE, "sleep", "1000"]);
    let pid = |name: &str| docker.state(name)["Pid"].as_i64().unwrap() as i32;
    let mut last = pid(&name);
    for death in ["the application's", "the supervisor's"] {
        let victim = match death {
            "the supervisor's" if is_sandkeep() => {
                let id = docker.inspect(&name)["Id"].as_str().unwrap().to_owned();
                docker.runtime(["state", &id]).success().json()["supervisorPid"].as_i64().unwrap() as i32
            }
            _ => last,
        };
        support::process::send(victim, Signal::SIGKILL);
        until(DEADLINE, &format!("another life after {death} death"), || {
            let state = docker.state(&name);
            state["Running"] == true && state["Pid"] != last && state["Pid"] != 0
        });
        last = pid(&name);
    }
    assert_eq!(docker.inspect(&name)["RestartCount"], 2);
    docker.docker(["exec", &name, "true"]).success();
    docker.remove(&name);
}

#[test]
fn a_paused_container_stands_still_until_it_is_unpaused() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("paused", [IMAGE, "sh", "-c", "while :; do echo tick; sleep 0.02; done"]);
    until_logged(&docker, &name, "tick", 1);
    docker.docker(["pause", &name]).success();
    assert_eq!(docker.state(&name)["Status"], "paused");
    let frozen = docker.docker(["logs", &name]).stdout;
    tells(docker.docker(["exec", &name, "true"]).code(1), "is paused");
    assert_eq!(docker.docker(["logs", &name]).stdout, frozen, "it goes on");
    docker.docker(["unpause", &name]).success();
    until_logged(&docker, &name, "tick", frozen.matches("tick").count() + 1);
    // A paused one can be killed, too.
    docker.docker(["pause", &name]).success();
    docker.remove(&name);
}

#[test]
fn stats_and_top_show_what_runs() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("seen", ["--memory", "64m", IMAGE, "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    let stats = docker.docker(["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", &name]).success();
    assert!(stats.stdout.ends_with(" / 64MiB 2\n"), "{stats}");
    let top = docker.docker(["top", &name, "-o", "pid,args"]).success();
    assert!(top.stdout.contains("sleep 1000") && top.stdout.contains("sleep 2000"), "{top}");
    assert_eq!(top.stdout.lines().count(), 3, "{top}");
    docker.remove(&name);
}

#[test]
fn a_health_check_is_run_and_judged() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let check = ["--health-cmd", "test -e /tmp/healthy", "--health-interval", "200ms", "--health-retries", "1"];
    let name = docker.detached("health", check.iter().chain(&[IMAGE, "sleep", "1000"]));
    let health = |wanted: &str| {
        until(DEADLINE, wanted, || docker.state(&name)["Health"]["Status"] == wanted);
    };
    health("unhealthy");
    docker.docker(["exec", &name, "touch", "/tmp/healthy"]).success();
    health("healthy");
    docker.remove(&name);
}

#[test]
fn limits_of_memory_processes_and_processors_are_enforced() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let memory = ["--rm", "--memory", "24m", "--memory-swap", "24m", IMAGE, "sh", "-c"];
    docker.run(memory).arg("tail /dev/zero; echo died of $?").run().code(0).prints("died of 137\n");
    docker.run(memory).arg("exec tail /dev/zero").run().code(137);
    docker.run(memory).arg("head -c 4000000 /dev/zero | wc -c").run().success().prints("4000000\n");
    let forks = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo all of them";
    let outcome = docker.run(["--rm", "--pids-limit", "8", IMAGE, "sh", "-c", forks]).run();
    assert!(!outcome.status.success() && !outcome.stdout.contains("all of them"), "{outcome}");
    tells(outcome, "fork");
    docker.run(["--rm", "--pids-limit", "20", IMAGE, "sh", "-c", forks]).run().success().prints("all of them\n");
    let name = docker.detached("slow", ["--cpus", "0.2", IMAGE, "sh", "-c", "while :; do :; done"]);
    until(DEADLINE, "throttling", || {
        let stat = cgroup_file(&docker, &name, ("cpu", "cpu.stat"), "cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
    docker.remove(&name);
}

#[test]
fn limits_are_changed_while_it_runs_and_hold_after_a_restart() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let first = ["--memory", "64m", "--memory-swap", "64m", "--pids-limit", "100"];
    let name = docker.detached("changed", first.iter().chain(&[IMAGE, "sleep", "1000"]));
    let exec = |script: &str| docker.docker(["exec", &name, "sh", "-c", script]);
    exec("head -c 30m /dev/zero | tail -n 1 | wc -c").code(0).prints("31457280\n");
    let update = ["update", "--memory", "16m", "--memory-swap", "16m", "--pids-limit", "6", "--cpus", "0.5"];
    docker.cmd(update).arg(&name).run().success();
    for life in ["the same", "another"] {
        let memory = cgroup_file(&docker, &name, ("memory", "memory.limit_in_bytes"), "memory.max");
        assert_eq!(memory.trim(), "16777216", "{life} life");
        assert_eq!(cgroup_file(&docker, &name, ("pids", "pids.max"), "pids.max").trim(), "6", "{life} life");
        let quota = cgroup_file(&docker, &name, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
        assert!(quota.starts_with("50000"), "{life} life: {quota}");
        exec("tail /dev/zero; echo died of $?").code(0).prints("died of 137\n");
        let forks = exec("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all of them");
        assert!(!forks.stdout.contains("all of them"), "{life} life: {forks}");
        docker.docker(["restart", "--time", "0", &name]).success();
    }
    // What cannot be had changes nothing, and the reason is told: less memory than is in use.
    tells(docker.docker(["update", "--memory", "6m", "--memory-swap", "5m", &name]).code(1), "memoryswap");
    docker.docker(["update", "--restart", "on-failure:3", &name]).success();
    docker.remove(&name);
}

#[test]
fn what_surrounds_a_container_is_as_asked() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let run = |args: &[&str]| docker.run(["--rm"]).args(args).run();
    let script = "touch /etc/x 2>/dev/null || echo read only; echo y > /scratch/y && cat /scratch/y; \
                  df -k /scratch | tail -1 | awk '{print $2}'";
    run(&["--read-only", "--tmpfs", "/scratch:rw,size=1m", IMAGE, "sh", "-c", script])
        .success()
        .prints("read only\ny\n1024\n");
    run(&["--cap-drop", "all", IMAGE, "grep", "CapEff", "/proc/self/status"]).success().says("0000000000000000");
    run(&["--security-opt", "no-new-privileges", IMAGE, "grep", "NoNewPrivs", "/proc/self/status"])
        .success()
        .prints("NoNewPrivs:\t1\n");
    let profile = docker.dir().join("seccomp.json");
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    fs::write(&profile, rules).unwrap();
    let seccomp = format!("seccomp={}", profile.display());
    tells(run(&["--security-opt", &seccomp, IMAGE, "mkdir", "/tmp/x"]).code(1), "function not implemented");
    run(&[IMAGE, "grep", "^Seccomp:", "/proc/self/status"]).success().prints("Seccomp:\t2\n");

    let outside = docker.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "from the host\n").unwrap();
    let bind = |options: &str| format!("{}:/data{options}", outside.display());
    let writes = ["sh", "-c", "cat /data/file; echo more > /data/more && echo written"];
    run(&[&["--volume", &bind(""), IMAGE], &writes[..]].concat()).success().prints("from the host\nwritten\n");
    tells(run(&[&["--volume", &bind(":ro"), IMAGE], &writes[..]].concat()).code(1), "read-only file system");
    let init = run(&["--init", IMAGE, "sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; exit 4"]).code(4);
    assert!(init.stdout.contains("docker-init -- sh"), "{init}");
    run(&["--ulimit", "nofile=100:200", IMAGE, "sh", "-c", "ulimit -Sn; ulimit -Hn"]).success().prints("100\n200\n");
    run(&["--pid", "host", IMAGE, "sh", "-c", "test -e /proc/1/cmdline && test $$ -gt 1"]).success();
    run(&["--privileged", IMAGE, "sh", "-c", "mkdir /m && mount -t tmpfs none /m && echo mounted"])
        .success()
        .prints("mounted\n");
}

#[test]
fn a_container_shares_the_namespaces_of_another() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let first = docker.detached("first", ["--ipc", "shareable", IMAGE, "sleep", "1234"]);
    let flags = ["--rm", "--network", "container:first", "--ipc", "container:first", "--pid", "container:first"];
    let script =
        "ps -o pid,args | awk '/[s]leep 1234/ {print $1}'; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc";
    let told = docker.cmd(["run"]).args(flags).args([IMAGE, "sh", "-c", script]).run().code(0);
    let pid = docker.state(&first)["Pid"].as_i64().unwrap();
    let namespace = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines.contains(&"1"), "{told}");
    assert!(lines.contains(&namespace("net").as_str()) && lines.contains(&namespace("ipc").as_str()), "{told}");
    docker.docker(["exec", &first, "true"]).success();
    docker.remove(&first);
}

#[test]
fn files_are_copied_in_and_out() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("copies", [IMAGE, "sleep", "1000"]);
    let (sent, received, at) = (docker.dir().join("sent"), docker.dir().join("received"), format!("{name}:/tmp/sent"));
    fs::write(&sent, "there and back\n").unwrap();
    docker.docker(["cp".as_ref(), sent.as_os_str(), at.as_ref()]).code(0);
    docker.docker(["exec", &name, "cat", "/tmp/sent"]).success().prints("there and back\n");
    docker.docker(["cp".as_ref(), at.as_ref(), received.as_os_str()]).code(0);
    assert_eq!(fs::read_to_string(&received).unwrap(), "there and back\n");
    docker.docker(["diff", &name]).success().says("/tmp/sent");
    docker.remove(&name);
}

#[test]
fn what_is_deleted_behind_its_back_is_gone_for_docker_too() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let name = docker.detached("behind", [IMAGE, "sleep", "1000"]);
    let id = docker.inspect(&name)["Id"].as_str().unwrap().to_owned();
    docker.runtime(["delete", "--force", &id]).code(0);
    until(DEADLINE, "the end of the container", || docker.state(&name)["Running"] == false);
    assert_eq!(docker.state(&name)["ExitCode"], 137);
    docker.docker(["start", &name]).success();
    assert_eq!(docker.state(&name)["Running"], true);
    docker.remove(&name);
}

#[test]
fn many_containers_start_and_end_at_once() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = docker();
    let running: Vec<_> =
        (0..6).map(|n| docker.run(["--rm", IMAGE, "sh", "-c", &format!("echo {n}; exit {n}")]).spawn()).collect();
    for (n, running) in running.into_iter().enumerate() {
        running.finish(Duration::from_secs(60)).code(n as i32).prints(&format!("{n}\n"));
    }
}

/// What a default container does to its masked files and to what it was given to read from stays in there.
#[test]
fn a_default_container_cannot_change_the_null_device_of_the_host() {
    needs_engine!("dockerd", "containerd", "docker");
    let host = HostNodes::null();
    let docker = docker();
    docker.run(["--rm", IMAGE, "sh", "-c", HostNodes::ATTACK]).run();
    host.assert_untouched();
    docker.run(["--detach", "--name", "masked", IMAGE, "sleep", "1000"]).run().success();
    docker.docker(["exec", "masked", "sh", "-c", HostNodes::ATTACK]);
    host.assert_untouched();
    docker.docker(["exec", "--detach", "masked", "sh", "-c", &format!("{}; touch /done", HostNodes::ATTACK)]);
    until(DEADLINE, "the end of the attack", || docker.docker(["exec", "masked", "ls", "/done"]).status.success());
    host.assert_untouched();
    docker.docker(["rm", "--force", "masked"]).code(0);
}
