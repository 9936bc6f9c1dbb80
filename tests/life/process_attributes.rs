//! What a process of a container is given beside its program: as it sees it itself, or as the kernel tells of it.

use std::fs;

use std::path::Path;

use serde_json::{Value, json};
use support::{Bundle, Cmd, Env, Lines, needs_root, needs_tool, skipped};

fn process(bundle: Bundle, name: &str, value: Value) -> Bundle {
    bundle.edit(|config| config["process"][name] = value)
}

/// Runs the bundle; gives what it wrote.
#[track_caller]
fn run(env: &Env, bundle: &Bundle, name: &str) -> String {
    let outcome = env.run_bundle(bundle, &env.id(name)).run().success();
    outcome.stdout.trim().to_owned()
}

/// Field 41 of stat: the policy; 18 and 19: priority and nice (proc(5)); 40: the realtime priority.
fn stat_fields(stat: &str) -> Vec<String> {
    let rest = stat.rsplit_once(") ").expect("a stat line").1;
    rest.split(' ').map(str::to_owned).collect()
}

/// Whether anybody here may, by the word of the kernel.
fn may_be_realtime(policy: &str) -> bool {
    let flag = match policy {
        "1" => "--fifo",
        "2" => "--rr",
        _ => return policy != "6",
    };
    Cmd::new("chrt").args([flag, "1", "true"]).run().status.success()
}

#[test]
fn the_scheduler_is_the_one_that_was_asked_for() {
    needs_root!();
    let env = Env::new();
    for (at, (given, policy, nice, priority)) in [
        (json!({"policy": "SCHED_OTHER", "nice": 5}), "0", "5", "0"),
        (json!({"policy": "SCHED_BATCH", "nice": -3}), "3", "-3", "0"),
        (json!({"policy": "SCHED_IDLE"}), "5", "0", "0"),
        (json!({"policy": "SCHED_FIFO", "priority": 7}), "1", "0", "7"),
        (json!({"policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), "2", "0", "3"),
        (
            json!({"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 10000000, "period": 20000000}),
            "6",
            "0",
            "0",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // The application itself looks: what it forks is reset, or (with a deadline) may not be forked at all.
        let bundle = process(env.bundle().args(&["cat", "/proc/self/stat"]), "scheduler", given.clone());
        // A v1 cpu cgroup of its own has no share of realtime to give (CONFIG_RT_GROUP_SCHED).
        let run = env.cmd(["--cgroup-manager", "disabled", "run", "--bundle"]).arg(&bundle.dir);
        let outcome = run.arg(env.id(&format!("sched{at}"))).run();
        if !outcome.status.success() && !may_be_realtime(policy) {
            eprintln!("skipped: nobody gets the policy of {given} in the cgroup that this test runs in");
            outcome.fails_with(1, &["process.scheduler"]);
            continue;
        }
        let fields = stat_fields(&outcome.success().stdout);
        assert_eq!((&*fields[38], &*fields[16], &*fields[37]), (policy, nice, priority), "{given}");
    }
}

/// On v1 a parent without any has no realtime to give to a container.
#[test]
fn realtime_is_given_below_parents_of_our_making_and_where_it_cannot_be_it_is_said_what_to_write() {
    needs_root!();
    let env = Env::new();
    let top = Path::new("/sys/fs/cgroup/cpu");
    if !top.join("cpu.rt_runtime_us").exists() || !may_be_realtime("2") {
        support::skipped!("needs the v1 cpu controller with CONFIG_RT_GROUP_SCHED, and realtime to give");
    }
    let bundle = |path: &str, runtime: u64| {
        let bundle = process(
            env.bundle().args(&["cat", "/proc/self/stat"]),
            "scheduler",
            json!({"policy": "SCHED_RR", "priority": 3}),
        );
        bundle.edit(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{}{path}", env.tag()));
            config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": runtime, "realtimePeriod": 1_000_000});
        })
    };
    let stat = run(&env, &bundle("/a/one", 1000), "realtime");
    // The parents are left, for whoever comes next.
    let theirs = top.join(env.tag()).join("theirs");
    fs::create_dir(&theirs).unwrap();
    let outcome = env.run_bundle(&bundle("/theirs/c", 1000), &env.id("refused")).run();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
        let parent = hierarchy.unwrap().path().join(env.tag());
        for name in ["a", "theirs", ""] {
            let _ = fs::remove_dir(parent.join(name));
        }
    }
    assert_eq!(stat_fields(&stat)[38], "2");
    let file = theirs.join("cpu.rt_runtime_us");
    outcome.fails_with(1, &["cpu.realtimeRuntime", "0 of 1000000", &file.display().to_string()]);
}

#[test]
fn io_priority_oom_score_umask_and_limits_are_set() {
    needs_root!();
    let env = Env::new();
    let script = "ionice -p $$; cat /proc/self/oom_score_adj; umask; ulimit -n; ulimit -Hn; id -G";
    let bundle = env.bundle().script(script).edit(|config| {
        let process = &mut config["process"];
        process["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
        process["oomScoreAdj"] = json!(345);
        process["user"] =
            json!({"uid": 0, "gid": 0, "umask": 0o27, "additionalGids": [10, 20], "username": "nobody-asks"});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    });
    let said = run(&env, &bundle, "attributes");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["idle", "345", "0027", "100", "200", "0 10 20"]);
}

#[test]
fn a_limit_that_we_may_not_raise_is_named() {
    needs_root!();
    let env = Env::new();
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    let (limit, bundle) = (hard.saturating_add(1), env.bundle());
    let bundle = process(bundle, "rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]));
    let outcome = env.run_bundle(&bundle, &env.id("limit")).run();
    if !outcome.status.success() {
        outcome.fails_with(1, &["RLIMIT_NOFILE", &limit.to_string(), "not permitted"]);
    }
}

#[test]
fn a_personality_has_a_domain_and_flags() {
    needs_root!();
    let env = Env::new();
    let personality = |value: Value| env.bundle().edit(|config| config["linux"]["personality"] = value);
    let bundle = personality(json!({"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]}));
    let bundle = bundle.script("cat /proc/self/personality; uname -m");
    let said = run(&env, &bundle, "persona");
    assert!(said.starts_with("00040008\n"), "{said}");
    assert!(cfg!(not(target_arch = "x86_64")) || said.ends_with("i686"), "{said}");
    let bundle = personality(json!({"domain": "LINUX", "flags": ["NONE_SUCH"]}));
    env.run_bundle(&bundle, &env.id("flag")).run().fails_with(1, &["linux.personality.flags[0]", "NONE_SUCH"]);
}

#[test]
fn memory_comes_from_the_nodes_of_the_policy_also_in_exec() {
    needs_root!();
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skipped!("this kernel has no NUMA policies to be seen");
    }
    let env = Env::new();
    let id = env.id("numa");
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let bundle = env.bundle().script("cat /proc/self/numa_maps; exec sleep 1000");
    let bundle = bundle.edit(|config| config["linux"]["memoryPolicy"] = policy);
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("bind=static:0");
    env.run(["exec", &id, "cat", "/proc/self/numa_maps"]).success().says("bind=static:0");
    env.run(["delete", "--force", &id]).success();

    let far = json!({"mode": "MPOL_BIND", "nodes": "1023", "flags": ["MPOL_F_STATIC_NODES"]});
    let bundle = env.bundle().edit(|config| config["linux"]["memoryPolicy"] = far);
    env.run_bundle(&bundle, &env.id("far")).run().fails("linux.memoryPolicy");
}

#[test]
fn exec_runs_on_the_cpus_that_it_was_given() {
    needs_root!();
    let allowed = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned();
    if allowed.parse::<usize>().is_ok() {
        skipped!("this machine has one CPU to run on");
    }
    let last = allowed.rsplit(['-', ',']).next().unwrap().to_owned();
    let env = Env::new();
    let id = env.id("affine");
    // Of the configuration: only what is executed later, not the application itself.
    let affinity = |final_cpus: &str| json!({"initial": last, "final": final_cpus});
    let script = "grep Cpus_allowed_list /proc/self/status; exec sleep 1000";
    let bundle = process(env.bundle().script(script), "execCPUAffinity", affinity(&last));
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    assert_eq!(lines.until("Cpus_allowed_list").split_whitespace().last(), Some(allowed.as_str()));
    let look = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    env.run([&["exec", &id], &look[..]].concat()).success().says(&format!("\t{last}\n"));
    let file = env.dir().join("process.json");
    let with = |affinity: Value| json!({"args": look, "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity});
    fs::write(&file, with(affinity("0")).to_string()).unwrap();
    env.run(["exec", "--process", file.to_str().unwrap(), &id]).success().says("\t0\n");
    fs::write(&file, with(json!({"final": "8191"})).to_string()).unwrap();
    let refused = env.run(["exec", "--process", file.to_str().unwrap(), &id]);
    assert!(!refused.status.success() && refused.stderr.contains("process.execCPUAffinity.final"), "{refused}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_working_directory_that_is_not_there_is_made() {
    needs_root!();
    let env = Env::new();
    let bundle = process(env.bundle().script("pwd; stat -c %a:%u ."), "cwd", json!("/srv/deep/inside"));
    let bundle = bundle.edit(|config| config["root"]["readonly"] = json!(true));
    assert_eq!(run(&env, &bundle, "cwd"), "/srv/deep/inside\n755:0");
}

#[test]
fn labels_for_a_kernel_without_their_module_are_refused_by_name() {
    needs_root!();
    let env = Env::new();
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y");
    for (at, (field, there)) in
        [("apparmorProfile", enabled), ("selinuxLabel", std::path::Path::new("/sys/fs/selinux/enforce").exists())]
            .into_iter()
            .enumerate()
    {
        if there {
            eprintln!("skipped: this kernel has what process.{field} asks for");
            continue;
        }
        let bundle = process(env.bundle(), field, json!("some_label"));
        let needles = [&format!("process.{field}"), "some_label", "this kernel has no"];
        env.run_bundle(&bundle, &env.id(&format!("label{at}"))).run().fails_with(1, &needles);
        // Empty is as good as absent.
        let bundle = process(env.bundle(), field, json!(""));
        env.run_bundle(&bundle, &env.id(&format!("empty{at}"))).run().success();
    }
}

#[test]
fn activated_sockets_come_first_and_the_application_is_told_as_itself() {
    needs_root!();
    let env = Env::new();
    let script = "echo $LISTEN_FDS $LISTEN_PID $$ $LISTEN_FDNAMES; cat <&3; cat <&4";
    let bundle = env.bundle().script(script);
    let (three, four) = (env.dir().join("three"), env.dir().join("four"));
    fs::write(&three, "three\n").unwrap();
    fs::write(&four, "four\n").unwrap();
    let activate = |pid: &str, more: &str, id: &str| {
        let command = format!(
            "exec 3<{} 4<{}; export LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID={pid}; exec \"$0\" \"$@\"",
            three.display(),
            four.display()
        );
        let shell = Cmd::new("/bin/sh").args(["-c", &command]).arg(env.binary()).arg("--root").arg(env.root());
        shell.args(["run", "--preserve-fds", more, "--bundle"]).arg(&bundle.dir).arg(env.id(id)).run()
    };
    activate("$$", "1", "active").success().prints("1 1 1 web\nthree\nfour\n");
    // Meant for somebody else, and only handed on.
    let outcome = activate("1", "2", "other").success();
    assert_eq!(outcome.stdout, "1\nthree\nfour\n");
}

#[test]
fn cache_shares_need_a_kernel_that_has_them() {
    needs_root!();
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        skipped!("this machine has a resctrl file system, which is not ours to change");
    }
    let env = Env::new();
    let bundle = env.bundle().edit(|config| config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=ff"}));
    env.run_bundle(&bundle, &env.id("rdt")).run().fails_with(1, &["linux.intelRdt", "resctrl"]);
}

/// A pair of virtual interfaces of this test; removed with either of them.
struct Pair {
    one: String,
    other: String,
}

impl Pair {
    fn new(env: &Env) -> Option<Pair> {
        let tag: String = env.tag().chars().filter(char::is_ascii_alphanumeric).rev().take(8).collect();
        let pair = Pair { one: format!("sk{tag}a"), other: format!("sk{tag}b") };
        let add = ["link", "add", &pair.one, "type", "veth", "peer", "name", &pair.other];
        Cmd::new("ip").args(add).run().status.success().then_some(pair)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in [&self.one, &self.other] {
            Cmd::new("ip").args(["link", "delete", name]).run();
        }
    }
}

#[test]
fn an_interface_of_the_host_comes_with_its_addresses_under_its_new_name() {
    needs_root!();
    needs_tool!("ip");
    let env = Env::new();
    let id = env.id("netdev");
    let Some(pair) = Pair::new(&env) else { skipped!("no virtual interfaces can be made here") };
    for address in ["10.199.7.2/24", "fd00:199::7/64"] {
        Cmd::new("ip").args(["address", "add", address, "dev", &pair.one]).run().code(0);
    }
    let bundle = env.bundle().script("ip address show dev inside; ip link show dev inside");
    let bundle = bundle.edit(|config| config["linux"]["netDevices"] = json!({pair.one.as_str(): {"name": "inside"}}));
    let said = run(&env, &bundle, "netdev");
    for needle in ["inet 10.199.7.2/24", "inet6 fd00:199::7/64", "inside", "UP"] {
        assert!(said.contains(needle), "{needle} is missing:\n{said}");
    }
    env.gone(&id);
}

#[test]
fn a_create_that_fails_gives_the_interface_back_as_it_was() {
    needs_root!();
    needs_tool!("ip");
    let env = Env::new();
    let Some(pair) = Pair::new(&env) else { skipped!("no virtual interfaces can be made here") };
    Cmd::new("ip").args(["address", "add", "10.199.8.2/24", "dev", &pair.one]).run().code(0);
    let devices = json!({pair.one.as_str(): {"name": "inside"}});
    let bundle = env.bundle().edit(|config| {
        config["linux"]["netDevices"] = devices;
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    env.run_bundle(&bundle, &env.id("back")).run().fails_with(1, &["createRuntime"]);
    let shown = Cmd::new("ip").args(["address", "show", "dev", &pair.one]).run().code(0);
    assert!(shown.stdout.contains("inet 10.199.8.2/24"), "{shown}");

    // Nor does one that is there keep another from being given back.
    let bundle = env.bundle().edit(|config| {
        config["linux"]["netDevices"] =
            json!({pair.one.as_str(): {"name": "inside"}, pair.other.as_str(): {"name": "lo"}});
    });
    env.run_bundle(&bundle, &env.id("lo")).run().fails_with(1, &["linux.netDevices", &pair.other]);
    Cmd::new("ip").args(["link", "show", "dev", &pair.one]).run().code(0);
    Cmd::new("ip").args(["link", "show", "dev", &pair.other]).run().code(0);

    let bundle = env.bundle().edit(|config| config["linux"]["netDevices"] = json!({"nonesuch0": {}}));
    env.run_bundle(&bundle, &env.id("none")).run().fails_with(1, &["linux.netDevices.nonesuch0"]);
}
