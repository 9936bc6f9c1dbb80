//! Many sandboxes at once, and many commands at one sandbox.

use std::os::unix::fs::OpenOptionsExt;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::process::send;
use support::{Env, Lines, needs_root, until};

const AT_ONCE: usize = 20;

#[test]
fn twenty_sandboxes_are_made_run_and_deleted_by_twenty_processes() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("exit 7").dir;
    let (root, binary) = (env.root().to_owned(), env.binary().to_owned());
    let script = "\"$0\" --root \"$1\" create --bundle \"$2\" \"$3\" && \"$0\" --root \"$1\" start \"$3\" && \
                  test \"$(\"$0\" --root \"$1\" wait \"$3\")\" = 7 && \"$0\" --root \"$1\" delete \"$3\"";
    let ready = Barrier::new(AT_ONCE);
    thread::scope(|scope| {
        for number in 0..AT_ONCE {
            let (ready, env, bundle, root, binary) = (&ready, env.id(&format!("p{number}")), &bundle, &root, &binary);
            scope.spawn(move || {
                ready.wait();
                let shell = support::Cmd::new("sh").args(["-ec", script]).arg(binary).arg(root).arg(bundle).arg(env);
                shell.deadline(Duration::from_secs(120)).run().success();
            });
        }
    });
    env.run(["doctor"]).success();
}

#[test]
fn only_one_of_many_creates_gets_the_id() {
    needs_root!();
    let env = Env::new();
    let id = env.id("one");
    let bundle = env.bundle();
    let creates: Vec<_> = (0..8).map(|_| env.create(&bundle, &id).spawn()).collect();
    let ended: Vec<_> = creates.into_iter().map(|create| create.finish(Duration::from_secs(60))).collect();
    let winners = ended.iter().filter(|outcome| outcome.status.success()).count();
    assert_eq!(winners, 1);
    for loser in ended.into_iter().filter(|outcome| !outcome.status.success()) {
        loser.fails_with(1, &["exists", &id]);
    }
    assert_eq!(env.status(&id), "created");
    env.delete(&id);
}

#[test]
fn only_one_of_many_starts_starts_it_and_the_application_runs_once() {
    needs_root!();
    let env = Env::new();
    let id = env.id("start");
    let (mut lines, out) = Lines::pipe();
    env.create(&env.bundle().script("echo run; exec sleep 1000"), &id).stdout(out).run().success();
    let starts: Vec<_> = (0..8).map(|_| env.cmd(["start", &id]).spawn()).collect();
    let ended: Vec<_> = starts.into_iter().map(|start| start.finish(Duration::from_secs(60))).collect();
    assert_eq!(ended.iter().filter(|outcome| outcome.status.success()).count(), 1);
    env.run(["delete", "--force", &id]).success();
    assert_eq!(lines.rest(), "run\n");
}

#[test]
fn many_deletes_of_one_sandbox_all_end() {
    needs_root!();
    let env = Env::new();
    let id = env.id("delete");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let deletes: Vec<_> = (0..8).map(|_| env.cmd(["delete", "--force", &id]).spawn()).collect();
    for delete in deletes {
        delete.finish(Duration::from_secs(60)).success();
    }
    env.gone(&id);
}

#[test]
fn a_stopped_process_that_holds_a_lock_stops_no_other_sandbox() {
    needs_root!();
    let env = Env::new();
    let (slow, quick) = (env.id("slow"), env.id("quick"));
    // A hook that does not end by itself keeps the lock of its sandbox.
    let (hooked, never) = (env.dir().join("hooked"), env.dir().join("never"));
    for fifo in [&hooked, &never] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let hook = format!("echo hooked > {}; exec cat {}", hooked.display(), never.display());
    let bundle = env.bundle().edit(|config| {
        config["hooks"] = serde_json::json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]});
    });
    let creating = env.create(&bundle, &slow).spawn();
    assert_eq!(std::fs::read_to_string(&hooked).unwrap(), "hooked\n");

    assert_eq!(env.status(&slow), "creating");
    let other = env.bundle().script("exit 0");
    env.run_bundle(&other, &quick).run().success();
    env.run(["list"]).success().says(&slow);

    // Force kills whoever holds the lock, and heals.
    env.run(["delete", "--force", &slow]).success();
    assert!(!creating.finish(Duration::from_secs(60)).status.success());
    env.gone(&slow);
    // The hook was the creator's child; if it outlived its creator, it ends at the end of what it reads.
    let _ = std::fs::File::options().write(true).custom_flags(nix::libc::O_NONBLOCK).open(&never);
    env.run(["recover"]).code(0);
}

/// Less than anybody waits for the store before he goes on without it.
const SOON: Duration = Duration::from_secs(8);

#[test]
fn a_supervisor_that_does_not_answer_keeps_nobody_from_the_store() {
    needs_root!();
    let env = Env::new();
    let (silent, other) = (env.id("silent"), env.id("other"));
    env.created(&env.bundle().args(&["sleep", "1000"]), &silent);
    let supervisor = env.supervisor(&silent);
    send(supervisor, Signal::SIGSTOP);
    let start = env.cmd(["start", &silent]).spawn();
    let lock = env.root().join("sandboxes").join(&silent).join("lock");
    until(Duration::from_secs(20), "intent of the start", || {
        std::fs::read(&lock).is_ok_and(|bytes| bytes.windows(15).any(|bytes| bytes == b"start-requested"))
    });
    env.run_bundle(&env.bundle(), &other).deadline(SOON).run().success();
    send(supervisor, Signal::SIGCONT);
    start.finish(Duration::from_secs(60)).success();
    env.run(["delete", "--force", &silent]).success();
}

#[test]
fn a_hook_between_a_run_and_its_application_keeps_nobody_from_the_store() {
    needs_root!();
    let env = Env::new();
    let (slow, other) = (env.id("slow"), env.id("other"));
    let shared = env.dir().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let hook = "touch /shared/begun; while ! test -e /shared/go; do sleep 0.01; done";
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).edit(|config| {
        config["hooks"] = serde_json::json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", hook]}]});
    });
    let running = env.run_bundle(&bundle, &slow).spawn();
    until(Duration::from_secs(20), "running hook", || shared.join("begun").exists());
    env.run_bundle(&env.bundle(), &other).deadline(SOON).run().success();
    std::fs::write(shared.join("go"), "").unwrap();
    running.finish(Duration::from_secs(60)).success();
}

#[test]
fn recover_leaves_the_sandboxes_of_another_root_alone() {
    needs_root!();
    let (ours, theirs) = (Env::new(), Env::new());
    let (running, created) = (theirs.id("running"), theirs.id("created"));
    theirs.started(&theirs.bundle().args(&["sleep", "1000"]), &running);
    theirs.created(&theirs.bundle(), &created);
    ours.run_bundle(&ours.bundle(), &ours.id("own")).run().success();
    ours.run(["recover"]).code(0);
    assert_eq!((theirs.status(&running).as_str(), theirs.status(&created).as_str()), ("running", "created"));
    theirs.run(["exec", &running, "true"]).success();
    theirs.run(["delete", "--force", &running, &created]).success();
}
