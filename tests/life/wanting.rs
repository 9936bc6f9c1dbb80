//! What a machine or a user does not have is told in words that say what to do; and what can be done without it is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use support::ordinary::{FIRST_SUBID, Further, USER, chown_to_user};
use support::{Bundle, Cmd, Env, Ordinary, needs_root, needs_tool, skipped};

const OWN_ID: &str = "the container has no ids but this user's own";

/// A folder that stands for the whole PATH.
fn programs(env: &Env, name: &str, scripts: &[(&str, &str)]) -> String {
    let folder = env.dir().join(name);
    fs::create_dir(&folder).unwrap();
    for (program, text) in scripts {
        let file = folder.join(program);
        match Path::new(text).is_absolute() {
            true => std::os::unix::fs::symlink(text, file).unwrap(),
            false => {
                fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    chown_to_user(env.dir());
    format!("PATH={}", folder.display())
}

/// The user's own id, and one more.
fn with_one_more_id(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        for map in ["uidMappings", "gidMappings"] {
            let more = json!({"containerID": 1, "hostID": FIRST_SUBID, "size": 1});
            config["linux"][map].as_array_mut().unwrap().push(more);
        }
    })
}

#[test]
fn without_the_programs_that_give_further_ids_a_user_has_its_own_and_is_told() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let bundle = user.bundle().args(&["/bin/id", "-u"]);
    let none = programs(&env, "none", &[]);
    let refusing = "echo write to uid_map failed: Operation not permitted >&2; exit 1";
    let refused = programs(&env, "refused", &[("newuidmap", refusing), ("newgidmap", refusing)]);
    for (path, why) in [(&none, "newuidmap (package uidmap)"), (&refused, "newuidmap: write to uid_map failed")] {
        let behind = |args: &[&str]| user.sandkeep_behind(path, args);
        let run = behind(&["run", "--bundle"]).arg(&bundle.dir).arg(env.id("alone")).run().code(0);
        assert_eq!(run.stdout, "0\n");
        assert!(run.stderr.contains("warning") && run.stderr.contains(why) && run.stderr.contains(OWN_ID), "{run}");
        // What an engine reads: no failure, and nothing at the default level.
        let log = env.dir().join("log");
        let run = behind(&["--log"]).arg(&log).args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("logged")).run();
        run.success().prints("0\n");
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
        // It asks for none of them.
        let dir = tempfile::tempdir_in(env.dir()).unwrap();
        chown_to_user(env.dir());
        behind(&["spec", "--rootless", "--bundle"]).arg(dir.path()).run().success();
        let done = behind(&["do", "--", "/usr/bin/id", "-u"]).run().success();
        assert_eq!((done.stdout, done.stderr), (format!("{USER}\n"), String::new()));
        // A configuration that asks for more is not made with less.
        let more = with_one_more_id(user.bundle());
        let run = behind(&["run", "--bundle"]).arg(&more.dir).arg(env.id("more")).run();
        let run = run.fails_with(1, &[why]);
        assert!(!run.stderr.contains(OWN_ID), "{run}");
    }
}

#[test]
fn half_of_the_further_ids_are_no_reason_to_fail_either() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let bundle = user.bundle().args(&["/bin/id", "-g"]);
    let found = std::env::var("PATH").unwrap();
    let newuidmap = found.split(':').map(|folder| Path::new(folder).join("newuidmap")).find(|file| file.exists());
    let newuidmap = newuidmap.expect("it was looked for");
    let half = programs(&env, "half", &[("newuidmap", newuidmap.to_str().unwrap())]);
    let run = user.sandkeep_behind(&half, ["run", "--bundle"]).arg(&bundle.dir).arg(env.id("half")).run().code(0);
    assert_eq!(run.stdout, "0\n");
    assert!(run.stderr.contains("newgidmap") && run.stderr.contains(OWN_ID), "{run}");
}

#[test]
fn one_odd_byte_of_an_account_file_takes_nobodys_ids_away() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    for name in ["passwd", "subuid", "subgid"] {
        let file = env.dir().join("etc").join(name);
        let mut text = b"od\xffd:x:7:7::/:/bin/sh\n".to_vec();
        text.extend(fs::read(&file).unwrap());
        fs::write(&file, text).unwrap();
    }
    let bundle = with_one_more_id(user.bundle()).script("cat /proc/self/uid_map | wc -l");
    user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("odd")).run().success().prints("2\n");
}

#[test]
fn what_needs_a_cgroup_says_so_where_there_is_none() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let env = Env::new();
    let id = env.id("disabled");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    env.cmd(["--cgroup-manager", "disabled", "create", "--bundle"]).arg(&bundle.dir).arg(&id).run().success();
    env.run(["start", &id]).success();
    let theirs = Env::new();
    let user = Ordinary::with(&theirs, Further::None);
    let own = theirs.id("ordinary");
    let bundle = user.bundle().args(&["sleep", "1000"]);
    let of_user = |args: &[&str]| user.sandkeep(args);
    let null = || fs::File::options().write(true).open("/dev/null").unwrap();
    of_user(&["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&own).stdout(null()).stderr(null()).run().success();
    for (command, needle) in [("pause", "cannot freeze or thaw: the container has no cgroup"), ("events", "no cgroup")]
    {
        for outcome in [env.run([command, &id]), of_user(&[command, &own]).run()] {
            let outcome = outcome.fails_with(1, &[needle, "delegated", "--cgroup-manager"]);
            assert!(!outcome.stderr.contains("/sys/fs/cgroup"), "a bare path says nothing: {outcome}");
        }
    }
    let update = ["update", "--memory", "100000000"];
    env.run(update.iter().chain(&[id.as_str()])).fails_with(1, &["nothing to limit", "delegated", "--cgroup-manager"]);
    of_user(&[update[0], update[1], update[2], &own]).run().fails_with(1, &["delegated"]);
    assert_eq!(env.status(&id), "running", "nothing has changed");
    let limited = user.bundle().edit(|config| config["linux"]["resources"] = json!({"memory": {"limit": 100_000_000}}));
    let run = of_user(&["run", "--bundle"]).arg(&limited.dir).arg(theirs.id("limited")).run();
    run.fails_with(1, &["memory.limit", "delegated to this user"]);
    of_user(&["delete", "--force", &own]).run().success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_limit_of_processes_that_is_reached_is_named_instead_of_try_again() {
    needs_root!();
    let env = Env::new();
    let id = env.id("processes");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    env.run(["update", "--pids-limit", "1", &id]).success();
    let exec = env.run(["exec", &id, "true"]).fails_with(255, &["pids.max", "ulimit -u"]);
    assert!(!exec.stderr.contains("temporarily unavailable"), "{exec}");
    env.run(["delete", "--force", &id]).success();
    // Its own, or of whoever made room for it: the same is said.
    let bundle = env.bundle().edit(|config| config["linux"]["resources"]["pids"] = json!({"limit": 1}));
    env.run_bundle(&bundle, &env.id("one")).run().fails_with(1, &["pids.max"]);
}

#[test]
fn a_user_over_its_own_limit_of_processes_is_told_so() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "prlimit");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::None);
    let bundle = user.bundle();
    // Once it is that user's process: before, the kernel refuses to execute anything. So it lies where the user can go.
    let program = env.dir().join("program");
    fs::copy(env.binary(), &program).unwrap();
    let number = support::ordinary::USER.to_string();
    let behind = ["--reuid", &number, "--regid", &number, "--clear-groups", "prlimit", "--nproc=1"];
    let cmd = Cmd::new("setpriv").args(behind).arg(&program).arg("--root").arg(env.root()).args(["run", "--bundle"]);
    cmd.arg(&bundle.dir).arg(env.id("nproc")).run().fails_with(1, &["ulimit -u"]);
}

#[test]
fn a_limit_of_memory_that_is_too_low_for_the_start_is_named() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().edit(|config| config["linux"]["resources"]["memory"] = json!({"limit": 8192}));
    let outcome = env.run_bundle(&bundle, &env.id("memory")).run();
    if outcome.status.success() {
        skipped!("this kernel lets a process begin with two pages");
    }
    outcome.fails("memory");
}
