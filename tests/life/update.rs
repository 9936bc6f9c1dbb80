//! `update`: what arrives in the kernel, what stays, what is refused, and what a crash leaves.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};
use support::cgroup::{self, limit};
use support::{Bundle, Env, needs_root};

const MIB: u64 = 1 << 20;

fn sleeper(env: &Env) -> Bundle {
    env.bundle().args(&["sleep", "1000"])
}

/// All limits that the tests here are about, at once.
fn limits(pid: i32) -> Vec<(&'static str, String)> {
    let names = ["memory", "memory and swap", "reservation", "pids", "quota", "period", "burst", "shares", "cpus"];
    names.into_iter().filter(|name| has_swap(pid) || *name != "memory and swap").map(|n| (n, limit(pid, n))).collect()
}

fn has_swap(pid: i32) -> bool {
    let file = if cgroup::is_v2() { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
    cgroup::folder(pid, "memory").join(file).exists()
}

/// What is on disk of the limits.
fn kept(env: &Env, id: &str) -> Value {
    let path = env.root().join("sandboxes").join(id).join("limits.json");
    serde_json::from_slice(&fs::read(path).expect("limits.json")).expect("JSON")
}

fn update_from(env: &Env, id: &str, resources: &Value) -> support::Outcome {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(resources.to_string().as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    env.cmd(["update", "--resources=-", id]).stdin(file).run()
}

#[test]
fn limits_from_flags_a_file_and_standard_input_arrive_and_the_others_stay() {
    needs_root!();
    let env = Env::new();
    let id = env.id("flags");
    let bundle = sleeper(&env).edit(|config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 32 * MIB, "reservation": 24 * MIB});
        config["linux"]["resources"]["cpu"] = json!({"shares": 1024, "quota": 500_000, "period": 1_000_000});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
    });
    env.started(&bundle, &id);
    let pid = env.pid(&id);

    env.run(["update", &id, "--memory", "64m", "--pids-limit", "10", "--cpu-period", "900000"]).success().prints("");
    assert_eq!(limit(pid, "memory"), (64 * MIB).to_string());
    assert_eq!(limit(pid, "pids"), "10");
    assert_eq!((limit(pid, "quota").as_str(), limit(pid, "period").as_str()), ("500000", "900000"));
    assert_eq!(limit(pid, "reservation"), (24 * MIB).to_string(), "not given");

    // As podman calls it.
    let file = env.dir().join("resources.json");
    fs::write(&file, json!({"cpu": {"quota": -1}, "memory": {"limit": 0}, "pids": {"limit": -1}}).to_string()).unwrap();
    env.run(["update", &format!("--resources={}", file.display()), &id]).success();
    assert_eq!((limit(pid, "quota").as_str(), limit(pid, "period").as_str()), ("max", "900000"));
    assert_eq!((limit(pid, "pids").as_str(), limit(pid, "memory")), ("max", (64 * MIB).to_string()));

    // As containerd and docker call it: nulls and zeros for what they have nothing to say about.
    let resources = json!({"cpu": {"quota": 20_000, "period": 50_000, "burst": 10_000, "cpus": ""},
                           "memory": {"limit": 48 * MIB, "swap": null}, "devices": null, "blockIO": {"weight": 0}});
    update_from(&env, &id, &resources).success();
    assert_eq!((limit(pid, "quota").as_str(), limit(pid, "burst").as_str()), ("20000", "10000"));
    assert_eq!(limit(pid, "memory"), (48 * MIB).to_string());
    env.run(["update", "--cpu-idle", "1", &id]).success();
    assert_eq!(limit(pid, "idle"), "1");

    let all = kept(&env, &id);
    assert_eq!(
        all["resources"]["memory"],
        json!({"limit": 48 * MIB, "reservation": 24 * MIB}),
        "later updates start here"
    );
    assert_eq!(all["resources"]["pids"], json!({"limit": -1}));
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn memory_and_swap_change_together_in_whatever_order_the_kernel_needs() {
    needs_root!();
    let env = Env::new();
    let id = env.id("swap");
    env.started(&sleeper(&env), &id);
    let pid = env.pid(&id);
    if !has_swap(pid) {
        support::skipped!("this kernel accounts no swap");
    }
    for (memory, swap) in [(50, 92), (30, 50), (60, 80), (200, 200)] {
        let flags = [format!("--memory={memory}M"), format!("--memory-swap={swap}M")];
        env.run(["update", &flags[0], &flags[1], &id]).success();
        let expected = ((memory * MIB).to_string(), (swap * MIB).to_string());
        assert_eq!((limit(pid, "memory"), limit(pid, "memory and swap")), expected);
    }
    env.run(["update", "--memory-swap=300M", &id]).success();
    assert_eq!(limit(pid, "memory and swap"), (300 * MIB).to_string());
    env.run(["update", "--memory-swap=100M", &id]).fails("memory.swap");
    assert_eq!(limit(pid, "memory and swap"), (300 * MIB).to_string());
    env.run(["update", "--memory=-1", &id]).success();
    assert_eq!((limit(pid, "memory").as_str(), limit(pid, "memory and swap").as_str()), ("max", "max"));
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_limit_that_the_kernel_refuses_leaves_every_other_as_it_was() {
    needs_root!();
    let env = Env::new();
    let id = env.id("refused");
    env.started(&sleeper(&env), &id);
    let pid = env.pid(&id);
    env.run(["update", "--memory=64m", "--pids-limit=10", "--cpu-quota=20000", "--cpu-period=50000", &id]).success();
    let (before, on_disk) = (limits(pid), kept(&env, &id));
    let flags =
        ["--memory=32m", "--memory-reservation=16m", "--cpu-quota=30000", "--cpu-period=40000", "--cpu-share=77"];
    let update = |more: &[&str]| env.run(["update"].iter().chain(&flags).chain(more).chain(&[id.as_str()]));
    update(&["--cpuset-cpus=4095", "--pids-limit=5"]).fails("cannot set cpu.cpus");
    assert_eq!(limits(pid), before);
    update(&["--cpu-burst=999999999", "--pids-limit=5"]).fails("cannot set cpu.burst");
    assert_eq!(limits(pid), before);
    // Refused before anything is touched.
    update(&["--blkio-weight=5"]).fails("resources.blockIO.weight");
    update(&["--pids-limit=many"]).fails("invalid value for pids-limit");
    update(&["--l3-cache-schema=L3:0=f"]).fails("resctrl");
    assert_eq!((limits(pid), kept(&env, &id)), (before, on_disk));
    assert_eq!(env.run(["history", "--format", "json"]).success().stdout.matches("update-requested").count(), 1);
    update(&["--pids-limit=5"]).success();
    assert_eq!(limit(pid, "pids"), "5");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn created_running_and_paused_containers_are_updated_and_others_are_not() {
    needs_root!();
    let env = Env::new();
    let id = env.id("phases");
    env.run(["update", "--pids-limit=5", &id]).fails("does not exist");
    env.created(&sleeper(&env), &id);
    let pid = env.pid(&id);
    for (status, change, limited) in
        [("created", "start", "11"), ("running", "pause", "12"), ("paused", "resume", "13")]
    {
        assert_eq!(env.status(&id), status);
        env.run(["update", &format!("--pids-limit={limited}"), &id]).success();
        assert_eq!((limit(pid, "pids").as_str(), env.status(&id).as_str()), (limited, status));
        env.run([change, &id]).success();
    }
    env.run(["kill", &id, "KILL"]).success();
    env.wait(&id);
    env.run(["update", "--pids-limit=5", &id]).fails("it is stopped");
    env.run(["delete", &id]).success();
}

#[test]
fn bad_input_is_one_clear_line_and_changes_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("bad");
    env.started(&sleeper(&env), &id);
    let file = env.dir().join("bad.json");
    for (text, needle) in [
        ("{", "resources file"),
        ("[]", "resources file"),
        (r#"{"memory": {"limit": "1g"}}"#, "memory.limit"),
        (r#"{"memory": {"limit": 2000, "swap": 1000}}"#, "resources.memory.swap"),
        (r#"{"cpu": {"cpus": "all"}}"#, "resources.cpu.cpus"),
        (r#"{"unified": {"../memory.max": "1"}}"#, "unified"),
        (r#"{"rdma": {"mlx5_0": {"hcaHandles": 1}}}"#, "rdma"),
    ] {
        fs::write(&file, text).unwrap();
        env.cmd(["update", "-r"]).arg(&file).arg(&id).run().fails(needle);
    }
    env.run(["update", "-r", "/nowhere/at.all", &id]).fails("/nowhere/at.all");
    assert!(!env.root().join("sandboxes").join(&id).join("limits.json").exists());
    env.run(["delete", "--force", &id]).success();
}

/// What died between the first write and the last is taken back, also when some of it cannot be.
#[test]
fn an_update_that_was_cut_short_is_taken_back_by_whoever_comes_next() {
    needs_root!();
    support::needs_tool!("strace");
    let env = Env::new();
    for (number, next) in [["recover"].as_slice(), &["update", "--cpu-share=77"], &["pause"]].into_iter().enumerate() {
        let id = env.id(&format!("cut{number}"));
        env.started(&sleeper(&env), &id);
        let pid = env.pid(&id);
        env.run(["update", "--memory=64m", "--pids-limit=10", &id]).success();
        let before = (limit(pid, "memory"), limit(pid, "pids"), kept(&env, &id));
        // The rename that would complete it never happens: the second, after that of limits.next.json to its own name.
        let killed = support::Cmd::new("strace")
            .args([
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=renameat",
                "-e",
                "inject=renameat:error=EIO:signal=KILL:when=2",
            ])
            .arg(env.binary())
            .arg("--root")
            .arg(env.root())
            .args(["update", "--memory=32m", "--pids-limit=5", "--cpu-share=500", &id])
            .run();
        assert!(!killed.status.success(), "{killed}");
        assert_eq!((limit(pid, "memory"), limit(pid, "pids")), ((32 * MIB).to_string(), "5".to_owned()), "{killed}");
        let mut args = next.to_vec();
        if args != ["recover"] {
            args.push(&id);
        }
        env.run(args).success();
        assert_eq!((limit(pid, "memory"), limit(pid, "pids")), (before.0, before.1));
        if next[0] == "update" {
            assert_eq!(kept(&env, &id)["resources"]["cpu"], json!({"shares": 77}));
        } else {
            assert_eq!(kept(&env, &id), before.2);
        }
        assert!(!env.root().join("sandboxes").join(&id).join("limits.next.json").exists());
        env.run(["delete", "--force", &id]).success();
    }
    env.run(["doctor"]).success();
}

/// The memory that was free meanwhile is in use now: the old limit is refused, and nothing else is held up by that.
#[test]
fn what_cannot_be_set_back_any_more_is_said_and_stops_nobody() {
    needs_root!();
    support::needs_tool!("strace");
    let env = Env::new();
    let id = env.id("stuck");
    if cgroup::is_v2() {
        support::skipped!("cgroup v2 refuses no limit: it reclaims and kills instead");
    }
    let go = env.dir().join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let bundle = env
        .bundle()
        .mount(json!({"destination": "/fill", "type": "tmpfs", "source": "tmpfs"}))
        .bind(&go, "/go", &["bind"])
        .script("cat /go; head -c 40000000 /dev/zero > /fill/it; exec sleep 1000");
    env.started(&bundle, &id);
    let pid = env.pid(&id);
    env.run(["update", "--memory=16m", "--memory-swap=16m", "--pids-limit=10", &id]).success();
    let killed = support::Cmd::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=renameat", "-e", "inject=renameat:error=EIO:signal=KILL:when=2"])
        .arg(env.binary())
        .arg("--root")
        .arg(env.root())
        .args(["update", "--memory=100m", "--memory-swap=100m", "--pids-limit=5", &id])
        .run();
    assert!(!killed.status.success(), "{killed}");
    fs::write(&go, "").unwrap();
    let used = cgroup::folder(pid, "memory").join("memory.usage_in_bytes");
    support::until(support::command::DEADLINE, "memory in use", || {
        fs::read_to_string(&used).is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|used| used > 40_000_000))
    });
    env.run(["recover"]).success().says("a limit could not be set back");
    assert_eq!(limit(pid, "pids"), "10", "the others were");
    env.run(["pause", &id]).success();
    env.run(["delete", "--force", &id]).success();
}

/// A cgroup that is idle has no weight: the kernel forgets the one that it had, and takes no other.
#[test]
fn the_weight_survives_being_idle_and_an_update_that_failed() {
    needs_root!();
    let env = Env::new();
    let id = env.id("idle");
    let bundle = sleeper(&env).edit(|config| config["linux"]["resources"]["cpu"] = json!({"shares": 2048}));
    env.started(&bundle, &id);
    let pid = env.pid(&id);
    let weight = || limit(pid, "shares");
    let usual = weight();
    let update = |flags: &[&str]| env.run(["update"].iter().chain(flags).chain(&[id.as_str()]));

    update(&["--cpu-idle=1", "--cpuset-cpus=4095"]).fails("cannot set cpu.cpus");
    assert_eq!((limit(pid, "idle"), weight()), ("0".into(), usual.clone()), "taken back");
    update(&["--cpu-idle=1"]).success();
    update(&["--cpu-idle=0"]).success();
    assert_eq!((limit(pid, "idle"), weight()), ("0".into(), usual.clone()), "idle, and not any more");

    update(&["--cpu-idle=1"]).success();
    update(&["--cpu-idle=0", "--cpu-share=300", "--cpuset-cpus=4095"]).fails("cannot set cpu.cpus");
    assert_eq!(limit(pid, "idle"), "1", "taken back");
    // Kept for when it is idle no more.
    update(&["--cpu-share=4096"]).success();
    assert_eq!(limit(pid, "idle"), "1");
    update(&["--cpu-share=8192", "--cpuset-cpus=4095"]).fails("cannot set cpu.cpus");
    update(&["--cpu-idle=0"]).success();
    let twice = weight();
    update(&["--cpu-share=4096"]).success();
    assert_eq!((limit(pid, "idle"), &weight()), ("0".into(), &twice));
    assert_ne!(twice, usual);
    update(&["--cpu-idle=1", "--cpu-share=2048"]).success();
    update(&["--cpu-idle=0"]).success();
    assert_eq!(weight(), usual);
    update(&["--cpu-idle=1"]).success();
    update(&["--cpu-idle=0", "--cpu-share=4096"]).success();
    assert_eq!(weight(), twice);
    env.run(["delete", "--force", &id]).success();
}

/// As v1 has it, where it is one limit.
#[test]
fn a_limit_on_memory_alone_leaves_the_one_on_memory_and_swap_together() {
    needs_root!();
    let env = Env::new();
    let id = env.id("swap");
    env.started(&sleeper(&env), &id);
    let pid = env.pid(&id);
    if !has_swap(pid) {
        env.run(["delete", "--force", &id]).success();
        support::skipped!("this kernel does not count swap");
    }
    let both = || (limit(pid, "memory"), limit(pid, "memory and swap"));
    env.run(["update", "--memory=64m", "--memory-swap=128m", &id]).success();
    env.run(["update", "--memory=96m", &id]).success();
    assert_eq!(both(), ((96 * MIB).to_string(), (128 * MIB).to_string()));
    env.run(["update", "--memory=256m", &id]).fails("memory");
    assert_eq!(both(), ((96 * MIB).to_string(), (128 * MIB).to_string()));
    env.run(["delete", "--force", &id]).success();
}
