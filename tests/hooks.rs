//! Hooks that take long, hang, or come when half of the bundle is gone.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Env, Lines, needs_root};
use serde_json::{Value, json};

fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
}

#[test]
fn a_start_container_hook_may_take_longer_than_any_call() {
    needs_root!();
    let env = Env::new();
    let id = env.id("slow");
    let bundle = env.bundle().script("sleep 1000");
    let bundle = bundle.edit(|config| config["hooks"] = json!({"startContainer": hook("sleep 11")}));
    env.created(&bundle, &id);
    env.run(["start", &id]).success();
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

#[test]
fn a_poststart_hook_that_hangs_keeps_nobody_from_deleting() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hang");
    let pipe = env.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut lines, out) = Lines::pipe();
    let said = env.dir().join("said");
    let script = format!("echo hangs > {}; exec cat {}", said.display(), pipe.display());
    let bundle = env.bundle().script("echo up; sleep 1000");
    let bundle = bundle.edit(|config| config["hooks"] = json!({"poststart": hook(&script)}));
    env.create(&bundle, &id).stdout(out).run().success();
    let start = env.cmd(["start", &id]).spawn();
    lines.until("up");
    common::process::until(Duration::from_secs(10), "poststart hook", || said.exists());
    let began = Instant::now();
    env.run(["delete", "--force", &id]).success();
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the lock: {:?}", began.elapsed());
    env.gone(&id);
    // The hook reads the end of its pipe now, and start ends with it.
    drop(fs::File::options().write(true).open(&pipe).unwrap());
    start.finish(Duration::from_secs(10)).success();
    env.assert_clean();
}

#[test]
fn poststop_hooks_run_when_the_rootfs_is_gone() {
    needs_root!();
    let env = Env::new();
    let id = env.id("rootless");
    let said = env.dir().join("said");
    let bundle = env.bundle().script("sleep 1000");
    let script = format!("echo stopped > {}", said.display());
    let bundle = bundle.edit(|config| config["hooks"] = json!({"poststop": hook(&script)}));
    env.created(&bundle, &id);
    fs::rename(bundle.rootfs(), bundle.dir.join("moved")).unwrap();
    env.run(["start", &id]).success();
    env.run(["delete", "--force", &id]).success();
    assert_eq!(fs::read_to_string(&said).unwrap(), "stopped\n");
    env.assert_clean();
}
