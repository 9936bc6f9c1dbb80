//! containerd through its runc.v2 shim, driven by ctr, with the runtime under test as its `runc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engines::tells;
use support::bundle::busybox_rootfs;
use support::command::DEADLINE;
use support::engines::image::NAME as IMAGE;
use support::engines::{Containerd, Shared, is_sandkeep, needs_engine};
use support::{HostNodes, Lines, Outcome, Terminal, until};

fn containerd() -> Arc<Containerd> {
    static CONTAINERD: Shared<Containerd> = Shared::new();
    CONTAINERD.get_or_start(Containerd::start)
}

/// A task in the background that runs until it is told to end.
#[track_caller]
fn task(containerd: &Containerd, id: &str, flags: &[&str]) {
    let script = "trap 'exit 3' TERM; touch /ready; while :; do sleep 0.02; done";
    containerd.run(["--detach", "--null-io"]).args(flags).args([IMAGE, id, "sh", "-c", script]).run().success();
    until(DEADLINE, &format!("the trap of {id}"), || exec(containerd, id, &["ls", "/ready"]).status.success());
}

fn exec(containerd: &Containerd, id: &str, command: &[&str]) -> Outcome {
    exec_with(containerd, id, &[], command)
}

fn exec_with(containerd: &Containerd, id: &str, flags: &[&str], command: &[&str]) -> Outcome {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let exec_id = format!("e{}", COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let exec = containerd.cmd(["tasks", "exec", "--exec-id", &exec_id, "--fifo-dir"]).arg(containerd.fifos());
    exec.args(flags).arg(id).args(command).run()
}

/// RUNNING, PAUSED, STOPPED, or nothing.
fn status(containerd: &Containerd, id: &str) -> String {
    let told = containerd.ctr(["tasks", "list"]);
    let line = told.stdout.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap_or_default();
    line.split_whitespace().nth(2).unwrap_or_default().to_owned()
}

#[track_caller]
fn until_status(containerd: &Containerd, id: &str, wanted: &str) {
    until(DEADLINE, &format!("{id} that is {wanted:?}"), || status(containerd, id) == wanted);
}

fn pid(containerd: &Containerd, id: &str) -> i32 {
    let told = containerd.ctr(["tasks", "list"]);
    let line = told.stdout.lines().find(|line| line.split_whitespace().next() == Some(id)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("no pid of {id}: {told}"))
}

#[track_caller]
fn remove(containerd: &Containerd, id: &str) {
    containerd.ctr(["tasks", "delete", "--force", id]);
    containerd.ctr(["containers", "delete", id]).success();
}

/// The cgroup of a task on v1, or on v2 where there is no such controller folder.
fn cgroup(containerd: &Containerd, controller: &str, id: &str) -> PathBuf {
    let below = PathBuf::from(containerd.tag()).join(id);
    let v1 = Path::new("/sys/fs/cgroup").join(controller).join(&below);
    if v1.is_dir() { v1 } else { Path::new("/sys/fs/cgroup").join(below) }
}

#[test]
fn an_imported_image_runs_with_its_own_command_and_its_exit_code_is_told() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    let run = |id: &str, args: &[&str]| containerd.run(["--rm", IMAGE, id]).args(args).run();
    run("own", &[]).success().prints("the image's own command\n");
    run("zero", &["true"]).success();
    run("seven", &["sh", "-c", "exit 7"]).code(7);
    run("killed", &["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(137);
    tells(run("missing", &["no-such-program"]).code(1), "\"no-such-program\": executable file not found in $PATH");
    tells(run("folder", &["/etc"]).code(1), "permission denied");
    let flags = ["--rm", "--env", "ADDED=1", "--cwd", "/etc", "--read-only", "--label", "a=b", IMAGE, "flags"];
    let script = "echo $FROM_IMAGE $ADDED $PWD; touch /x 2>/dev/null || echo read only";
    containerd.run(flags).args(["sh", "-c", script]).run().success().prints("yes 1 /etc\nread only\n");
    // Nothing of those that failed is in the way of another try.
    run("missing", &["true"]).success();
}

#[test]
fn a_root_folder_needs_no_image() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    let rootfs = containerd.dir().join("bare");
    busybox_rootfs(&rootfs);
    let shared = containerd.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "from the host\n").unwrap();
    let mount = format!("type=bind,src={},dst=/mnt,options=rbind:ro", shared.display());
    let pid_file = containerd.dir().join("pid");
    let run = containerd.run(["--rm", "--mount", &mount, "--pid-file"]).arg(&pid_file).arg("--rootfs").arg(&rootfs);
    run.args(["rootfs", "/bin/cat", "/mnt/file"]).run().success().prints("from the host\n");
    assert!(fs::read_to_string(&pid_file).unwrap().parse::<i32>().unwrap() > 1);
}

#[test]
fn a_terminal_takes_what_is_typed() {
    needs_engine!("containerd", "ctr", "setsid");
    let containerd = containerd();
    let mut terminal = Terminal::new();
    terminal.resize(33, 99);
    let before = terminal.settings();
    // ctr tells the terminal's size once the task runs; and what is written just before the end, the shim may lose.
    let sized = "until stty size 2>/dev/null | grep '33 99'; do sleep 0.02; done";
    let script = format!("test -t 0 && echo on a terminal; read line; echo got $line; {sized}; read line; exit 5");
    let cmd = containerd.run(["--rm", "--tty", IMAGE, "tty", "sh", "-c", &script]);
    let running = terminal.run_cmd(cmd);
    terminal.lines.until("on a terminal");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    terminal.lines.until("33 99");
    terminal.types("end\r");
    running.finish(DEADLINE).code(5);
    assert_eq!(terminal.settings(), before, "the terminal is as it was");
}

#[test]
fn exec_runs_more_processes_and_tells_how_they_ended() {
    needs_engine!("containerd", "ctr", "setsid");
    let containerd = containerd();
    task(&containerd, "execs", &["--env", "OF=container"]);
    exec(&containerd, "execs", &["sh", "-c", "echo $OF"]).success().prints("container\n");
    exec(&containerd, "execs", &["sh", "-c", "exit 9"]).code(9);
    exec_with(&containerd, "execs", &["--user", "1000", "--cwd", "/etc"], &["sh", "-c", "echo $(id -u) $PWD"])
        .success()
        .prints("1000 /etc\n");
    tells(exec(&containerd, "execs", &["no-such-program"]).code(1), "executable file not found in $PATH");
    tells(exec(&containerd, "execs", &["/etc/passwd"]).code(1), "permission denied");
    tells(exec_with(&containerd, "execs", &["--cwd", "/no"], &["pwd"]).code(1), "no such file or directory");
    exec_with(&containerd, "execs", &["--detach"], &["touch", "/made"]).success();
    until(DEADLINE, "a file made by a detached exec", || exec(&containerd, "execs", &["ls", "/made"]).status.success());
    let mut terminal = Terminal::new();
    let cmd = containerd.cmd(["tasks", "exec", "--exec-id", "onatty", "--tty", "execs", "sh", "-c"]);
    let running = terminal.run_cmd(cmd.arg("tty; read line; echo got $line; read line; exit 6"));
    terminal.lines.until("/dev/pts/");
    terminal.types("typed\r");
    terminal.lines.until("got typed");
    terminal.types("end\r");
    running.finish(DEADLINE).code(6);
    // ctr ps: the init, its sleep, and an exec that lasts.
    exec_with(&containerd, "execs", &["--detach"], &["sleep", "1000"]).success();
    until(DEADLINE, "three processes", || {
        containerd.ctr(["tasks", "ps", "execs"]).success().stdout.lines().count() >= 4
    });
    remove(&containerd, "execs");
}

#[test]
fn kill_and_delete_tell_what_is_already_over() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    task(&containerd, "over", &[]);
    tells(containerd.ctr(["tasks", "delete", "over"]).code(1), "task must be stopped before deletion");
    containerd.ctr(["tasks", "kill", "--signal", "SIGTERM", "over"]).success();
    until_status(&containerd, "over", "STOPPED");
    tells(containerd.ctr(["tasks", "kill", "over"]).code(1), "process already finished: not found");
    tells(containerd.ctr(["tasks", "exec", "--exec-id", "late", "over", "true"]).code(1), "stopped");
    tells(containerd.ctr(["tasks", "delete", "over"]).code(0), "exit code 3");
    tells(containerd.ctr(["tasks", "kill", "over"]).code(1), "not found");
    // The container is still there for another task.
    containerd.ctr(["tasks", "start", "--detach", "--null-io", "over"]).success();
    until_status(&containerd, "over", "RUNNING");
    containerd.ctr(["tasks", "kill", "--all", "--signal", "SIGKILL", "over"]).success();
    until_status(&containerd, "over", "STOPPED");
    tells(containerd.ctr(["tasks", "delete", "over"]).code(0), "exit code 137");
    containerd.ctr(["containers", "delete", "over"]).success();
}

#[test]
fn what_is_deleted_behind_its_back_is_gone_for_containerd_too() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    task(&containerd, "behind", &[]);
    containerd.runtime(["delete", "--force", "behind"]).success();
    until_status(&containerd, "behind", "STOPPED");
    tells(containerd.ctr(["tasks", "kill", "behind"]).code(1), "not found");
    tells(containerd.ctr(["tasks", "delete", "behind"]).code(0), "exit code 137");
    containerd.ctr(["containers", "delete", "behind"]).success();
}

#[test]
fn a_supervisor_that_is_killed_ends_the_task_and_nothing_else() {
    needs_engine!("containerd", "ctr");
    if !is_sandkeep() {
        support::skipped!("only sandkeep has supervisors");
    }
    let containerd = containerd();
    task(&containerd, "keeperless", &[]);
    let state = containerd.runtime(["state", "keeperless"]).success().json();
    let supervisor = state["supervisorPid"].as_i64().expect("the supervisor's pid") as i32;
    assert_eq!(state["pid"], pid(&containerd, "keeperless"));
    support::process::send(supervisor, nix::sys::signal::Signal::SIGKILL);
    until_status(&containerd, "keeperless", "STOPPED");
    tells(containerd.ctr(["tasks", "delete", "keeperless"]).code(0), "exit code 137");
    containerd.ctr(["containers", "delete", "keeperless"]).success();
}

/// As in a pod with hostPID: the kernel ends nobody with the supervisor.
#[test]
fn a_task_in_the_hosts_pid_namespace_outlives_its_supervisor_and_can_be_stopped_and_deleted() {
    needs_engine!("containerd", "ctr");
    if !is_sandkeep() {
        support::skipped!("only sandkeep has supervisors");
    }
    let containerd = containerd();
    for (id, signal, told) in [("orphaned", "SIGTERM", "exit code 3"), ("orphaned9", "SIGKILL", "exit code 137")] {
        task(&containerd, id, &["--with-ns", &format!("pid:/proc/{}/ns/pid", std::process::id())]);
        let state = containerd.runtime(["state", id]).success().json();
        let supervisor = state["supervisorPid"].as_i64().expect("the supervisor's pid") as i32;
        support::process::send(supervisor, nix::sys::signal::Signal::SIGKILL);
        until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
        assert_eq!(status(&containerd, id), "RUNNING");
        exec(&containerd, id, &["true"]).success();
        containerd.ctr(["tasks", "kill", "--signal", signal, id]).success();
        until_status(&containerd, id, "STOPPED");
        tells(containerd.ctr(["tasks", "delete", id]), told);
        containerd.ctr(["containers", "delete", id]).success();
    }
}

#[test]
fn a_paused_task_stands_still_until_it_is_resumed() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    task(&containerd, "paused", &[]);
    containerd.ctr(["tasks", "pause", "paused"]).success();
    assert_eq!(status(&containerd, "paused"), "PAUSED");
    tells(exec(&containerd, "paused", &["true"]).code(1), "cannot exec in a paused");
    containerd.ctr(["tasks", "resume", "paused"]).success();
    assert_eq!(status(&containerd, "paused"), "RUNNING");
    exec(&containerd, "paused", &["true"]).success();
    // A paused one can be killed, too.
    containerd.ctr(["tasks", "pause", "paused"]).success();
    remove(&containerd, "paused");
}

#[test]
fn limits_are_enforced_and_metrics_show_them() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    let limits = ["--memory-limit", "33554432", "--cpus", "0.2"];
    task(&containerd, "limited", &limits);
    let metrics = containerd.ctr(["tasks", "metrics", "--format", "json", "limited"]).success().json();
    assert_eq!(metrics["memory"]["usage"]["limit"], 33_554_432, "{metrics}");
    assert!(metrics["pids"]["current"].as_u64().is_some_and(|count| count >= 1), "{metrics}");
    assert!(metrics["cpu"]["usage"]["total"].as_u64().is_some_and(|time| time > 0), "{metrics}");
    exec_with(&containerd, "limited", &["--detach"], &["sh", "-c", "while :; do :; done"]).success();
    let folder = cgroup(&containerd, "cpu", "limited");
    until(DEADLINE, "throttling", || {
        let stat = fs::read_to_string(folder.join("cpu.stat")).expect("cpu.stat");
        stat.lines().any(|line| line.strip_prefix("nr_throttled ").is_some_and(|count| count != "0"))
    });
    exec(&containerd, "limited", &["sh", "-c", "head -c 4000000 /dev/zero | tail -c 1 | wc -c"])
        .success()
        .prints("1\n");
    exec(&containerd, "limited", &["sh", "-c", "tail /dev/zero; echo died of $?"]).code(0).prints("died of 137\n");
    remove(&containerd, "limited");
}

#[test]
fn every_step_of_a_task_is_an_event() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    let (mut lines, out) = Lines::pipe();
    let events = containerd.cmd(["events"]).stdout(out).spawn();
    // It has begun to listen once it tells of something: of namespaces, which cost nothing.
    let probe = format!("{}-probe", containerd.tag());
    until(DEADLINE, "the first event", || {
        containerd.ctr(["namespaces", "create", &probe]);
        containerd.ctr(["namespaces", "remove", &probe]);
        lines.readable(std::time::Duration::from_millis(50))
    });
    task(&containerd, "told", &[]);
    containerd.ctr(["tasks", "pause", "told"]).success();
    containerd.ctr(["tasks", "resume", "told"]).success();
    let pid = pid(&containerd, "told");
    containerd.ctr(["tasks", "kill", "--signal", "SIGTERM", "told"]).success();
    until_status(&containerd, "told", "STOPPED");
    containerd.ctr(["tasks", "delete", "told"]);
    containerd.ctr(["containers", "delete", "told"]).success();
    let told = |line: &str| line.contains("\"told\"");
    let mut topics = Vec::new();
    let mut exit = String::new();
    while !topics.contains(&"/containers/delete".to_owned()) {
        let line = lines.until(&format!(" {} ", containerd.tag()));
        if !told(&line) {
            continue;
        }
        let topic = line.split_whitespace().find(|word| word.starts_with('/')).unwrap_or_default().to_owned();
        if topic == "/tasks/exit" && line.contains("\"exit_status\":3") {
            exit.clone_from(&line);
        }
        topics.push(topic);
    }
    for topic in ["create", "start", "exec-added", "exec-started", "exit", "paused", "resumed", "delete"] {
        assert!(topics.contains(&format!("/tasks/{topic}")), "{topic} is not in {topics:?}");
    }
    assert!(exit.contains(&format!("\"pid\":{pid}")), "{exit:?} is not of {pid}");
    support::process::send(events.pid(), nix::sys::signal::Signal::SIGKILL);
    let _ = events.finish_or_kill(DEADLINE);
}

#[test]
fn namespaces_capabilities_and_seccomp_are_as_asked() {
    needs_engine!("containerd", "ctr");
    let containerd = containerd();
    let run = |id: &str, flags: &[&str], script: &str| {
        containerd.run(["--rm"]).args(flags).args([IMAGE, id, "sh", "-c", script]).run().success().stdout
    };
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(run("hostnet", &["--net-host"], "readlink /proc/self/ns/net").trim(), host.to_str().unwrap());
    assert_ne!(run("ownnet", &[], "readlink /proc/self/ns/net").trim(), host.to_str().unwrap());
    let (uts, with) = (fs::read_link("/proc/self/ns/uts").unwrap(), format!("uts:/proc/{}/ns/uts", std::process::id()));
    assert_eq!(run("with", &["--with-ns", &with], "readlink /proc/self/ns/uts").trim(), uts.to_str().unwrap());
    let nowhere = containerd.run(["--rm", "--with-ns", "uts:/no/such/namespace", IMAGE, "nowhere", "true"]).run();
    assert!(nowhere.code(1).stderr.contains("/no/such/namespace"));
    let seccomp = "grep ^Seccomp: /proc/self/status | cut -f2";
    assert_eq!(run("seccomp", &["--seccomp"], seccomp), "2\n");
    assert_eq!(run("noseccomp", &[], seccomp), "0\n");
    let capabilities = "grep CapBnd /proc/self/status | cut -f2";
    let (usual, fewer) = (run("caps", &[], capabilities), run("fewer", &["--cap-drop", "CAP_CHOWN"], capabilities));
    let number = |text: &str| u64::from_str_radix(text.trim(), 16).expect("a set of capabilities");
    assert_eq!(number(&usual) & !number(&fewer), 1, "{usual} and {fewer}");
    let mapped = ["--uidmap", "0:200000:5000", "--gidmap", "0:300000:5000"];
    let told = run("mapped", &mapped, "id -u; cat /proc/self/uid_map; stat -c %u /bin/busybox");
    assert_eq!(told.split_whitespace().collect::<Vec<_>>(), ["0", "0", "200000", "5000", "0"]);
    assert_eq!(run("device", &["--device", "/dev/kmsg"], "ls -l /dev/kmsg | cut -c1"), "c\n");
    run(
        "privileged",
        &["--privileged"],
        "mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt",
    );
}

#[test]
fn a_checkpoint_is_refused_in_words() {
    needs_engine!("containerd", "ctr");
    if !is_sandkeep() {
        support::skipped!("the words are sandkeep's");
    }
    let containerd = containerd();
    task(&containerd, "stays", &[]);
    tells(containerd.ctr(["tasks", "checkpoint", "stays"]).code(1), "checkpoint is not supported");
    assert_eq!(status(&containerd, "stays"), "RUNNING");
    remove(&containerd, "stays");
}

#[test]
fn containerd_may_be_restarted_beside_its_tasks() {
    needs_engine!("containerd", "ctr");
    let mut containerd = Containerd::start();
    task(&containerd, "survivor", &[]);
    let before = pid(&containerd, "survivor");
    containerd.restart();
    assert_eq!(pid(&containerd, "survivor"), before);
    exec(&containerd, "survivor", &["true"]).success();
    containerd.ctr(["tasks", "kill", "--signal", "SIGTERM", "survivor"]).success();
    until_status(&containerd, "survivor", "STOPPED");
    tells(containerd.ctr(["tasks", "delete", "survivor"]).code(0), "exit code 3");
    containerd.ctr(["containers", "delete", "survivor"]).success();
}

/// What a task does to its masked files and to what it was given to read from stays in there.
#[test]
fn a_task_cannot_change_the_null_device_of_the_host() {
    needs_engine!("containerd", "ctr");
    let host = HostNodes::null();
    let containerd = containerd();
    for flags in [&["--rm"][..], &["--rm", "--null-io"]] {
        containerd.run(flags).args([IMAGE, "masked", "sh", "-c", HostNodes::ATTACK]).run();
        host.assert_untouched();
    }
    task(&containerd, "masked", &[]);
    exec(&containerd, "masked", &["sh", "-c", HostNodes::ATTACK]);
    exec_with(&containerd, "masked", &["--detach"], &["sh", "-c", &format!("{}; touch /done", HostNodes::ATTACK)]);
    until(DEADLINE, "the end of the attack", || exec(&containerd, "masked", &["ls", "/done"]).status.success());
    host.assert_untouched();
    remove(&containerd, "masked");
}
