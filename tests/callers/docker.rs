//! docker, its daemon and its containerd, with the runtime under test as the default one: what it alone has, beside
//! what `engines.rs` asks of it.

use std::fs;

use crate::engines::tells;
use support::engines::image::NAME as IMAGE;
use support::engines::{Docker, Engine, needs_engine};

#[test]
fn the_daemon_knows_its_runtime_and_runs_the_image_with_it() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    docker.call(["info", "--format", "{{.DefaultRuntime}}"]).success().prints("tested\n");
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let network = |flags: &[&str]| {
        docker.cmd(["run", "--rm"]).args(flags).args([IMAGE, "readlink", "/proc/self/ns/net"]).run().success().stdout
    };
    assert_eq!(network(&["--network", "host"]).trim(), host.to_str().unwrap());
    assert_ne!(network(&["--network", "none"]).trim(), host.to_str().unwrap());
}

#[test]
fn stats_and_top_show_what_runs() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    let name = docker.detached("seen", ["--memory", "64m", IMAGE, "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    let stats = docker.call(["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", &name]).success();
    assert!(stats.stdout.ends_with(" / 64MiB 2\n"), "{stats}");
    let top = docker.call(["top", &name, "-o", "pid,args"]).success();
    assert!(top.stdout.contains("sleep 1000") && top.stdout.contains("sleep 2000"), "{top}");
    assert_eq!(top.stdout.lines().count(), 3, "{top}");
    docker.remove(&name);
}

#[test]
fn limits_are_changed_while_it_runs_and_hold_after_a_restart() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    let first = ["--memory", "64m", "--memory-swap", "64m", "--pids-limit", "100"];
    let name = docker.detached("restarted", first.iter().chain(&[IMAGE, "sleep", "1000"]));
    let exec = |script: &str| docker.call(["exec", &name, "sh", "-c", script]);
    exec("head -c 30m /dev/zero | tail -n 1 | wc -c").code(0).prints("31457280\n");
    let update = ["update", "--memory", "16m", "--memory-swap", "16m", "--pids-limit", "6", "--cpus", "0.5"];
    docker.cmd(update).arg(&name).run().success();
    for life in ["the same", "another"] {
        let memory = docker.cgroup_file(&name, ("memory", "memory.limit_in_bytes"), "memory.max");
        assert_eq!(memory.trim(), "16777216", "{life} life");
        assert_eq!(docker.cgroup_file(&name, ("pids", "pids.max"), "pids.max").trim(), "6", "{life} life");
        let quota = docker.cgroup_file(&name, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
        assert!(quota.starts_with("50000"), "{life} life: {quota}");
        exec("tail /dev/zero; echo died of $?").code(0).prints("died of 137\n");
        let forks = exec("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo all of them");
        assert!(!forks.stdout.contains("all of them"), "{life} life: {forks}");
        docker.call(["restart", "--time", "0", &name]).success();
    }
    // What cannot be had changes nothing, and the reason is told: less memory than is in use.
    tells(docker.call(["update", "--memory", "6m", "--memory-swap", "5m", &name]).code(1), "memoryswap");
    docker.call(["update", "--restart", "on-failure:3", &name]).success();
    docker.remove(&name);
}

#[test]
fn what_surrounds_a_container_is_as_asked() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    let run = |args: &[&str]| docker.run(["--rm"]).args(args).run();
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
fn an_exec_may_be_privileged() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    let name = docker.detached("execs", [IMAGE, "sleep", "1000"]);
    let exec = ["exec", "--privileged", &name, "grep", "CapEff", "/proc/self/status"];
    docker.call(exec).success().says("ffff");
    docker.remove(&name);
}

#[test]
fn a_container_shares_the_namespaces_of_another() {
    needs_engine!("dockerd", "containerd", "docker");
    let docker = Docker::shared();
    let first = docker.detached("first", ["--ipc", "shareable", IMAGE, "sleep", "1234"]);
    let of_first = format!("container:{first}");
    let flags = ["--rm", "--network", &of_first, "--ipc", &of_first, "--pid", &of_first];
    let script =
        "ps -o pid,args | awk '/[s]leep 1234/ {print $1}'; readlink /proc/self/ns/net; readlink /proc/self/ns/ipc";
    let told = docker.cmd(["run"]).args(flags).args([IMAGE, "sh", "-c", script]).run().code(0);
    let pid = docker.state(&first)["Pid"].as_i64().unwrap();
    let namespace = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert!(lines.contains(&"1"), "{told}");
    assert!(lines.contains(&namespace("net").as_str()) && lines.contains(&namespace("ipc").as_str()), "{told}");
    docker.call(["exec", &first, "true"]).success();
    docker.remove(&first);
}
