//! User namespaces: one that the container gets, and one that the runtime itself is called in, as rootless engines do.

use serde_json::json;
use support::ordinary::{FIRST_SUBID, Further, USER};
use support::{Bundle, Cmd, Env, Lines, Ordinary, needs_root, needs_tool};

#[test]
fn a_container_with_a_user_namespace_has_its_own_ids() {
    needs_root!();
    let env = Env::new();
    let id = env.id("mapped");
    let bundle =
        env.bundle().script("cat /proc/self/uid_map; id -u; touch /tmp/file; ls -ln /tmp/file; exec sleep 1000");
    let bundle = bundle.edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        let mapping = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        // Engines always set it; inside the namespace it could not be written any more.
        config["process"]["oomScoreAdj"] = json!(500);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmp" }));
    });
    env.create(&bundle, &id).stdout(std::process::Stdio::null()).run().success();
    env.run(["exec", &id, "id", "-u"]).success().prints("0\n");
    env.run(["start", &id]).success();
    let outside = std::fs::read_to_string(format!("/proc/{}/status", env.pid(&id))).unwrap();
    assert!(outside.contains("Uid:\t100000\t100000"), "{outside}");
    env.run(["exec", &id, "id", "-u"]).success().prints("0\n");
    env.run(["exec", "--user", "5:6", &id, "id", "-g"]).success().prints("6\n");
    env.run(["exec", &id, "cat", "/proc/self/oom_score_adj"]).success().prints("500\n");
    // A terminal of the container's own devpts, owned by its own root.
    let terminal = [
        "-q",
        "-e",
        "-c",
        &format!("{} --root {} exec -t {id} stat -c %u /dev/pts/0", env.binary().display(), env.root().display()),
        "/dev/null",
    ];
    Cmd::new("script").args(terminal).run().code(0).says("0");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn inside_a_user_namespace_of_somebody_else_the_whole_life_of_a_sandbox_works() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let id = env.id("inner");
    // Of all groups only root's exists in there.
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    let sandkeep = format!("{} --root {}", env.binary().display(), env.root().display());
    let script = format!(
        "set -e; {sandkeep} create --bundle {bundle} {id} </dev/null >/dev/null; {sandkeep} start {id}; \
         {sandkeep} exec {id} echo inside; {sandkeep} exec --detach {id} sleep 500; \
         {sandkeep} kill {id} KILL; {sandkeep} wait {id}; {sandkeep} delete {id}; {sandkeep} doctor",
        bundle = bundle.dir.display()
    );
    let unshare = Cmd::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    unshare.run().success().prints("inside\n137\neverything is in order\n");
}

#[test]
fn an_ordinary_user_runs_what_spec_rootless_writes() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let env = Env::new();
    for further in [Further::Ids, Further::None] {
        let user = Ordinary::with(&env, further);
        let script = "id -u; cat /proc/self/uid_map | tr -s ' '; touch /made; mount -t tmpfs x /tmp && echo mounted";
        let bundle = user.bundle().script(script).edit(|config| config["root"]["readonly"] = json!(false));
        let outcome = user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("plain")).run();
        // Root of the container is root of nothing but what it has made.
        assert_eq!(outcome.stdout, "0\n 0 0 1\n", "{outcome}");
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(bundle.rootfs().join("made")).unwrap().uid(), USER);
    }
}

#[test]
fn the_whole_life_of_an_ordinary_users_sandbox_works() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let id = env.id("life");
    let bundle = user.bundle().script("echo up; exec sleep 1000").edit(|config| {
        let mappings = json!([
            { "containerID": 0, "hostID": USER, "size": 1 },
            { "containerID": 1, "hostID": FIRST_SUBID, "size": 65536 },
        ]);
        config["linux"]["uidMappings"] = mappings.clone();
        config["linux"]["gidMappings"] = mappings;
        config["process"]["user"] = json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
    });
    let (mut lines, out) = Lines::pipe();
    user.sandkeep(["create", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(out).run().success();
    assert_eq!(user.sandkeep(["state", &id]).run().success().json()["status"], "created");
    // Its init has not executed anything yet, and is not to be looked into.
    user.sandkeep(["exec", &id, "id", "-u"]).run().success().prints("7\n");
    user.sandkeep(["start", &id]).run().success();
    lines.until("up");
    let pid = user.sandkeep(["state", &id]).run().success().json()["pid"].as_i64().unwrap() as i32;
    let uids = support::process::status_line(pid, "Uid").unwrap();
    assert!(uids.starts_with(&format!("{}\t", FIRST_SUBID + 6)), "{uids}");
    user.sandkeep(["exec", &id, "id", "-u"]).run().success().prints("7\n");
    user.sandkeep(["exec", "--user", "0:0", &id, "sh", "-c", "id -u; hostname"])
        .run()
        .success()
        .prints("0\nsandkeep\n");
    user.sandkeep(["exec", "--detach", &id, "sleep", "500"]).run().success();
    let listed = user.sandkeep(["list", "--format", "json"]).run().success().json();
    assert_eq!((&listed[0]["id"], &listed[0]["owner"]), (&json!(id), &json!("plain")));
    // The sleep of before, and the application.
    let processes = user.sandkeep(["ps", "--format", "json", &id]).run().success().json();
    assert_eq!(processes.as_array().unwrap().len(), 2, "{processes}");
    let limit = ["update", "--pids-limit", "50", &id];
    user.sandkeep(limit).run().fails("pids");
    // Its application has an id that the user may not signal by itself.
    user.sandkeep(["kill", &id, "KILL"]).run().success();
    user.sandkeep(["wait", &id]).run().success().prints("137\n");
    user.sandkeep(["delete", &id]).run().success();
    user.sandkeep(["doctor"]).run().success();
    user.sandkeep(["run", "--detach", "--bundle"])
        .arg(&bundle.dir)
        .arg(&id)
        .stdout(std::process::Stdio::null())
        .run()
        .success();
    user.sandkeep(["kill", "--all", &id, "KILL"]).run().success();
    user.sandkeep(["wait", &id]).run().success().prints("137\n");
    user.sandkeep(["delete", &id]).run().success();
    // A sandbox that runs is deleted too, and one whose creation was cut short is healed away.
    user.sandkeep(["create", "--bundle"]).arg(&bundle.dir).arg(&id).stdout(std::process::Stdio::null()).run().success();
    user.sandkeep(["delete", "--force", &id]).run().success();
    user.sandkeep(["state", &id]).run().fails("does not exist");
}

/// Killed at moments between the first namespace and the running application: the user's own `recover` finds it all.
#[test]
fn a_killed_run_of_an_ordinary_user_leaves_nothing_that_recover_does_not_heal() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let bundle = user.bundle().args(&["sleep", "1000"]);
    for moment in [20, 40, 60, 80, 100, 130, 160, 200, 300] {
        let id = env.id(&format!("killed{moment}"));
        let run = user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(&id).spawn();
        // Killed by the deadline, if it is not done for by then.
        let _ = run.finish_or_kill(std::time::Duration::from_millis(moment));
        user.sandkeep(["recover"]).run();
        user.sandkeep(["delete", "--force", &id]).run();
        user.sandkeep(["state", &id]).run().fails("does not exist");
    }
    support::until(support::command::DEADLINE, "an end of all processes", || env.leftovers().is_empty());
    user.sandkeep(["doctor"]).run().success();
}

/// Nothing has to be installed or set up for it: not even further ids, and with them it is no different.
#[test]
fn an_ordinary_user_does_things_in_a_throw_away_sandbox() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let env = Env::new();
    for further in [Further::Ids, Further::None] {
        let user = Ordinary::with(&env, further);
        let rootfs = user.bundle().rootfs();
        let script = "id -u; touch /thrown-away 2>/dev/null || touch /tmp/thrown-away && ls /tmp";
        let run = user.sandkeep(["do", "--rootfs"]).arg(&rootfs).args(["--", "sh", "-c", script]).run();
        run.success().prints(&format!("{USER}\nthrown-away\n"));
        assert!(!rootfs.join("tmp/thrown-away").exists());
        user.sandkeep(["do", "id", "-u"]).run().success().prints(&format!("{USER}\n"));
    }
}

#[test]
fn what_an_ordinary_user_cannot_have_is_told() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    let env = Env::new();
    let user = Ordinary::with(&env, Further::Ids);
    let run = |bundle: &Bundle| user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("cannot")).run();
    let bundle = user.bundle().namespace("user", None).edit(|config| {
        for mappings in ["uidMappings", "gidMappings"] {
            config["linux"].as_object_mut().unwrap().remove(mappings);
        }
    });
    run(&bundle).fails("an ordinary user needs {\"type\": \"user\"} and mappings; see `sandkeep spec --rootless`");
    let bundle = user.bundle().edit(|config| config["linux"]["uidMappings"][0]["hostID"] = json!(1));
    run(&bundle).fails_with(1, &["linux.uidMappings", "/etc/subuid"]);
    let bundle = user.bundle().edit(|config| config["linux"]["gidMappings"][0]["size"] = json!(2));
    run(&bundle).fails_with(1, &["linux.gidMappings", "/etc/subgid"]);
    let secret = std::path::Path::new("/etc/shadow");
    let bundle = user.bundle().args(&["cat", "/secret"]).bind(secret, "/secret", &["bind"]);
    let outcome = run(&bundle);
    assert!(
        !outcome.status.success() && outcome.stdout.is_empty() && outcome.stderr.contains("ermission denied"),
        "{outcome}"
    );
}

#[test]
fn a_user_namespace_is_joined_by_path_and_a_time_namespace_has_its_offsets() {
    needs_root!();
    let env = Env::new();
    let id = env.id("owner");
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
    });
    env.started(&bundle, &id);
    let path = format!("/proc/{}/ns/user", env.pid(&id));
    let bundle = env.bundle().script("cat /proc/self/uid_map | tr -s ' '; touch /dev/shm/x && stat -c %u /dev/shm/x");
    let bundle = bundle.namespace("user", Some(&path)).edit(|config| {
        config["process"]["user"] = json!({ "uid": 5, "gid": 5 });
    });
    env.run_bundle(&bundle, &env.id("joins")).run().success().prints(" 0 100000 65536\n5\n");
    env.run(["delete", "--force", &id]).success();
    let script = "cat /proc/self/timens_offsets | tr -s ' '; cut -d. -f1 /proc/uptime";
    let bundle = env.bundle().script(script).edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": 7, "nanosecs": 5 }, "boottime": { "secs": 864000 } });
    });
    let told = env.run_bundle(&bundle, &env.id("time")).run().success().stdout;
    let (offsets, uptime) = told.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(offsets, "monotonic 7 5\nboottime 864000 0");
    assert!(uptime.parse::<u64>().unwrap() >= 864_000, "{told}");
}

/// As crun does it; runc refuses.
#[test]
fn a_user_namespace_without_mappings_has_all_ids_that_there_are() {
    needs_root!();
    let env = Env::new();
    let bundle = env
        .bundle()
        .script("id -u; cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; touch /etc/new")
        .edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        });
    let lists_root =
        |file: &str| std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.starts_with("root:")));
    let outcome = env.run_bundle(&bundle, &env.id("all")).run().success();
    if lists_root("/etc/subuid") && lists_root("/etc/subgid") {
        assert!(outcome.stdout.starts_with("0\n 0 0 1\n 1 "), "{outcome}");
    } else {
        outcome.prints("0\n 0 0 4294967295\n 0 0 4294967295\n");
        let bundle =
            bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}));
        let bundle = bundle.script("id -u; id -G");
        env.run_bundle(&bundle, &env.id("user")).run().success().prints("1000\n1000 7\n");
    }
    // Half of them.
    let bundle = env.bundle().script("cat /proc/self/uid_map | tr -s ' '").edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 9}]);
    });
    env.run_bundle(&bundle, &env.id("half")).run().success().prints(" 0 0 9\n");
}

#[test]
fn an_ordinary_users_namespace_without_mappings_has_the_user_and_all_further_ids() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    let env = Env::new();
    for (further, expected) in [(Further::Ids, "0\n2\n"), (Further::None, "0\n1\n")] {
        let user = Ordinary::with(&env, further);
        let bundle = user.bundle().script("id -u; wc -l < /proc/self/uid_map").edit(|config| {
            for mappings in ["uidMappings", "gidMappings"] {
                config["linux"].as_object_mut().unwrap().remove(mappings);
            }
        });
        user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("ordinary")).run().success().prints(expected);
    }
}
