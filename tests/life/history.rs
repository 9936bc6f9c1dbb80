//! `history`: what happened to a sandbox, when, and who asked for it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::command::DEADLINE;
use support::ordinary::{Further, USER};
use support::{Cmd, Env, Ordinary, needs_root, needs_tool, until};

fn entries(env: &Env, id: &str) -> Vec<Value> {
    let entries = env.run(["history", "--format", "json", id]).success().json();
    let entries = entries.as_array().expect("a list").clone();
    // Whatever happened, it happened in this order.
    for pair in entries.windows(2) {
        let seq = |entry: &Value| entry["seq"].as_i64().unwrap();
        assert_eq!(seq(&pair[0]) + 1, seq(&pair[1]), "{entries:#?}");
        assert!(at(&pair[0]["ended"]) <= at(&pair[1]["ended"]), "{entries:#?}");
    }
    for entry in &entries {
        assert!(at(&entry["began"]) <= at(&entry["ended"]), "{entry:#?}");
    }
    entries
}

fn events(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

fn the<'a>(entries: &'a [Value], event: &str) -> &'a Value {
    entries.iter().find(|entry| entry["event"] == event).unwrap_or_else(|| panic!("no {event} in {entries:#?}"))
}

/// Since the epoch.
fn at(text: &Value) -> Duration {
    let timestamp: jiff::Timestamp = text.as_str().expect("a time").parse().expect("RFC 3339");
    Duration::from_nanos(u64::try_from(timestamp.as_nanosecond()).unwrap())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[test]
fn a_run_leaves_five_entries_with_times_of_their_own_and_its_exit_code() {
    needs_root!();
    let env = Env::new();
    let (id, before) = (env.id("ran"), now());
    env.run_bundle(&env.bundle().script("exit 7"), &id).run().code(7);
    let entries = entries(&env, &id);
    let expected = ["create-requested", "launch-requested", "start-requested", "init-exited", "force-delete-requested"];
    assert_eq!(events(&entries), expected);
    assert!(before <= at(&entries[0]["began"]) && at(&entries[4]["ended"]) <= now());
    // To claim an id is one thing, to launch another.
    assert!(
        at(&entries[0]["ended"]) <= at(&entries[1]["began"]) && at(&entries[1]["began"]) < at(&entries[1]["ended"])
    );
    let end = &entries[3];
    assert_eq!((&end["exit"]["code"], &end["by"]), (&7.into(), &"supervisor".into()), "{end:#?}");
    assert!(at(&end["exit"]["at"]) <= at(&end["ended"]) && at(&end["ended"]) <= at(&entries[4]["began"]), "{end:#?}");
}

#[test]
fn an_end_has_its_true_time_whoever_looks_first_and_whenever() {
    needs_root!();
    let env = Env::new();
    for look in ["history", "wait", "state", "delete"] {
        let id = env.id(look);
        let bundle = env.bundle().script("exit 3");
        env.started(&bundle, &id);
        // By its folder alone, which no command of ours reads here: nobody has seen the end yet.
        let exits = env.root().join("sandboxes").join(&id).join("exits");
        until(DEADLINE, "record of the end", || fs::read(&exits).is_ok_and(|bytes| bytes.contains(&b'{')));
        let ended_before = now();
        std::thread::sleep(Duration::from_millis(1200));
        if look != "history" {
            env.run([look, &id]).success();
        }
        let first = entries(&env, &id);
        let end = the(&first, "init-exited").clone();
        assert!(at(&end["ended"]) <= ended_before && ended_before - at(&end["ended"]) < Duration::from_secs(60));
        assert_eq!(end["ended"], end["began"]);
        assert_eq!((&end["exit"]["code"], &end["by"]), (&3.into(), &"supervisor".into()));
        if look != "delete" {
            env.delete(&id);
        }
        // And it is the same ever after.
        assert_eq!(the(&entries(&env, &id), "init-exited"), &end, "{look}");
    }
}

#[test]
fn a_signal_is_an_entry_that_says_which_and_for_whom_and_comes_before_what_it_brings_about() {
    needs_root!();
    let env = Env::new();
    let id = env.id("killed");
    env.started(&env.bundle().script("trap '' USR1; while :; do sleep 0.1; done"), &id);
    env.run(["kill", &id, "0"]).success();
    env.run(["kill", &id, "USR1"]).success();
    env.run(["kill", "--all", &id, "USR1"]).success();
    env.cmd(["kill", &id, "KILL"]).behind("sh", &["-c", "\"$0\" \"$@\"; exit $?"]).run().success();
    assert_eq!(env.wait(&id), 137);
    env.run(["kill", &id, "TERM"]).fails("not running");
    let entries = entries(&env, &id);
    let signals: Vec<&Value> = entries.iter().filter(|entry| entry["event"] == "signal-requested").collect();
    let names: Vec<&str> = signals.iter().map(|entry| entry["signal"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["SIGUSR1", "SIGUSR1", "SIGKILL"], "{entries:#?}");
    assert_eq!(signals[0]["signal"]["caller"], std::process::id(), "{entries:#?}");
    assert_eq!((&signals[2]["signal"]["program"], &signals[2]["signal"]["uid"]), (&"sh".into(), &0.into()));
    assert_eq!(events(&entries)[3..], ["signal-requested", "signal-requested", "signal-requested", "init-exited"]);
    env.run(["history", &id]).success().says("SIGKILL by sh (uid 0)");
    env.delete(&id);
    // A foreground run deletes its sandbox as soon as it sees the end.
    let id = env.id("killed-run");
    let run = env.run_bundle(&env.bundle().args(&["sleep", "1000"]), &id).spawn();
    until(DEADLINE, "running sandbox", || env.run(["state", &id]).stdout.contains("running"));
    env.run(["kill", &id, "KILL"]).success();
    run.finish(DEADLINE).code(137);
    let entries = self::entries(&env, &id);
    assert_eq!(events(&entries)[3..], ["signal-requested", "init-exited", "force-delete-requested"], "{entries:#?}");
}

#[test]
fn a_signal_is_sent_whatever_keeps_it_out_of_the_journal_and_the_end_is_told_where_nothing_can_be_written() {
    needs_root!();
    let env = Env::new();
    let id = env.id("held");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let lock = fs::File::open(env.root().join("sandboxes").join(&id).join("lock")).unwrap();
    fs2::FileExt::lock_exclusive(&lock).unwrap();
    env.run(["kill", &id, "KILL"]).success();
    assert_eq!(env.wait(&id), 137);
    drop(lock);
    assert_eq!(events(&entries(&env, &id))[3..], ["init-exited"]);
    env.delete(&id);

    let id = env.id("readonly");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,ro {0} && $0 --root {0} kill {id} KILL && $0 --root {0} wait {id} \
         && $0 --root {0} state {id} > /dev/null",
        env.root().display()
    );
    Cmd::new("unshare").args(["--mount", "sh", "-c", &script]).arg(env.binary()).run().success().prints("137\n");
    assert_eq!(the(&entries(&env, &id), "init-exited")["exit"]["signal"], 9);
    env.delete(&id);
}

#[test]
fn of_one_whose_supervisor_was_killed_it_says_what_is_known() {
    needs_root!();
    let env = Env::new();
    let id = env.id("orphan");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    support::process::send(env.supervisor(&id), Signal::SIGKILL);
    until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
    for _ in 0..2 {
        let entries = entries(&env, &id);
        let end = the(&entries, "supervisor-gone");
        assert_eq!((&end["exit"]["inferred"], &end["exit"]["code"]), (&true.into(), &137.into()), "{end:#?}");
        assert_eq!(end["to"], "stopped");
        env.run(["recover"]).code(0);
    }
    env.delete(&id);
}

#[test]
fn a_deletion_that_kills_says_how_it_ended_when_and_for_whom() {
    needs_root!();
    let env = Env::new();
    for (namespace, short) in [("its own", "own"), ("the host's", "host")] {
        for (phase, delete) in [("running", "--force"), ("paused", "--force"), ("created", "--force"), ("created", "")]
        {
            let id = env.id(&format!("deleted-{short}-{phase}{delete}"));
            let bundle = env.bundle().args(&["sleep", "1000"]);
            let bundle = if namespace == "its own" { bundle } else { bundle.namespace("pid", None) };
            env.created(&bundle, &id);
            if phase != "created" {
                env.run(["start", &id]).success();
            }
            if phase == "paused" {
                env.run(["pause", &id]).success();
            }
            let before = now();
            let args = ["delete", delete, &id].into_iter().filter(|word| !word.is_empty());
            env.cmd(args).behind("sh", &["-c", "\"$0\" \"$@\"; exit $?"]).run().success();
            let entries = entries(&env, &id);
            let last = entries.iter().rfind(|entry| entry["to"] == "absent").unwrap();
            let exit = &last["exit"];
            assert_eq!((&exit["code"], &exit["signal"]), (&137.into(), &9.into()), "{namespace} {phase}: {last:#?}");
            assert!(before <= at(&exit["at"]) && at(&exit["at"]) <= at(&last["ended"]), "{last:#?}");
            let signal = &last["signal"];
            assert_eq!((&signal["name"], &signal["program"]), (&"SIGKILL".into(), &"sh".into()), "{last:#?}");
            assert_eq!((&signal["uid"], &last["by"]), (&0.into(), &"command".into()), "{last:#?}");
        }
    }
    // One that has ended before is not killed.
    let id = env.id("ended");
    env.started(&env.bundle().script("exit 3"), &id);
    assert_eq!(env.wait(&id), 3);
    env.run(["delete", "--force", &id]).success();
    let entries = entries(&env, &id);
    let last = the(&entries, "force-delete-requested");
    assert!(last["exit"].is_null() && last["signal"].is_null(), "{last:#?}");
}

/// Of one that nobody wrote down: when it was first seen.
#[test]
fn an_end_that_nobody_wrote_down_keeps_the_time_at_which_it_was_first_seen() {
    needs_root!();
    let env = Env::new();
    for look in ["history", "wait"] {
        for phase in ["running", "created", "paused"] {
            let id = env.id(&format!("lost-{look}-{phase}"));
            let bundle = env.bundle().args(&["sleep", "1000"]);
            env.created(&bundle, &id);
            if phase != "created" {
                env.run(["start", &id]).success();
            }
            if phase == "paused" {
                env.run(["pause", &id]).success();
            }
            let supervisor = env.supervisor(&id);
            let init = env.pid(&id);
            support::process::send(supervisor, Signal::SIGKILL);
            if phase == "paused" {
                // On v1 what is frozen ends once it is thawed, with the next command that changes something.
                until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
                if support::process::runs(init) {
                    env.run(["delete", "--force", &id]).success();
                    continue;
                }
            }
            until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
            let first = match look {
                "wait" => env.run(["wait", "--format", "json", &id]).success().json()["at"].clone(),
                _ => the(&entries(&env, &id), "supervisor-gone")["exit"]["at"].clone(),
            };
            for _ in 0..2 {
                let end = the(&entries(&env, &id), "supervisor-gone").clone();
                assert_eq!(
                    (&end["exit"]["at"], &end["ended"], &end["began"]),
                    (&first, &first, &first),
                    "{look} {phase}"
                );
                assert_eq!(env.run(["wait", "--format", "json", &id]).success().json()["at"], first);
                assert_eq!(env.run(["state", &id]).success().json()["exit"]["at"], first);
            }
            env.delete(&id);
            assert_eq!(the(&entries(&env, &id), "supervisor-gone")["exit"]["at"], first);
        }
    }
}

/// Where nothing ends with the supervisor, and nobody is left who sees the end.
#[test]
fn what_ended_after_its_supervisor_in_the_hosts_pid_namespace_keeps_one_time_and_ends_nobody() {
    needs_root!();
    let env = Env::new();
    for look in ["history", "wait", "waiting"] {
        let id = env.id(&format!("late-{look}"));
        let bundle = env.bundle().script("sleep 1000 & echo $! > /left; wait").edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "pid");
            config["root"]["readonly"] = false.into();
        });
        env.started(&bundle, &id);
        let mut left = String::new();
        until(DEADLINE, "pid of what is left", || {
            left = fs::read_to_string(bundle.rootfs().join("left")).unwrap_or_default();
            left.ends_with('\n')
        });
        let left: i32 = left.trim().parse().unwrap();
        let (supervisor, init) = (env.supervisor(&id), env.pid(&id));
        support::process::send(supervisor, Signal::SIGKILL);
        until(DEADLINE, "end of the supervisor", || !support::process::runs(supervisor));
        // Where the kernel tells how it ended, it tells those who have waited alone.
        let waiting = (look == "waiting").then(|| env.cmd(["wait", "--format", "json", &id]).spawn());
        support::process::send(init, Signal::SIGTERM);
        until(DEADLINE, "stopped sandbox", || env.status(&id) == "stopped");
        let first = match look {
            "wait" => env.run(["wait", "--format", "json", &id]).code(0).json(),
            "waiting" => waiting.unwrap().finish(DEADLINE).code(0).json(),
            _ => {
                let _ = entries(&env, &id);
                env.run(["wait", "--format", "json", &id]).code(0).json()
            }
        };
        let at = first["at"].clone();
        for _ in 0..2 {
            assert_eq!(the(&entries(&env, &id), "init-exited")["ended"], at, "{look}");
            assert_eq!(env.run(["wait", "--format", "json", &id]).code(0).json(), first, "{look}");
            assert_eq!(env.run(["state", &id]).success().json()["exit"]["at"], at, "{look}");
        }
        assert!(support::process::runs(left), "a look has ended it");
        env.delete(&id);
        assert!(!support::process::runs(left));
        assert_eq!(the(&entries(&env, &id), "init-exited")["exit"]["at"], at);
    }
}

#[test]
fn an_ordinary_users_signal_is_an_entry_too() {
    needs_root!();
    needs_tool!("unshare", "setpriv", "newuidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let (id, bundle) = (env.id("rootless-killed"), user.bundle().args(&["sleep", "1000"]));
    let run = user.sandkeep(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
    run.stdout(std::process::Stdio::null()).run().success();
    user.sandkeep(["kill", &id, "KILL"]).run().success();
    user.sandkeep(["wait", &id]).run().success().prints("137\n");
    let history = user.sandkeep(["history", &id]).run().success();
    let history = history.says(&format!("(uid {USER})"));
    assert!(history.stdout.contains("SIGKILL") && history.stdout.contains("init-exited"), "{history}");
    user.sandkeep(["delete", &id]).run().success();
}

/// Signals that nobody else comes after do not fill the disk.
#[test]
fn many_signals_are_many_entries_and_what_waits_for_the_store_stays_small() {
    needs_root!();
    let env = Env::new();
    let id = env.id("often");
    let annotation = "x".repeat(512 << 10);
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle.edit(|config| config["annotations"] = serde_json::json!({ "large": annotation })), &id);
    for _ in 0..24 {
        env.run(["kill", &id, "CONT"]).success();
    }
    let waits = fs::metadata(env.root().join("store/pending")).map_or(0, |found| found.len());
    assert!(waits < 64 << 10, "{waits} bytes wait");
    assert_eq!(events(&entries(&env, &id))[3..], ["signal-requested"; 24]);
    env.run(["delete", "--force", &id]).success();
}
