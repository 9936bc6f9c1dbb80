//! What engines rely on: the shape of `state`, the log, version lines, files and streams.

use std::fs;

use serde_json::{Value, json};
use support::{Cmd, Env, Lines, needs_root};

#[test]
fn state_has_the_fields_of_the_specification_and_of_runc() {
    needs_root!();
    let env = Env::new();
    let id = env.id("state");
    let bundle = env.bundle().edit(|config| config["annotations"] = json!({"org.example.key": "value"}));
    env.created(&bundle, &id);
    let state = env.state(&id);
    assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{state}");
    assert_eq!(state["id"], id.as_str());
    assert_eq!(state["status"], "created");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(state["bundle"], bundle.dir.to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"], json!({"org.example.key": "value"}));
    assert_eq!(state["owner"], "");
    let created = state["created"].as_str().expect("a time");
    assert!(created.len() >= 20 && created.contains('T') && created.ends_with('Z'), "{created}");
    let supervisor = env.supervisor(&id);
    let told = serde_json::to_string(&state).unwrap();
    assert!(told.contains(&format!(":{supervisor}")), "the supervisor's pid {supervisor} is not in {told}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_relative_bundle_and_the_current_folder_are_bundles_too() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let id = env.id("here");
    env.cmd(["create", &id]).current_dir(&bundle.dir).run().success();
    assert_eq!(env.state(&id)["bundle"], bundle.dir.to_str().unwrap(), "the bundle is told as an absolute path");
    env.delete(&id);
    let name = bundle.dir.file_name().unwrap();
    env.cmd(["create", "-b"]).arg(name).arg(&id).current_dir(env.dir()).run().success();
    assert_eq!(env.state(&id)["bundle"], bundle.dir.to_str().unwrap());
    env.delete(&id);
}

#[test]
fn a_failure_is_one_json_line_in_the_log_and_one_line_on_stderr() {
    needs_root!();
    let env = Env::new();
    let log = env.dir().join("log.json");
    let id = env.id("nobody");
    let failing = |args: &[&str]| env.cmd(["--log-format", "json", "--log"]).arg(&log).args(args).run();
    failing(&["state", &id]).fails("does not exist");
    let entries = entries(&log);
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!(entries[0]["level"], "error");
    assert!(entries[0]["msg"].as_str().is_some_and(|msg| msg.contains("does not exist")), "{entries:?}");
    assert!(entries[0]["time"].as_str().is_some_and(|time| time.contains('T')), "{entries:?}");
    failing(&["start", &id]).fails("does not exist");
    assert_eq!(self::entries(&log).len(), 2, "the log is appended to");
}

#[test]
fn a_success_leaves_the_log_empty() {
    needs_root!();
    let env = Env::new();
    let log = env.dir().join("log.json");
    let bundle = env.bundle();
    let id = env.id("quiet");
    let run = env.cmd(["--log-format=json", "--log"]).arg(&log).args(["run", "--bundle"]).arg(&bundle.dir).arg(&id);
    run.run().success();
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

#[test]
fn a_text_log_has_level_and_message() {
    needs_root!();
    let env = Env::new();
    let log = env.dir().join("log");
    env.cmd(["--log"]).arg(&log).args(["state", &env.id("nobody")]).run().fails("does not exist");
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("level=error") && text.contains("does not exist"), "{text}");
}

fn entries(log: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(log).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn wrong_arguments_are_one_line_of_the_log_too() {
    let env = Env::new();
    let log = env.dir().join("log.json");
    let failing = |args: &[&str]| {
        let global =
            support::Cmd::new(env.binary()).args(["--log-format=json", "--rootless", "auto", "--log"]).arg(&log);
        global.args(args).run().code(1)
    };
    let outcome = failing(&["exec", "--no-such-flag", "a", "b"]);
    assert!(outcome.stderr.contains("Usage: sandkeep exec"), "{outcome}");
    failing(&["nonsense"]);
    let entries = entries(&log);
    assert_eq!(entries.len(), 2, "{entries:?}");
    for (entry, needle) in entries.iter().zip(["--no-such-flag", "nonsense"]) {
        assert_eq!(entry["level"], "error");
        assert!(entry["msg"].as_str().is_some_and(|msg| msg.contains(needle)), "{entry}");
    }
}

#[test]
fn debug_says_what_is_done_with_whom_and_how_it_ended() {
    needs_root!();
    let env = Env::new();
    let id = env.id("debug");
    let bundle = env.bundle().script("exit 3");
    let bundle = bundle.dir.to_str().unwrap();
    let outcome = env.run(["--debug", "run", "--keep", "--bundle", bundle, &id]).code(3);
    let lines: Vec<&str> = outcome.stderr.lines().filter(|line| line.contains("level=debug msg=")).collect();
    assert_eq!(lines.len(), outcome.stderr.lines().count(), "{outcome}");
    for needle in ["--keep", "supervisor", "init", "exit code 3"] {
        assert!(lines.iter().any(|line| line.contains(needle)), "{needle} is not in it: {outcome}");
    }
    let log = env.dir().join("log.json");
    let told = env.cmd(["--debug", "--log-format", "json", "--log"]).arg(&log).args(["delete", &id]).run().success();
    assert_eq!(told.stderr, "", "with a log it goes there alone");
    assert!(entries(&log).iter().all(|entry| entry["level"] == "debug"));
    assert!(entries(&log).len() >= 2);
}

#[test]
fn list_prints_runcs_properties_in_runcs_order() {
    needs_root!();
    let env = Env::new();
    let id = env.id("order");
    env.created(&env.bundle(), &id);
    let text = env.run(["list", "--format", "json"]).success().stdout;
    let keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"];
    let places: Vec<usize> = keys.iter().map(|key| text.find(&format!("\"{key}\":")).expect(key)).collect();
    assert!(places.is_sorted(), "{text}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn ps_after_the_end_shows_nobody() {
    needs_root!();
    let env = Env::new();
    let id = env.id("after");
    env.started(&env.bundle(), &id);
    env.wait(&id);
    env.run(["ps", "--format", "json", &id]).success().prints("[]\n");
    let table = env.run(["ps", &id]).success().stdout;
    assert_eq!(table.lines().count(), 1, "the title alone: {table}");
    env.delete(&id);
    env.run(["ps", &id]).fails("does not exist");
}

#[test]
fn version_is_three_lines() {
    let env = Env::new();
    let outcome = support::Cmd::new(env.binary()).arg("--version").run().success();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("sandkeep version "), "{outcome}");
    assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{outcome}");
    assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{outcome}");
    assert_eq!(
        env.run(["--log-format", "json", "--version"]).success().stdout,
        outcome.stdout,
        "behind other flags, too"
    );
}

#[test]
fn every_success_is_silent_on_stderr_even_with_an_almost_empty_environment() {
    needs_root!();
    let env = Env::new();
    let id = env.id("bare");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    let bare = |args: &[&str]| env.cmd(args).env_clear().run().success();
    bare(&["create", "--bundle", bundle.dir.to_str().unwrap(), &id]);
    for args in [&["start", &id][..], &["state", &id], &["ps", &id], &["pause", &id], &["resume", &id], &["list"]] {
        bare(args);
    }
    bare(&["kill", &id, "9"]);
    bare(&["wait", &id]);
    bare(&["delete", &id]);
}

#[test]
fn signals_have_all_their_names() {
    needs_root!();
    let env = Env::new();
    let id = env.id("names");
    let script = "for s in HUP INT USR1 TERM; do trap \"echo $s\" $s; done; echo ready; while :; do sleep 0.02; done";
    let (mut lines, out) = Lines::pipe();
    env.create(&env.bundle().script(script), &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("ready");
    for (given, heard) in [("HUP", "HUP"), ("SIGINT", "INT"), ("sigusr1", "USR1"), ("1", "HUP"), ("15", "TERM")] {
        env.run(["kill", &id, given]).success();
        assert_eq!(lines.next().as_deref(), Some(heard), "{given}");
    }
    // Without a signal it is TERM.
    env.run(["kill", &id]).success();
    assert_eq!(lines.next().as_deref(), Some("TERM"));
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_closed_stderr_pipe_ends_with_the_command() {
    needs_root!();
    let env = Env::new();
    let id = env.id("pipe");
    let null = || fs::File::options().write(true).open("/dev/null").unwrap();
    let (mut lines, out) = Lines::pipe();
    // The container's stdio is given, as an engine gives it; only what is the command's own is looked at.
    let bundle = env.bundle().script("exec sleep 1000 2>/dev/null");
    env.create(&bundle, &id).stdout(null()).stderr(out).run().success();
    env.run(["start", &id]).success();
    assert_eq!(lines.next(), None, "something long-lived holds the stderr of create");
    env.run(["delete", "--force", &id]).success();
}

/// A pipe that nobody reads any more.
fn unread() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn a_reader_that_leaves_early_is_no_failure_and_a_full_disk_is_one() {
    needs_root!();
    let env = Env::new();
    for args in [&["machine"][..], &["list"], &["features"], &["doctor"]] {
        env.cmd(args).stdout(unread()).run().success();
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        env.cmd(args).stdout(full).run().fails("cannot write to standard output: no space left");
    }
    env.cmd(["state", "nobody"]).stderr(unread()).run().code(1);
}

#[test]
fn features_is_a_document_without_any_global_flag() {
    let env = Env::new();
    let outcome = support::Cmd::new(env.binary()).arg("features").run().success();
    let features = outcome.json();
    assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string(), "{features}");
    let namespaces = features["linux"]["namespaces"].as_array().expect("namespaces");
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(namespaces.contains(&json!(kind)), "{kind} is missing: {features}");
    }
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn sockets_of_a_service_manager_are_the_applications() {
    needs_root!();
    let env = Env::new();
    let script =
        "echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo mine; cat <&4; ls /proc/self/fd | wc -l";
    let bundle = env.bundle().script(script);
    let file = env.dir().join("passed");
    fs::write(&file, "passed on\n").unwrap();
    let script = format!("exec 3</dev/null 4<{}; export LISTEN_PID=$$; exec \"$0\" \"$@\"", file.display());
    let shell = |sockets: &str, id: &str| {
        let shell =
            support::Cmd::new("sh").env("LISTEN_FDS", sockets).env("LISTEN_FDNAMES", "a:b").args(["-c", &script]);
        let shell = shell.arg(env.binary()).arg("--root").arg(env.root());
        shell.args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id(id)).run()
    };
    shell("2", "two").success().prints("2 a:b\nmine\npassed on\n6\n");
    shell("3", "three").fails("descriptor 5 is not open");
}

#[test]
fn preserved_fds_reach_the_container_and_no_others() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("cat <&3; ls /proc/self/fd | wc -l");
    let file = env.dir().join("passed");
    fs::write(&file, "passed on\n").unwrap();
    let script = format!("exec 3<{} 9</dev/null; exec \"$0\" \"$@\"", file.display());
    let shell = support::Cmd::new("sh").args(["-c", &script]).arg(env.binary()).arg("--root").arg(env.root());
    let shell = shell.args(["run", "--preserve-fds", "1", "--bundle"]).arg(&bundle.dir).arg(env.id("fds"));
    // 0, 1, 2, the one that is passed, and the folder that ls reads.
    shell.run().success().prints("passed on\n5\n");
}

#[test]
fn what_other_runtimes_can_and_this_one_cannot_is_refused_by_name() {
    let env = Env::new();
    let log = env.dir().join("log.json");
    for command in ["checkpoint", "restore"] {
        let cmd =
            env.cmd(["--log-format", "json", "--log"]).arg(&log).args([command, "--image-path", "/i", "--tcp", "id"]);
        cmd.run().fails(&format!("{command} is not supported"));
    }
    let entries = entries(&log);
    assert_eq!(entries.len(), 2, "{entries:?}");
    assert!(entries.iter().all(|entry| entry["level"] == "error"), "{entries:?}");
}

/// youki's contest looks for this word on stderr, and for nothing else; and no success may have it there.
#[test]
fn the_line_of_a_failure_calls_it_an_error() {
    needs_root!();
    let env = Env::new();
    let id = env.id("stranger");
    let created = env.id("created");
    env.created(&env.bundle().args(&["sleep", "1000"]), &created);
    let bundle = env.bundle();
    let bundle = bundle.dir.to_str().unwrap();
    let missing = env.dir().join("no-bundle");
    for wrong in [
        &["state", &id][..],
        &["start", &id],
        &["kill", &id, "KILL"],
        &["kill", "--all", &id, "KILL"],
        &["delete", &id],
        &["delete", "--force", "../x"],
        &["pause", &id],
        &["resume", &id],
        &["ps", &id],
        &["events", "--stats", &id],
        &["update", "--pids-limit", "5", &id],
        &["wait", &id],
        &["exec", &id, "true"],
        &["checkpoint", &id],
        &["create", "--bundle", bundle, &created],
        &["create", "--bundle", bundle, "not/an/id"],
        &["run", "--bundle", bundle, ""],
        &["create", "--bundle", missing.to_str().unwrap(), &id],
        &["kill", &created, "NOSUCH"],
        &["pause", &created],
        &["state"],
    ] {
        let outcome = env.run(wrong);
        assert!(!outcome.status.success() && outcome.stderr.contains("error"), "{outcome}");
    }
    // Where nothing was ever made.
    let nowhere = Env::new();
    for command in ["state", "start", "delete", "kill", "pause", "ps", "wait"] {
        nowhere.run([command, &id]).fails("error");
    }
    let log = env.dir().join("log");
    env.cmd(["--log"]).arg(&log).args(["state", &id]).run().fails("error").fails("does not exist");
    assert!(!fs::read_to_string(&log).unwrap().contains("error: "), "its level says it already");
    env.run(["delete", "--force", &created]).success();
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_at_once_for_every_command() {
    needs_root!();
    let env = Env::new();
    let id = env.id("unlogged");
    let bundle = env.bundle();
    let bundle = bundle.dir.to_str().unwrap();
    let there = env.id("there");
    env.created(&env.bundle(), &there);
    let folder = env.dir().join("folder");
    fs::create_dir(&folder).unwrap();
    for log in [env.dir().join("no-folder/log.json"), folder] {
        let path = log.to_str().unwrap();
        for command in [
            &["create", "--bundle", bundle, &id][..],
            &["run", "--bundle", bundle, &id],
            &["start", &there],
            &["state", &there],
            &["list"],
            &["kill", &there, "KILL"],
            &["delete", "--force", &there],
            &["exec", &there, "true"],
            &["ps", &there],
            &["pause", &there],
            &["resume", &there],
            &["events", "--stats", &there],
            &["update", "--pids-limit", "5", &there],
            &["wait", &there],
            &["features"],
            &["machine"],
            &["history"],
            &["recover"],
            &["doctor"],
            &["do", "true"],
            &["checkpoint", &there],
        ] {
            let outcome = env
                .cmd(["--log"])
                .arg(&log)
                .args(command)
                .run()
                .fails_with(1, &[path, "cannot write the log", "cannot be opened"]);
            assert_eq!(outcome.stdout, "", "nothing is done: {outcome}");
        }
        let spec = env.cmd(["--log"]).arg(&log).args(["spec", "--bundle"]).arg(env.dir()).run();
        spec.fails_with(1, &[path]);
        assert!(!env.dir().join("config.json").exists());
    }
    assert_eq!(env.status(&there), "created", "nothing was done");
    env.gone(&id);
    env.run(["delete", "--force", &there]).success();
}

/// What an ordinary user starts from here is taken to other runtimes too.
#[test]
fn what_spec_writes_says_a_version_that_the_peers_on_this_machine_take() {
    needs_root!();
    let env = Env::new();
    for (peer, rootless) in [("runc", false), ("crun", false), ("runc", true), ("crun", true)] {
        if Cmd::new("which").arg(peer).run().status.code() != Some(0) {
            eprintln!("skipped: {peer} is not there");
            continue;
        }
        let bundle = env.bundle();
        fs::remove_file(bundle.config_path()).unwrap();
        let spec = env.cmd(["spec", "--bundle"]).arg(&bundle.dir);
        let spec = if rootless { spec.arg("--rootless") } else { spec };
        spec.run().success();
        let bundle = bundle.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["echo", "taken"]);
        });
        let root = env.dir().join(peer);
        let peers = Cmd::new(peer).arg("--root").arg(&root);
        let peers = if peer == "crun" { peers.arg("--cgroup-manager=disabled") } else { peers };
        let outcome = peers.args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id(peer)).run();
        // Whatever else it lacks here (crun 1.8 wants other cgroups), it is not the version.
        assert!(!outcome.stderr.contains("version"), "{outcome}");
        if outcome.status.success() {
            assert_eq!(outcome.stdout, "taken\n");
        }
    }
}
