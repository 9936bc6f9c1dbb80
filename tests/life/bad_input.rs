//! Bad input: a clear line of error, exit 1, and nothing left, whichever command was asked.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use serde_json::json;
use support::{Bundle, Env, needs_root};

/// Both `create` and `run` refuse the bundle with one line that holds all of `needles`, and leave nothing.
#[track_caller]
fn refused(env: &Env, bundle: &Path, needles: &[&str]) {
    let id = env.id("bad");
    for command in ["create", "run"] {
        env.cmd([command, "--bundle"]).arg(bundle).arg(&id).run().fails_with(1, needles).prints("");
        env.gone(&id);
    }
}

#[track_caller]
fn edited(needles: &[&str], change: impl FnOnce(&mut serde_json::Value)) {
    let env = Env::new();
    let bundle = env.bundle().edit(change);
    refused(&env, &bundle.dir, needles);
}

fn text(bundle: &Bundle, config: &str) {
    fs::write(bundle.config_path(), config).unwrap();
}

#[test]
fn no_config_json() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    fs::remove_file(bundle.config_path()).unwrap();
    refused(&env, &bundle.dir, &["config.json"]);
}

#[test]
fn broken_json() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    for broken in ["", "{", "[]", "null", "{\"ociVersion\": 7}", "\u{feff}{}", &"[".repeat(100_000)] {
        text(&bundle, broken);
        refused(&env, &bundle.dir, &["config.json"]);
    }
}

#[test]
fn a_config_json_that_is_no_file() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    fs::remove_file(bundle.config_path()).unwrap();
    fs::create_dir(bundle.config_path()).unwrap();
    refused(&env, &bundle.dir, &["config.json"]);
}

#[test]
fn an_unknown_namespace_type() {
    needs_root!();
    edited(&["namespace", "florp"], |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "florp"}));
    });
}

#[test]
fn empty_args() {
    needs_root!();
    edited(&["args"], |config| config["process"]["args"] = json!([]));
}

#[test]
fn a_rootfs_that_is_missing() {
    needs_root!();
    edited(&["no-such-root"], |config| config["root"]["path"] = json!("no-such-root"));
}

#[test]
fn a_relative_cwd() {
    needs_root!();
    edited(&["cwd"], |config| config["process"]["cwd"] = json!("tmp"));
}

#[test]
fn an_unknown_capability_is_left_out_as_the_specification_asks() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().edit(|config| config["process"]["capabilities"]["bounding"] = json!(["CAP_FLORP"]));
    env.run_bundle(&bundle, &env.id("florp")).run().success();
}

#[test]
fn an_unknown_rlimit() {
    needs_root!();
    edited(&["RLIMIT_FLORP"], |config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_FLORP", "soft": 1, "hard": 1}]);
    });
}

#[test]
fn a_mount_whose_source_is_missing() {
    needs_root!();
    edited(&["/no/such/source"], |config| {
        let mount = json!({"destination": "/data", "type": "bind", "source": "/no/such/source", "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
}

#[test]
fn a_namespace_path_that_is_missing() {
    needs_root!();
    edited(&["/no/such/namespace"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "network", "path": "/no/such/namespace"}));
    });
}

#[test]
fn a_bundle_that_is_missing_or_a_file() {
    needs_root!();
    let env = Env::new();
    let file = env.dir().join("file");
    fs::write(&file, "no bundle").unwrap();
    refused(&env, &file, &["file"]);
    refused(&env, &env.dir().join("missing"), &["missing"]);
}

#[test]
fn ids_that_are_none() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let long = "x".repeat(64 * 1024);
    for (id, needle) in
        [("../x", "../x"), ("*", "*"), ("", "empty"), (".", "id"), ("..", "id"), ("a/b", "a/b"), (&long, "bytes")]
    {
        for command in ["create", "run"] {
            let outcome = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(id).run().fails_with(1, &["id", needle]);
            assert!(outcome.stderr.len() < 1000, "an error of {} bytes", outcome.stderr.len());
        }
        for command in ["state", "start", "delete", "pause", "resume", "ps", "wait"] {
            env.run([command, id]).fails_with(1, &["id", needle]);
        }
        env.run(["kill", id, "KILL"]).fails_with(1, &["id", needle]);
        env.run(["delete", "--force", id]).fails_with(1, &["id", needle]);
    }
}

#[test]
fn an_id_in_use() {
    needs_root!();
    let env = Env::new();
    let id = env.id("taken");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.created(&bundle, &id);
    let before = env.state(&id);
    for command in ["create", "run"] {
        env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(&id).run().fails_with(1, &[&id, "exists"]);
    }
    assert_eq!(env.state(&id), before);
    env.run(["start", &id]).success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_signal_that_is_none() {
    needs_root!();
    let env = Env::new();
    let id = env.id("signal");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    for signal in ["FLORP", "-1", "65", "9999999999", ""] {
        env.run(["kill", &id, "--", signal]).fails("signal");
    }
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_command_line_that_is_none() {
    needs_root!();
    let env = Env::new();
    for args in [&["florp"][..], &["state"], &["create", "--florp", "x"], &["list", "--format", "florp"]] {
        let outcome = env.run(args).code(1);
        assert!(!outcome.stderr.is_empty() && outcome.stdout.is_empty(), "{outcome}");
    }
}

#[test]
fn a_root_that_is_a_file() {
    needs_root!();
    let env = Env::new().root_at("file");
    fs::write(env.root(), "no root").unwrap();
    let bundle = env.bundle();
    env.create(&bundle, &env.id("x")).run().fails("file");
}

#[test]
fn a_bundle_whose_name_is_no_text_is_refused_in_words() {
    use std::os::unix::ffi::OsStrExt;
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let odd = env.dir().join(std::ffi::OsStr::from_bytes(b"n\xff\xfe"));
    std::fs::rename(&bundle.dir, &odd).unwrap();
    env.cmd(["run", "--bundle"]).arg(&odd).arg(env.id("odd")).run().fails("is no text in UTF-8");
}

#[test]
fn arguments_that_are_no_text_are_named_on_one_line_that_says_error() {
    let env = Env::new();
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let odd = bytes(b"a\xff");
    let start = "sandkeep: error: argument";
    let user = env.cmd(["exec", "--user"]).arg(&odd).args(["x", "true"]).run();
    user.fails_with(255, &[start, "5, \"a\\xff\" (after --user)", "is not utf-8"]);
    env.cmd(["exec", "-e"])
        .arg(&odd)
        .arg("--user")
        .arg(&odd)
        .args(["x", "true"])
        .run()
        .fails_with(255, &["(after --user)"]);
    let named = bytes(b"--user=a\xff");
    env.cmd(["exec"]).arg(&named).args(["x", "true"]).run().fails_with(255, &[start, "\"--user=a\\xff\""]);
    // A folder may be called so, and is not what is wrong.
    env.cmd(["run", "--bundle"]).arg(bytes(b"b\xfe")).arg(&odd).run().fails_with(1, &[start, "6, \"a\\xff\", is not"]);
    let log = env.dir().join("log");
    env.cmd(["--log"]).arg(&log).arg("state").arg(&odd).run().fails_with(1, &[start, "6, \"a"]);
    assert!(fs::read_to_string(&log).unwrap().contains("is not UTF-8"));
}

#[test]
fn a_log_that_cannot_be_written_is_one_line_that_says_error() {
    let env = Env::new();
    for log in ["", "/no/such/folder/log"] {
        env.run(["--log", log, "list"]).fails_with(1, &["sandkeep: error: cannot write the log", "no such file"]);
        env.run([&format!("--log={log}"), "list"]).fails_with(1, &["sandkeep: error: cannot write the log"]);
    }
    let misused = env.run(["--log", "/no/such/folder/log", "list", "--none"]);
    assert!(misused.stderr.contains("\nsandkeep: error: cannot write the log"), "{misused}");
}
