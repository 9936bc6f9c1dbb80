//! `events`: its shape, its end, and what it says when memory runs out.

use std::fs;

use serde_json::{Value, json};
use support::command::DEADLINE;
use support::{Env, Lines, cgroup, needs_root};

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn stats_once_have_runcs_shape_and_true_numbers() {
    needs_root!();
    let env = Env::new();
    let id = env.id("stats");
    let bundle = env.bundle().script("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000");
    let bundle = bundle.edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 7});
    });
    env.started(&bundle, &id);
    let pid = env.pid(&id);
    support::until(DEADLINE, "sleep", || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "sleep\n"));
    let outcome = env.run(["events", "--stats", &id]).success();
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert!(outcome.stdout.starts_with(&format!(r#"{{"type":"stats","id":"{id}","data":{{"cpu":"#)), "{outcome}");
    let data = &outcome.json()["data"];
    assert_eq!(data["pids"], json!({"current": 1, "limit": 7}), "{outcome}");
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 4096, "{outcome}");
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10, "{outcome}");
    let usage = &data["cpu"]["usage"];
    assert!(usage["total"].as_u64().unwrap() > 1_000_000, "{outcome}");
    if !cgroup::is_v2() {
        let sum: u64 = usage["percpu"].as_array().unwrap().iter().map(|cpu| cpu.as_u64().unwrap()).sum();
        assert!(sum >= usage["total"].as_u64().unwrap() / 2, "{outcome}");
        assert!(!data["cpuset"]["cpus"].as_array().unwrap().is_empty(), "{outcome}");
    }
    for present in ["blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(present).is_some(), "{present} is missing: {outcome}");
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn events_come_at_the_interval_and_end_with_the_container() {
    needs_root!();
    let env = Env::new();
    let id = env.id("ends");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let (mut lines, out) = Lines::pipe();
    let events = env.cmd(["events", "--interval=20ms", &id]).stdout(out).spawn();
    for _ in 0..3 {
        assert_eq!(parse(&lines.next().expect("an event"))["type"], "stats");
    }
    // Stopped, and not deleted: the cgroup is still there.
    env.run(["kill", &id, "KILL"]).success();
    // A full pipe would hold it.
    while lines.next().is_some() {}
    events.finish(DEADLINE).success();
    env.wait(&id);
    env.run(["events", "--stats", &id]).fails("is not running");
    env.run(["events", &id]).fails("is not running");
    env.run(["delete", &id]).success();
    env.run(["events", &id]).fails("does not exist");
}

#[test]
fn running_out_of_memory_is_an_event_also_when_it_is_the_last() {
    needs_root!();
    let env = Env::new();
    for (name, script) in [
        ("child", "read go < /go; sh -c 'x=$(head -c 100000000 /dev/zero | tr \"\\\\0\" x)'; exec sleep 1000"),
        ("init", "read go < /go; x=$(head -c 100000000 /dev/zero | tr '\\0' x)"),
    ] {
        let id = env.id(name);
        let go = env.dir().join(format!("go-{name}"));
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let bundle = env.bundle().bind(&go, "/go", &["bind"]).script(script).edit(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
        });
        env.started(&bundle, &id);
        let (mut lines, out) = Lines::pipe();
        let events = env.cmd(["events", "--interval=50ms", &id]).stdout(out).spawn();
        assert_eq!(parse(&lines.next().expect("it watches"))["type"], "stats");
        fs::write(&go, "\n").unwrap();
        let oom = std::iter::from_fn(|| lines.next()).find(|line| parse(line)["type"] == "oom");
        assert_eq!(oom, Some(format!(r#"{{"type":"oom","id":"{id}"}}"#)), "{name}");
        env.run(["delete", "--force", &id]).success();
        while lines.next().is_some() {}
        events.finish(DEADLINE).success();
    }
}

#[test]
fn without_a_cgroup_nothing_is_counted_and_that_is_said_instead_of_zeros() {
    needs_root!();
    let env = Env::new();
    let id = env.id("none");
    env.cmd(["--cgroup-manager", "disabled", "create", "--bundle"])
        .arg(&env.bundle().args(&["sleep", "1000"]).dir)
        .arg(&id)
        .run()
        .success();
    for events in [&["events", "--stats", &id][..], &["events", &id]] {
        env.run(events).fails_with(1, &["has no cgroup of its own", "--cgroup-manager"]);
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn an_interval_is_a_duration_as_go_writes_it_or_seconds() {
    needs_root!();
    let env = Env::new();
    let id = env.id("interval");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["events", "--interval", "0s", &id]).fails("must be greater than 0");
    env.run(["events", "--interval", "0", &id]).fails("must be greater than 0");
    env.run(["events", "--interval", "-1s", &id]).fails("must be greater than 0");
    env.run(["events", "--interval", "soon", &id]).fails("--interval \"soon\"");
    for interval in ["0.02", "20ms"] {
        let (mut lines, out) = Lines::pipe();
        let events = env.cmd(["events", "--interval", interval, &id]).stdout(out).spawn();
        // By then it looks at the container.
        lines.until("stats");
        drop(lines);
        events.finish(DEADLINE).success();
    }
    env.run(["events", "--interval", "5", &env.id("nobody")]).fails("does not exist");
    env.run(["delete", "--force", &id]).success();
}
