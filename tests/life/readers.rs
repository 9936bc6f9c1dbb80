//! Readers take no lock and heal nothing: what they say is true all the same, whoever changes or loses what they read.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;
use support::command::DEADLINE;
use support::process::send;
use support::{Bundle, Env, needs_root, until};

/// A bundle whose creation waits, in a hook, until the file `go` is there; `begun` says that it waits.
fn waiting(env: &Env, bundle: Bundle) -> Bundle {
    let (begun, go) = (env.dir().join("begun"), env.dir().join("go"));
    let script = format!("touch {}; while ! test -e {}; do sleep 0.02; done", begun.display(), go.display());
    bundle.edit(|config| {
        let path = ["PATH=/usr/bin:/bin"];
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": path}]});
    })
}

fn begun(env: &Env) {
    until(DEADLINE, "hook of the creation", || env.dir().join("begun").exists());
}

#[test]
fn a_creation_whose_maker_died_before_it_published_anything_is_not_told_as_going_on() {
    needs_root!();
    let env = Env::new();
    let id = env.id("orphan");
    let create = env.create(&waiting(&env, env.bundle()), &id).spawn();
    begun(&env);
    assert_eq!(env.status(&id), "creating");
    fs::remove_file(env.root().join("sandboxes").join(&id).join("sandbox.json")).unwrap();
    assert_eq!(env.status(&id), "creating", "its maker lives");
    send(create.pid(), Signal::SIGKILL);
    create.finish(DEADLINE);
    assert_eq!(env.status(&id), "stopped");
    env.run(["list"]).success().says("stopped");
    env.run(["kill", &id]).fails("container not running");
    assert_eq!(env.wait(&id), 137);
    fs::write(env.dir().join("go"), "").unwrap();
    env.run(["recover"]).code(0).says(&id);
    env.gone(&id);
}

#[test]
fn a_wait_that_begins_before_the_sandbox_is_made_has_its_status() {
    needs_root!();
    let env = Env::new();
    let id = env.id("early");
    let create = env.create(&waiting(&env, env.bundle().script("exit 7")), &id).spawn();
    begun(&env);
    let waits: Vec<_> = (0..3).map(|_| env.cmd(["wait", &id]).spawn()).collect();
    for wait in &waits {
        until(DEADLINE, "wait that looks at the supervisor", || connected(wait.pid()));
    }
    fs::write(env.dir().join("go"), "").unwrap();
    create.finish(DEADLINE).success();
    env.run(["start", &id]).success();
    for wait in waits {
        wait.finish(DEADLINE).success().prints("7\n");
    }
    env.delete(&id);
}

#[test]
fn a_wait_whose_sandbox_is_deleted_says_that_it_was_killed() {
    needs_root!();
    let env = Env::new();
    let id = env.id("deleted");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let waits: Vec<_> = (0..4).map(|_| env.cmd(["wait", &id]).spawn()).collect();
    for wait in &waits {
        until(DEADLINE, "wait that asks the supervisor", || connected(wait.pid()));
    }
    env.run(["delete", "--force", &id]).success();
    for wait in waits {
        wait.finish(DEADLINE).success().prints("137\n");
    }
}

/// Asks a supervisor something, or watches a process.
fn connected(pid: i32) -> bool {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut to = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    to.any(|to| to.to_string_lossy().starts_with("socket:") || to.to_string_lossy().contains("pidfd"))
}

#[test]
fn nobody_is_told_half_of_a_deletion() {
    needs_root!();
    let env = Env::new();
    let id = env.id("half");
    let bundle = env.bundle().script("exit 7");
    let (root, binary) = (env.root().to_owned(), env.binary().to_owned());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let outcome = support::Cmd::new(&binary).arg("--root").arg(&root).args(["state", &id]).run();
                    if !outcome.status.success() {
                        outcome.fails("does not exist");
                        continue;
                    }
                    let state = outcome.json();
                    let told = (&state["exit"]["code"], &state["exit"]["inferred"]);
                    assert!(state["exit"].is_null() || told == (&json!(7), &json!(false)), "{state}");
                }
            });
        }
        for _ in 0..15 {
            env.run_bundle(&bundle, &id).run().code(7);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_lost_snapshot_is_not_told_as_a_creation_that_goes_on() {
    needs_root!();
    let env = Env::new();
    let (id, other) = (env.id("lost"), env.id("other"));
    env.created(&env.bundle(), &id);
    env.created(&env.bundle(), &other);
    let snapshot = env.root().join("sandboxes").join(&id).join("sandbox.json");
    fs::remove_file(&snapshot).unwrap();
    env.run(["state", &id]).fails("is lost: `sandkeep recover` writes it again");
    let list = env.run(["list", "--quiet"]).fails("is lost");
    assert_eq!(list.stdout.trim(), other, "one that is lost hides no other");
    env.run(["recover"]).code(0).says("from the store");
    assert_eq!(env.status(&id), "created");
    env.run(["delete", "--force", &id, &other]).success();
}
