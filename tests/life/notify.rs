//! NOTIFY_SOCKET: a container tells the host's service manager when it is ready, and how it is.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::command::DEADLINE;
use support::ordinary::{Further, chown_to_user};
use support::{Bundle, Env, Manager, Ordinary, Outcome, needs_root, needs_tool, probe, until};

/// A service that says these words (tests/probe/notify.rs), as an ordinary user.
fn service(env: &Env, words: &[&str]) -> Bundle {
    says(env.bundle(), words).edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}))
}

fn says(bundle: Bundle, words: &[&str]) -> Bundle {
    fs::copy(probe::path(), bundle.rootfs().join("probe")).unwrap();
    bundle.args(&[&["/probe", "notify"], words].concat())
}

fn manager(env: &Env) -> Manager {
    Manager::at(&env.dir().join("manager.sock"))
}

#[test]
fn a_foreground_run_stays_the_process_that_is_watched_and_passes_on_all_that_a_service_says_of_itself() {
    needs_root!();
    let (env, id) = (Env::new(), "notified");
    let words =
        ["where", "say:STATUS=begins", "say:READY=1\\nMAINPID=1\\nSTATUS=goes", "say:WATCHDOG=1", "say:STOPPING=1"];
    let (manager, id) = (manager(&env), env.id(id));
    let bundle = service(&env, &words);
    let run = env.run_bundle(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).spawn();
    let pid = run.pid();
    let ready = format!("READY=1\nSTATUS=goes\nMAINPID={pid}");
    run.finish(DEADLINE).success().prints("NOTIFY_SOCKET=/run/notify/notify.sock\n");
    assert_eq!(manager.has_heard(), ["STATUS=begins", &ready, "WATCHDOG=1", "STOPPING=1"]);
}

#[test]
fn start_waits_until_the_service_is_ready_and_the_supervisor_goes_on_without_it() {
    needs_root!();
    let (env, manager) = (Env::new(), Manager::named("sandkeep-test-notify-start"));
    let id = env.id("notified-start");
    let words =
        ["say:STATUS=1", "wait:/go", "say:READY=1", "wait:/on", "say:RELOADING=1", "say:READY=1", "say:STOPPING=1"];
    let bundle = service(&env, &words);
    let create = env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address());
    create.stdout(std::process::Stdio::null()).run().success();
    let init = env.pid(&id);
    let start = env.cmd(["start", &id]).env("NOTIFY_SOCKET", manager.address()).spawn();
    assert_eq!(manager.hears(), "STATUS=1");
    assert!(Path::new(&format!("/proc/{}", start.pid())).exists());
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    let ready = format!("READY=1\nMAINPID={init}");
    assert_eq!(manager.hears(), ready, "by the supervisor");
    assert_eq!(manager.hears(), ready, "by start, whose cgroup the manager may know");
    assert_eq!(manager.hears(), "BARRIER=1");
    start.finish(DEADLINE).success();
    fs::write(bundle.rootfs().join("on"), "").unwrap();
    // Whom to watch it has been told.
    assert_eq!(manager.hears_until("STOPPING"), ["RELOADING=1", "READY=1", "STOPPING=1"]);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_detached_run_returns_when_the_service_is_ready_and_what_was_its_client_may_be_killed_before() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("notified-detached"));
    let bundle = service(&env, &["say:STATUS=1", "wait:/go", "say:READY=1", "wait:/never"]);
    let detached = || {
        let run = env.cmd(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
        run.env("NOTIFY_SOCKET", manager.address()).stdout(std::process::Stdio::null()).spawn()
    };
    // The client dies while it waits.
    let run = detached();
    assert_eq!(manager.hears(), "STATUS=1");
    assert!(run.finish_or_kill(Duration::from_millis(1)).is_err(), "it should wait");
    fs::write(bundle.rootfs().join("go"), "").unwrap();
    assert_eq!(manager.hears(), format!("READY=1\nMAINPID={}", env.pid(&id)));
    env.run(["delete", "--force", &id]).success();
    // And where nobody kills it.
    detached().finish(DEADLINE).success();
    assert_eq!(manager.hears_until("BARRIER").len(), 4);
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_service_that_ends_without_being_ready_keeps_nobody_waiting() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("notified-never"));
    let bundle = service(&env, &["say:STATUS=1", "say:ERRNO=5"]);
    env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).run().success();
    // Who started it is told, and has what was asked for.
    let told = |outcome: Outcome| {
        let outcome = outcome.fails_with(0, &["warning", &id, "has ended before it was ready", "with exit code 0"]);
        assert!(outcome.stdout.is_empty(), "{outcome}");
        env.run(["delete", "--force", &id]).success();
    };
    told(env.cmd(["start", &id]).env("NOTIFY_SOCKET", manager.address()).run());
    assert_eq!(manager.hears_until("ERRNO"), ["STATUS=1", "ERRNO=5"]);
    assert_eq!(manager.has_heard(), Vec::<String>::new());
    let run = env.cmd(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    told(run.env("NOTIFY_SOCKET", manager.address()).stdin(std::process::Stdio::null()).run());
}

#[test]
fn one_that_is_killed_or_deleted_before_it_is_ready_is_told_of() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("notified-killed"));
    let bundle = service(&env, &["say:STATUS=1", "wait:/never"]);
    let started = || {
        env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).run().success();
        let start = env.cmd(["start", &id]).env("NOTIFY_SOCKET", manager.address()).spawn();
        assert_eq!(manager.hears_until("STATUS"), ["STATUS=1"]);
        // The service may speak before `start` has the supervisor's answer.
        until(DEADLINE, "running sandbox", || env.status(&id) == "running");
        start
    };
    let start = started();
    env.run(["kill", &id, "KILL"]).success();
    start.finish(DEADLINE).fails_with(0, &["has ended before it was ready", "with exit code 137"]);
    env.run(["delete", &id]).success();
    let start = started();
    support::process::send(env.supervisor(&id), Signal::SIGKILL);
    start.finish(DEADLINE).fails_with(0, &["has ended before it was ready", "with exit code 137"]);
    env.run(["delete", &id]).success();
    let start = started();
    env.run(["delete", "--force", &id]).success();
    start.finish(DEADLINE).fails_with(0, &["before it was ready"]);
}

/// As long as the container wants: so that is ended by whoever does not want to wait.
#[test]
fn a_signal_ends_the_wait_for_a_service_and_says_that_it_runs_on() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("notified-interrupted"));
    let bundle = service(&env, &["say:STATUS=1", "wait:/never"]);
    for command in ["start", "run"] {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            let waits = match command {
                "start" => {
                    env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).run().success();
                    env.cmd(["start", &id])
                }
                _ => env.cmd(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id),
            };
            let waits = waits.env("NOTIFY_SOCKET", manager.address()).spawn();
            assert_eq!(manager.hears_until("STATUS"), ["STATUS=1"]);
            until(DEADLINE, "running sandbox", || env.status(&id) == "running");
            support::process::send(waits.pid(), signal);
            waits.finish(DEADLINE).fails_with(128 + signal as i32, &[signal.as_str(), &id, "the container runs on"]);
            assert_eq!(env.status(&id), "running");
            env.run(["delete", "--force", &id]).success();
        }
    }
}

#[test]
fn whoever_sets_nothing_gets_nothing_and_exec_gets_none() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("not-notified"));
    let bundle = service(&env, &["where"]);
    for nothing in [None, Some("")] {
        let run = env.run_bundle(&bundle, &id);
        let run = if let Some(value) = nothing { run.env("NOTIFY_SOCKET", value) } else { run };
        run.run().success().prints("NOTIFY_SOCKET=\n");
    }
    assert!(!bundle.rootfs().join("run").exists());
    // Set for start alone, or for create alone: nobody waits for what does not come.
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.created(&bundle, &id);
    env.cmd(["start", &id]).env("NOTIFY_SOCKET", manager.address()).run().success();
    env.run(["delete", "--force", &id]).success();
    env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).run().success();
    env.run(["start", &id]).success();
    let exec = env.cmd(["exec", &id, "sh", "-c", "echo ${NOTIFY_SOCKET-none}"]);
    exec.env("NOTIFY_SOCKET", manager.address()).run().success().prints("none\n");
    assert_eq!(manager.has_heard(), Vec::<String>::new());
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_configuration_that_brings_a_socket_of_its_own_keeps_it() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("own-socket"));
    let bundle = service(&env, &["where"]).edit(|config| config["process"]["env"] = json!(["NOTIFY_SOCKET=/tmp/mine"]));
    let run = env.run_bundle(&bundle, &id).env("NOTIFY_SOCKET", manager.address());
    run.run().success().prints("NOTIFY_SOCKET=/tmp/mine\n");
}

#[test]
fn a_manager_that_is_not_there_is_told_and_stops_nobody() {
    needs_root!();
    let env = Env::new();
    let bundle = service(&env, &["where"]);
    for (number, address) in
        ["/tmp/no/such/sandkeep.sock", "@sandkeep-no-such", "relative", "vsock:2:1"].iter().enumerate()
    {
        let outcome = env.run_bundle(&bundle, &env.id(&format!("gone{number}"))).env("NOTIFY_SOCKET", address).run();
        let outcome = outcome.code(0).prints("NOTIFY_SOCKET=\n");
        assert!(outcome.stderr.contains(address) && outcome.stderr.contains("ready"), "{outcome}");
    }
}

#[test]
fn a_flood_and_what_is_too_long_hurt_nobody() {
    needs_root!();
    let env = Env::new();
    let id = env.id("flood");
    let words = ["huge:4097", "huge:100000", "flood:2000", "say:READY=1", "flood:1000000000"];
    let bundle = service(&env, &words);
    let manager = manager(&env);
    let create = env.create(&bundle, &id).env("NOTIFY_SOCKET", manager.address());
    create.stdout(std::process::Stdio::null()).run().success();
    env.run(["start", &id]).success();
    // The manager does not listen for a while: others are served meanwhile.
    for _ in 0..5 {
        assert_eq!(env.status(&id), "running");
        env.run(["exec", &id, "true"]).success();
    }
    let before = cpu_ticks(env.state(&id)["sandbox"]["supervisorPid"].as_i64());
    let heard = manager.hears_until("READY=1");
    assert_eq!(heard.len(), 2001);
    assert!(heard.iter().all(|text| text.len() <= 4096), "one was cut");
    let after = cpu_ticks(env.state(&id)["sandbox"]["supervisorPid"].as_i64());
    assert!(after - before < 300, "the supervisor spent {} ticks", after - before);
    env.run(["kill", &id, "KILL"]).success();
    until(DEADLINE, "the end is seen", || env.status(&id) == "stopped");
    env.run(["delete", &id]).success();
}

/// User and system time so far, in hundredths of a second; none is known of a process that is not named.
fn cpu_ticks(pid: Option<i64>) -> u64 {
    let Some(pid) = pid else { return 0 };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn the_socket_can_be_sent_to_and_nothing_else_be_done_with_it() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("socket-alone"));
    let script = "cd /run/notify; ls; touch new || rm notify.sock || mv notify.sock x || chmod 0 notify.sock; \
                  grep -c ' /run/notify ro,nosuid,nodev,noexec' /proc/self/mountinfo";
    let outcome = env.run_bundle(&env.bundle().script(script), &id).env("NOTIFY_SOCKET", manager.address()).run();
    let outcome = outcome.code(0).prints("notify.sock\n1\n");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 4, "{outcome}");
}

#[test]
fn it_works_from_a_user_namespace_on_a_tmpfs_and_below_a_read_only_root() {
    needs_root!();
    let env = Env::new();
    let (manager, id) = (manager(&env), env.id("notified-mapped"));
    let bundle = service(&env, &["say:READY=1"]).edit(|config| {
        config["root"]["readonly"] = json!(true);
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        let mapping = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        let run = json!({"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]});
        config["mounts"].as_array_mut().unwrap().push(run);
    });
    // Its root could not make it.
    fs::create_dir(bundle.rootfs().join("run")).unwrap();
    let run = env.run_bundle(&bundle, &id).env("NOTIFY_SOCKET", manager.address()).spawn();
    let pid = run.pid();
    run.finish(DEADLINE).success();
    assert_eq!(manager.has_heard(), [format!("READY=1\nMAINPID={pid}")]);
}

#[test]
fn an_ordinary_users_service_is_heard_too() {
    needs_root!();
    needs_tool!("unshare", "setpriv", "newuidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let id = env.id("notified-rootless");
    let bundle = says(user.bundle(), &["say:READY=1", "wait:/never"]);
    let manager = manager(&env);
    chown_to_user(env.dir());
    let run = user.sandkeep(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    run.env("NOTIFY_SOCKET", manager.address()).stdout(std::process::Stdio::null()).run().success();
    let heard = manager.hears_until("BARRIER");
    assert!(heard[0].starts_with("READY=1\nMAINPID="), "{heard:?}");
    user.sandkeep(["delete", "--force", &id]).run().success();
}
