//! Requests that are illegal in the state a container is in: named, refused, and nothing changed.

use serde_json::Value;
use support::command::DEADLINE;
use support::{Env, needs_root, until};

/// Refused with one line that names the id, its state and what was asked; nothing changes.
#[track_caller]
fn refused(env: &Env, id: &str, status: &str, verb: &str, args: &[&str]) {
    let before = env.state(id);
    assert_eq!(before["status"], status);
    let history = journal(env, id);
    env.run(args).fails_with(code_of(args), &[id, status, verb]);
    assert_eq!(env.state(id), before, "{args:?} was refused, and changed the state");
    assert_eq!(journal(env, id), history, "{args:?} was refused, and is in the journal");
}

/// exec has a code of its own for what is not its program's (as runc).
fn code_of(args: &[&str]) -> i32 {
    if args[0] == "exec" { 255 } else { 1 }
}

fn journal(env: &Env, id: &str) -> String {
    env.run(["history", id]).success().stdout
}

#[test]
fn a_created_container_can_only_be_started_signalled_or_deleted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("created");
    env.created(&env.bundle().args(&["sleep", "1000"]), &id);
    refused(&env, &id, "created", "pause", &["pause", &id]);
    refused(&env, &id, "created", "resume", &["resume", &id]);
    env.delete(&id);
}

#[test]
fn a_running_container_cannot_be_started_resumed_or_deleted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("running");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle, &id);
    let pid = env.pid(&id);
    refused(&env, &id, "running", "start", &["start", &id]);
    refused(&env, &id, "running", "resume", &["resume", &id]);
    refused(&env, &id, "running", "delete", &["delete", &id]);
    let taken = env.create(&bundle, &id).run().fails_with(1, &[&id, "exists"]);
    assert!(taken.stdout.is_empty(), "{taken}");
    assert!(support::process::runs(pid), "a refused request ended the container");
    env.run(["kill", &id, "0"]).success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_paused_container_cannot_be_started_paused_deleted_or_exec_d_in() {
    needs_root!();
    let env = Env::new();
    let id = env.id("paused");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["pause", &id]).success();
    refused(&env, &id, "paused", "start", &["start", &id]);
    refused(&env, &id, "paused", "pause", &["pause", &id]);
    refused(&env, &id, "paused", "delete", &["delete", &id]);
    refused(&env, &id, "paused", "exec", &["exec", "--detach", &id, "true"]);
    // Engines and runc's own tests look for these words.
    env.run(["exec", &id, "true"]).fails_with(255, &["cannot exec in a paused container", "--ignore-paused"]);
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_stopped_container_can_only_be_deleted() {
    needs_root!();
    let env = Env::new();
    let id = env.id("stopped");
    env.started(&env.bundle(), &id);
    env.wait(&id);
    // The first mutating command records the end that it found; so that it is there before the comparison:
    env.run(["recover", &id]).code(0);
    refused(&env, &id, "stopped", "start", &["start", &id]);
    refused(&env, &id, "stopped", "pause", &["pause", &id]);
    refused(&env, &id, "stopped", "resume", &["resume", &id]);
    refused(&env, &id, "stopped", "exec", &["exec", "--detach", &id, "true"]);
    env.run(["exec", &id, "true"]).fails_with(255, &["cannot exec in a stopped container"]);
    env.run(["kill", &id, "TERM"]).fails_with(1, &[&id, "container not running"]);
    env.delete(&id);
}

#[test]
fn what_does_not_exist_is_said_not_to_exist() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nobody");
    let commands: [&[&str]; 10] = [
        &["state", &id],
        &["start", &id],
        &["pause", &id],
        &["resume", &id],
        &["kill", &id, "TERM"],
        &["delete", &id],
        &["exec", &id, "true"],
        &["ps", &id],
        &["wait", &id],
        &["recover", &id],
    ];
    for command in commands {
        env.run(command).fails_with(code_of(command), &["does not exist", &id]);
    }
    // As an engine's clean-up wants it: force makes a missing container a success.
    env.run(["delete", "--force", &id]).code(0);
}

#[test]
fn ids_match_whole_never_by_prefix_or_pattern() {
    needs_root!();
    let env = Env::new();
    let (short, long) = (env.id("foo"), format!("{}bar", env.id("foo")));
    env.created(&env.bundle(), &long);
    env.run(["delete", "--force", &short]).code(0);
    env.run(["state", &short]).fails("does not exist");
    env.run(["delete", "--force", "*"]).fails("id");
    assert_eq!(env.status(&long), "created");
    env.delete(&long);
}

#[test]
fn delete_goes_on_after_an_id_that_is_missing() {
    needs_root!();
    let env = Env::new();
    let (first, missing, last) = (env.id("first"), env.id("missing"), env.id("last"));
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.started(&bundle, &first);
    env.started(&bundle, &last);
    env.run(["delete", "--force", &first, &missing, &last]);
    env.gone(&first);
    env.gone(&last);

    env.created(&bundle, &first);
    env.created(&bundle, &last);
    env.run(["delete", &first, &missing, &last]).fails_with(1, &["does not exist", &missing]);
    env.gone(&first);
    env.gone(&last);
}

#[test]
fn list_shows_what_there_is() {
    needs_root!();
    let env = Env::new();
    assert_eq!(env.run(["list", "--format", "json"]).success().json(), Value::Array(Vec::new()));
    let (one, two) = (env.id("one"), env.id("two"));
    env.created(&env.bundle(), &one);
    env.started(&env.bundle().args(&["sleep", "1000"]), &two);
    let listed = env.run(["list", "--format", "json"]).success().json();
    let mut seen: Vec<(&str, &str)> =
        listed.as_array().unwrap().iter().map(|entry| (text(entry, "id"), text(entry, "status"))).collect();
    seen.sort();
    assert_eq!(seen, [(one.as_str(), "created"), (two.as_str(), "running")]);
    let quiet = env.run(["list", "--quiet"]).success().stdout;
    let mut ids: Vec<&str> = quiet.lines().collect();
    ids.sort();
    assert_eq!(ids, [one.as_str(), two.as_str()]);
    let table = env.run(["list"]).success();
    assert!(table.stdout.lines().next().is_some_and(|head| head.starts_with("ID")), "{table}");
    table.says(&one).says("running");
    env.run(["delete", "--force", &one, &two]).success();
}

fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().expect("a string")
}

/// Engines ask for it after the end, and mean what the application left behind; what somebody else put into the cgroup
/// meanwhile is not that.
#[test]
fn kill_all_of_a_stopped_container_hits_no_stranger() {
    needs_root!();
    let env = Env::new();
    let id = env.id("ended");
    env.started(&env.bundle().script("sleep 1000"), &id);
    let places = std::fs::read_to_string(format!("/proc/{}/cgroup", env.pid(&id))).unwrap();
    let place = places.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let folder = std::path::PathBuf::from(format!("/sys/fs/cgroup/{controllers}{path}"));
        (path.contains(&id) && folder.is_dir()).then_some(folder)
    });
    let place = place.expect("the container's cgroup");
    env.run(["kill", &id, "KILL"]).success();
    env.wait(&id);
    until(DEADLINE, "end of the supervisor", || env.find_supervisor(&id).is_none());
    env.run(["kill", "--all", &id, "KILL"]).success();

    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(place.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    env.run(["kill", "--all", &id, "KILL"]).fails("container not running");
    env.run(["kill", "--all", &id, "TERM"]).fails("container not running");
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    env.delete(&id);
}
