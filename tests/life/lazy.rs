//! What a command reads of a sandbox that is in order: no more than what it needs itself. To heal takes the kept
//! configuration and the ledger of its hooks; nobody looks at them who finds nothing to heal.

use std::fs;

use serde_json::json;
use support::{Cmd, Env, Lines, needs_root, needs_tool};

/// How often this command opens the kept configuration, and how often the ledger of the hooks.
fn opened(env: &Env, command: &[&str]) -> (usize, usize) {
    let trace = env.dir().join("opens");
    let strace = Cmd::new("strace").args(["-f", "-qq", "-e", "trace=openat,openat2", "-o"]).arg(&trace);
    strace.arg(env.binary()).arg("--root").arg(env.root()).args(command).run().success();
    let text = fs::read_to_string(&trace).expect("strace writes its trace");
    let count = |name: &str| text.lines().filter(|line| line.contains(&format!("/{name}\""))).count();
    assert!(count("lock") > 0, "whoever changes a sandbox opens its lock: {text}");
    (count("config.json"), count("hooks"))
}

#[test]
fn who_finds_nothing_to_heal_reads_nothing_for_it() {
    needs_root!();
    needs_tool!("strace");
    let env = Env::new();
    let id = env.id("lazy");
    let bundle = env.bundle().script("echo up; exec sleep 1000");
    let bundle = bundle.edit(|config| config["hooks"] = json!({"poststop": [{"path": "/bin/true"}]}));
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    assert_eq!(opened(&env, &["start", &id]), (1, 0), "start asks which hooks it has to run");
    lines.until("up");
    assert_eq!(opened(&env, &["pause", &id]), (0, 0));
    assert_eq!(opened(&env, &["resume", &id]), (0, 0));
    env.run(["kill", &id, "KILL"]).success();
    env.wait(&id);
    let (configuration, _) = opened(&env, &["delete", &id]);
    assert_eq!(configuration, 1, "delete asks which hooks it has to run");
    env.gone(&id);
}
