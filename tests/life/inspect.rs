//! Commands that show: spec, machine, history, doctor and recover; and `do`, which needs no bundle.

use std::fs;

use serde_json::Value;
use support::{Cmd, Env, needs_root};

#[test]
fn spec_writes_a_bundle_that_only_wants_a_rootfs() {
    let env = Env::new();
    Cmd::new(env.binary()).args(["spec", "--bundle"]).arg(env.dir()).run().success().prints("");
    let config: Value = serde_json::from_str(&fs::read_to_string(env.dir().join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"]["path"], "rootfs");
    Cmd::new(env.binary()).args(["spec", "--bundle"]).arg(env.dir()).run().fails("config.json");
}

#[test]
fn a_rootless_spec_has_a_user_namespace() {
    let env = Env::new();
    Cmd::new(env.binary()).args(["spec", "--rootless", "--bundle"]).arg(env.dir()).run().success();
    let config: Value = serde_json::from_str(&fs::read_to_string(env.dir().join("config.json")).unwrap()).unwrap();
    let kinds: Vec<&str> =
        config["linux"]["namespaces"].as_array().unwrap().iter().filter_map(|ns| ns["type"].as_str()).collect();
    assert!(kinds.contains(&"user") && !kinds.contains(&"network"), "{kinds:?}");
}

#[test]
fn the_machine_is_printed_in_every_format() {
    let env = Env::new();
    let print = |format: &str| Cmd::new(env.binary()).args(["machine", "--format", format]).run().success();
    print("json").json();
    for format in ["table", "json", "dot", "mermaid"] {
        let text = print(format).stdout;
        for word in ["creating", "booted", "running", "paused", "stopped", "pause-requested", "supervisor-gone"] {
            assert!(text.contains(word), "{word} is missing from the {format}:\n{text}");
        }
    }
    assert!(print("dot").stdout.starts_with("digraph"));
    assert!(print("mermaid").stdout.contains("stateDiagram"));
    let committed = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/state-schema/transitions.json"));
    if let Ok(committed) = committed {
        assert_eq!(print("json").json(), serde_json::from_str::<Value>(&committed).unwrap());
    }
}

#[test]
fn history_tells_the_life_of_a_sandbox_after_it_is_gone() {
    needs_root!();
    let env = Env::new();
    let id = env.id("told");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["pause", &id]).success();
    env.run(["resume", &id]).success();
    env.run(["kill", &id, "KILL"]).success();
    env.wait(&id);
    env.delete(&id);
    let events = [
        "create-requested",
        "launch-requested",
        "start-requested",
        "pause-requested",
        "resume-requested",
        "delete-requested",
    ];
    for args in [&["history", &id][..], &["history"]] {
        let text = env.run(args).success().stdout;
        let mut from = 0;
        for event in events {
            let at =
                text[from..].find(event).unwrap_or_else(|| panic!("no {event} after the one before it in\n{text}"));
            from += at;
        }
    }
    assert!(!env.run(["history", &env.id("other")]).stdout.contains("create-requested"));
}

#[test]
fn doctor_and_recover_have_nothing_to_say_of_a_root_that_was_never_used() {
    needs_root!();
    let env = Env::new();
    env.run(["doctor"]).success();
    env.run(["recover"]).success();
    env.run(["list"]).success();
    assert!(!env.root().exists(), "a look has made a root");
}

#[test]
fn recover_says_what_it_did_and_does_it_once() {
    needs_root!();
    let env = Env::new();
    let id = env.id("healed");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    support::process::send(env.supervisor(&id), nix::sys::signal::Signal::SIGKILL);
    support::until(support::command::DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    env.run(["recover", "--dry-run"]).code(0).says(&id);
    let first = env.run(["recover", "--format", "json", &id]).code(0);
    assert!(first.json().to_string().contains(&id), "{first}");
    let second = env.run(["recover", "--format", "json"]).success();
    assert!(!second.json().to_string().contains("supervisor-gone"), "it was already healed: {second}");
    env.delete(&id);
}

#[test]
fn do_runs_a_command_over_the_host_and_changes_nothing_there() {
    needs_root!();
    let env = Env::new();
    env.run(["do", "--", "echo", "hello"]).success().prints("hello\n");
    env.run(["do", "--", "sh", "-c", "exit 7"]).code(7);
    env.run(["do", "--", "no-such-program"]).code(127);
    let marker = format!("/etc/{}", env.tag());
    let script = format!("echo x > {marker} && cat {marker}");
    assert!(!env.run(["do", "--", "sh", "-c", &script]).status.success());
    env.run(["do", "--writable", "--", "sh", "-c", &script]).success().prints("x\n");
    assert!(!fs::exists(&marker).unwrap(), "it was written on the host");
}

#[test]
fn do_shares_and_chooses_its_root_and_its_network() {
    needs_root!();
    let env = Env::new();
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let (rw, ro) = (format!("{}:/mnt:rw", shared.display()), format!("{}:/mnt", shared.display()));
    env.run(["do", "--share", &rw, "--", "sh", "-c", "echo from inside > /mnt/file"]).success();
    assert_eq!(fs::read_to_string(shared.join("file")).unwrap(), "from inside\n");
    env.run(["do", "--share", &ro, "--", "sh", "-c", "cat /mnt/file; ! touch /mnt/other 2>/dev/null"])
        .success()
        .prints("from inside\n");
    let bundle = env.bundle();
    let rootfs = bundle.rootfs();
    env.cmd(["do", "--rootfs"]).arg(&rootfs).args(["--", "ls", "/"]).run().success().says("bin\n");
    let lone = env.run(["do", "--network", "none", "--", "sh", "-c", "ls /sys/class/net"]).success();
    assert_eq!(lone.stdout.trim(), "lo");
    let host = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    let inside = env.run(["do", "--network", "host", "--", "readlink", "/proc/self/ns/net"]).success();
    assert_eq!(inside.stdout.trim(), host);
}
