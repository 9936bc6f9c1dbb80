//! podman with conmon, on the runtime under test: what it alone has, beside what `engines.rs` asks of it.

use std::fs;
use std::time::Duration;

use crate::engines::{LISTENS, tells};
use serde_json::Value;
use support::command::{DEADLINE, binary};
use support::engines::image::NAME as IMAGE;
use support::engines::{Engine, Podman, is_sandkeep, needs_engine};
use support::{Cmd, skipped, until};

#[test]
fn a_step_of_a_build_is_run_by_root() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    podman.run(["--rm", IMAGE, "cat", "/etc/built"]).run().success().prints("built by 0\n");
}

/// `--pid host`: the kernel ends nobody with the supervisor.
#[test]
fn a_container_in_the_hosts_pid_namespace_outlives_its_supervisor_and_can_be_stopped_and_removed() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        support::skipped!("only sandkeep has supervisors");
    }
    let podman = Podman::shared();
    for way in ["stop", "kill", "rm"] {
        let name = podman.detached(&format!("orphaned-{way}"), ["--pid", "host", IMAGE, "sh", "-c", LISTENS]);
        podman.until_logged(&name, "ready", 1);
        let id = podman.inspect(&name)["Id"].as_str().unwrap().to_owned();
        let state = Cmd::new(binary()).args(["state", &id]).run().success().json();
        let supervisor = state["supervisorPid"].as_i64().expect("the supervisor's pid") as i32;
        support::process::send(supervisor, nix::sys::signal::Signal::SIGKILL);
        until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
        let state = podman.state(&name);
        assert_eq!(state["Status"], "running", "{state}");
        podman.call(["exec", &name, "true"]).success();
        podman.call(["pause", &name]).success();
        podman.call(["unpause", &name]).success();
        match way {
            "stop" => {
                podman.call(["stop", "--time", "20", &name]).success();
                assert_eq!(podman.state(&name)["ExitCode"], 3);
            }
            "kill" => {
                podman.call(["kill", &name]).success();
                podman.call(["wait", &name]).success().prints("137\n");
            }
            _ => {}
        }
        podman.remove(&name);
    }
}

#[test]
fn stats_and_top_show_what_runs() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    let name = podman.detached("seen", ["--memory", "64m", IMAGE, "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    let stats = podman.call(["stats", "--no-stream", "--format", "json", &name]).success().json()[0].clone();
    assert_eq!(stats["pids"], "2", "{stats}");
    assert!(stats["mem_usage"].as_str().is_some_and(|usage| usage.ends_with(" / 67.11MB")), "{stats}");
    let top = podman.call(["top", &name, "pid", "args"]).success();
    let lines: Vec<&str> = top.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines.len(), 3, "{top}");
    assert!(lines.iter().any(|line| line.starts_with('1') && line.ends_with("sleep 2000")), "{top}");
    // Without one of podman's own columns it is ps(1) in the container, called through the runtime.
    podman.call(["top", &name, "-o", "pid,args"]).success().says("sleep 1000");
    podman.remove(&name);
}

#[test]
fn a_user_namespace_maps_root_to_somebody_else() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    let maps = ["--uidmap", "0:200000:5000", "--gidmap", "0:300000:5000"];
    let name = podman.detached("mapped", maps.iter().chain(&[IMAGE, "sleep", "1000"]));
    let script = "id -u; id -g; touch /tmp/mine && stat -c %u:%g /tmp/mine /etc/passwd; cat /proc/self/uid_map";
    let told = podman.call(["exec", &name, "sh", "-c", script]).success();
    let words: Vec<&str> = told.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "0:0", "0:0", "0", "200000", "5000"], "{told}");
    let pid = podman.state(&name)["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t200000\t") && status.contains("Gid:\t300000\t"), "{status}");
    podman.call(["exec", "-u", "7:8", &name, "id", "-u"]).success().prints("7\n");
    podman.call(["stop", "--time", "0", &name]);
    podman.remove(&name);
}

#[test]
fn volumes_devices_limits_and_settings_reach_the_container() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
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
    podman.call(["volume", "rm", &volume]).success();

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
    let podman = Podman::shared();
    let script = "tr '\\0' ' ' < /proc/1/cmdline; echo; exit 4";
    podman.run(["--rm", "--init", IMAGE, "sh", "-c", script]).run().code(4).says("init -- sh");
}

#[test]
fn files_are_copied_into_a_tmpfs_and_out_of_it() {
    needs_engine!("podman", "conmon");
    let podman = Podman::shared();
    let name = podman.detached("copies", ["--tmpfs", "/scratch", IMAGE, "sleep", "1000"]);
    let (sent, received) = (podman.dir().join("sent"), podman.dir().join("received"));
    fs::write(&sent, "there and back\n").unwrap();
    for path in ["/tmp/sent", "/scratch/sent"] {
        let at = format!("{name}:{path}");
        podman.call(["cp".as_ref(), sent.as_os_str(), at.as_ref()]).success();
        podman.call(["exec", &name, "cat", path]).success().prints("there and back\n");
        podman.call(["cp".as_ref(), at.as_ref(), received.as_os_str()]).success();
        assert_eq!(fs::read_to_string(&received).unwrap(), "there and back\n");
        fs::remove_file(&received).unwrap();
    }
    podman.call(["diff", &name]).success().says("/tmp/sent");
    podman.remove(&name);
}

#[test]
fn a_pod_shares_its_network_and_its_ipc_and_nothing_else() {
    needs_engine!("podman", "conmon", "catatonit");
    let podman = Podman::shared();
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
    let told = podman.call(["exec", &client, "sh", "-c", talk]);
    assert_eq!(told.stdout, "served\none\n0\n", "{told}");
    let namespace = |name: &str, kind: &str| {
        let pid = podman.state(name)["Pid"].as_i64().unwrap();
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
    };
    podman.call(["start", &server]);
    until(DEADLINE, "two that run", || podman.state(&server)["Running"] == true);
    for (kind, shared) in [("net", true), ("ipc", true), ("uts", true), ("mnt", false), ("pid", false)] {
        assert_eq!(namespace(&server, kind) == namespace(&client, kind), shared, "{kind}");
    }
    podman.call(["pod", "pause", &pod]).success();
    assert_eq!(podman.state(&client)["Status"], "paused");
    podman.call(["pod", "unpause", &pod]).success();
    podman.call(["pod", "stop", "--time", "0", &pod]);
    let removed = podman.call(["pod", "rm", "--force", &pod]);
    // podman takes every folder beside the hierarchies for one, and cannot remove what it makes in those that are none.
    let not_mounted = |entry: &fs::DirEntry| entry.path().is_dir() && !entry.path().join("cgroup.procs").exists();
    if !fs::read_dir("/sys/fs/cgroup").unwrap().flatten().any(|entry| not_mounted(&entry)) {
        removed.success();
    }
    assert!(!podman.call(["ps", "--all"]).stdout.contains(&server));
}

#[test]
fn without_cgroups_containers_run_as_well() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        skipped!("only crun and sandkeep can do without cgroups");
    }
    let podman = Podman::shared();
    let name = format!("bare-{}", podman.tag());
    let run = ["run", "--detach", "--cgroups", "disabled", "--name", &name, IMAGE, "sh", "-c", LISTENS];
    podman.call(run).success();
    podman.until_logged(&name, "ready", 1);
    podman.call(["exec", &name, "true"]).success();
    podman.call(["stop", "--time", "10", &name]).success();
    assert_eq!(podman.state(&name)["ExitCode"], 3);
    podman.remove(&name);
}

#[test]
fn an_ordinary_user_has_containers_too() {
    needs_engine!("podman", "conmon", "newuidmap", "setpriv", "unshare");
    let podman = Podman::start_rootless();
    podman.run(["--rm", IMAGE, "sh", "-c", "id -u; exit 7"]).run().code(7).prints("0\n");
    let name = podman.detached("rootless", [IMAGE, "sh", "-c", LISTENS]);
    podman.until_logged(&name, "ready", 1);
    let script = "id -u; cat /proc/self/uid_map | awk '{print $2}'; exit 5";
    podman.call(["exec", &name, "sh", "-c", script]).code(5).prints("0\n70077\n1000000\n");
    podman.call(["exec", "-u", "1000", &name, "id", "-u"]).code(0).prints("1000\n");
    let pid = podman.state(&name)["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t70077\t"), "{status}");
    podman.call(["restart", "--time", "10", &name]).code(0);
    podman.until_logged(&name, "ready", 2);
    podman.call(["stop", "--time", "10", &name]).code(0);
    assert_eq!(podman.state(&name)["ExitCode"], 3);
    tells(podman.run(["--rm", IMAGE, "no-such-program"]).run().code(127), "executable file not found in $PATH");
    podman.call(["rm", &name]).code(0);
}

#[test]
fn the_message_of_a_failure_is_told_once_and_whole() {
    needs_engine!("podman", "conmon");
    if !is_sandkeep() {
        skipped!("other runtimes have words of their own");
    }
    let podman = Podman::shared();
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
