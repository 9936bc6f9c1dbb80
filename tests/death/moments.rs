//! An init that hangs, or dies, while it sets itself up: whoever waits for it is told what it was doing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::{Bundle, Env, needs_root, process, until};

/// With a hook that sends a signal to the init once its mounts are there, and says then which process the hook is.
fn with_signal_from_hook(env: &Env, signal: &str) -> (Bundle, PathBuf) {
    let told = env.dir().join("told");
    let script = format!(
        "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); kill -{signal} $pid; echo $$ > {0}.new; mv {0}.new {0}",
        told.display()
    );
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    (env.bundle().edit(|config| config["hooks"]["createRuntime"] = hook), told)
}

#[test]
fn an_init_that_hangs_behind_its_mounts_is_not_said_to_hang_in_anything_else() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hangs");
    let (bundle, told) = with_signal_from_hook(&env, "STOP");
    let running = env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
    until(Duration::from_secs(20), "end of the hook", || {
        std::fs::read_to_string(&told).is_ok_and(|pid| !Path::new("/proc").join(pid.trim()).exists())
    });
    process::send(running.pid(), Signal::SIGTERM);
    let outcome = running.finish(Duration::from_secs(20));
    outcome.fails_with(128 + Signal::SIGTERM as i32, &["making the rootfs the root: interrupted by SIGTERM"]);
    env.gone(&id);
}

#[test]
fn one_that_is_killed_there_is_told_so() {
    needs_root!();
    let env = Env::new();
    let id = env.id("dies");
    let (bundle, _) = with_signal_from_hook(&env, "KILL");
    let outcome = env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg(&id).run();
    outcome.fails_with(1, &["was killed while it set itself up (making the rootfs the root)"]);
    env.gone(&id);
}
