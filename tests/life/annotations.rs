//! Annotations that ask something of a runtime are done or refused, and all others change nothing: a test for each line of
//! the table in docs/compatibility.md.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use sandkeep::spec::{self, Host, plan::MountKind};
use serde_json::{Value, json};
use support::command::DEADLINE;
use support::ordinary::Further;
use support::{Bundle, Cmd, Env, Ordinary, needs_root, needs_tool};

/// (annotation, what becomes of it), as the page has them.
fn table() -> BTreeMap<String, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, section) = text.split_once("\n## Annotations\n").expect("a section");
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut rows = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split('`').skip(1).step_by(2) {
            assert!(rows.insert(name.to_owned(), cells[2].to_owned()).is_none(), "{name} stands there twice");
        }
    }
    rows
}

fn names(outcome: &str) -> Vec<String> {
    table().into_iter().filter(|(_, here)| here == outcome).map(|(name, _)| name).collect()
}

fn annotated(bundle: Bundle, name: &str, value: &str) -> Bundle {
    bundle.edit(|config| config["annotations"] = json!({ name: value }))
}

#[test]
fn each_line_of_the_table_says_one_of_three_things_and_what_is_supported_has_a_test_here() {
    let rows = table();
    assert!(rows.len() > 25, "{rows:?}");
    assert!(rows.values().all(|here| ["supported", "refused", "ignored"].contains(&here.as_str())), "{rows:?}");
    let own = include_str!("annotations.rs");
    for name in names("supported") {
        assert!(own.contains(&format!("\"{name}\"")), "{name} has no test");
    }
}

#[test]
fn what_cannot_be_had_is_refused_by_its_name_and_nothing_is_left() {
    needs_root!();
    let env = Env::new();
    let mut refused: Vec<(String, &str)> = names("refused").into_iter().map(|name| (name, "1")).collect();
    assert!(refused.len() >= 9, "{refused:?}");
    refused.push(("run.oci.systemd.subgroup".into(), "container"));
    for (name, value) in refused {
        let bundle = annotated(env.bundle(), &name, value);
        for command in ["run", "create"] {
            let cmd = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(env.id("refused"));
            cmd.run().fails_with(1, &[&format!("annotations[{name}]")]);
        }
    }
}

#[test]
fn what_engines_write_down_for_themselves_changes_nothing_and_is_handed_on() {
    needs_root!();
    let env = Env::new();
    let ignored = names("ignored");
    assert!(ignored.len() >= 10, "{ignored:?}");
    let all: serde_json::Map<String, Value> = ignored.iter().map(|name| (name.clone(), json!("compat"))).collect();
    let id = env.id("ignored");
    let bundle = env.bundle().edit(|config| config["annotations"] = Value::Object(all.clone()));
    let created = env.create(&bundle, &id).run().success();
    assert_eq!(created.stderr, "");
    assert_eq!(env.state(&id)["annotations"], Value::Object(all));
    env.run(["start", &id]).success();
    assert_eq!(env.wait(&id), 0);
    env.delete(&id);
}

/// The command, called by somebody in these groups.
fn in_groups(cmd: Cmd, groups: &str) -> Cmd {
    cmd.behind("setpriv", &["--groups", groups])
}

const GROUPS: &str = "grep Groups: /proc/self/status";

#[test]
fn the_callers_groups_are_kept_by_run_and_exec_if_that_is_asked_for() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    let kept = |value: &str| {
        env.bundle().script(GROUPS).edit(|config| {
            config["annotations"] = json!({"run.oci.keep_original_groups": value});
            config["process"]["user"]["additionalGids"] = json!([5]);
        })
    };
    let run = |bundle: &Bundle, id: &str| in_groups(env.run_bundle(bundle, &env.id(id)), "7,70123").run().success();
    run(&kept("1"), "kept").prints("Groups:\t7 70123 \n");
    run(&kept("0"), "not-kept").prints("Groups:\t5 \n");
    env.run_bundle(&kept("perhaps"), &env.id("perhaps")).run().fails_with(1, &["keep_original_groups", "perhaps"]);
    let id = env.id("later");
    env.started(&kept("1").args(&["sleep", "1000"]), &id);
    in_groups(env.cmd(["exec", &id, "sh", "-c", GROUPS]), "8,70124").run().success().prints("Groups:\t8 70124 \n");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn the_callers_groups_are_kept_in_a_user_namespace_of_the_containers_own() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    let file = env.dir().join("of-the-group");
    std::fs::write(&file, "only for the group\n").unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(70_123)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o040)).unwrap();
    let bundle = |value: &str| {
        let bundle = env.bundle().script("cat /shared").bind(&file, "/shared", &["bind"]);
        // Root of the namespace can make nothing in a root of somebody else's.
        std::fs::write(bundle.rootfs().join("shared"), "").unwrap();
        bundle.edit(|config| {
            config["annotations"] = json!({"run.oci.keep_original_groups": value});
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            for map in ["uidMappings", "gidMappings"] {
                config["linux"][map] = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
            }
            config["process"]["capabilities"] = json!({});
        })
    };
    let run = |value: &str, id: &str| in_groups(env.run_bundle(&bundle(value), &env.id(id)), "70123").run();
    run("1", "group").success().prints("only for the group\n");
    run("0", "stranger").code(1);
}

/// podman's `--group-add keep-groups` is for this: what a user may open as a member of a group.
#[test]
fn an_ordinary_user_keeps_what_its_groups_may_open() {
    needs_root!();
    needs_tool!("setpriv", "unshare", "newuidmap", "newgidmap");
    for further in [Further::Ids, Further::None] {
        let env = Env::new();
        let user = Ordinary::with(&env, further).in_groups("70123");
        let mut bundle = user.bundle().script("cat /shared");
        let file = env.dir().join("of-the-group");
        std::fs::write(&file, "only for the group\n").unwrap();
        std::os::unix::fs::chown(&file, Some(0), Some(70_123)).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o040)).unwrap();
        bundle = bundle.bind(&file, "/shared", &["bind"]);
        let bundle = annotated(bundle, "run.oci.keep_original_groups", "1");
        let run = user.sandkeep(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("member"));
        run.run().success().prints("only for the group\n");
    }
}

#[test]
fn an_offset_of_a_clock_is_the_one_of_the_configuration() {
    needs_root!();
    let env = Env::new();
    let bundle = |value: &str| {
        let bundle = annotated(env.bundle().script("cat /proc/self/timens_offsets"), "run.oci.timens_offset", value);
        bundle.edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        })
    };
    let told = env.run_bundle(&bundle("7 12345 6"), &env.id("offset")).run().success().stdout;
    let boottime = told.lines().find(|line| line.starts_with("boottime")).expect("the clock");
    assert_eq!(boottime.split_whitespace().collect::<Vec<_>>(), ["boottime", "12345", "6"]);
    env.run_bundle(&bundle("tomorrow"), &env.id("tomorrow")).run().fails_with(1, &["run.oci.timens_offset"]);
    let without = annotated(env.bundle(), "run.oci.timens_offset", "1 1 0");
    env.run_bundle(&without, &env.id("without")).run().fails_with(1, &["time namespace"]);
}

/// A socket that somebody is about to be sent a descriptor over.
struct Receiver {
    listener: UnixListener,
    path: PathBuf,
}

impl Receiver {
    fn bind(env: &Env, name: &str) -> Receiver {
        let path = env.dir().join(name);
        Receiver { listener: UnixListener::bind(&path).unwrap(), path }
    }

    /// What was sent before this was called: nothing is waited for in vain.
    fn received(&self) -> OwnedFd {
        self.listener.set_nonblocking(true).unwrap();
        let (stream, _) = self.listener.accept().expect("somebody has connected");
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut space = nix::cmsg_space!([RawFd; 2]);
        let mut buffer = [0; 8192];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).expect("a message");
        let fds = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        sandkeep::sys::descriptors::take(fds.expect("a descriptor")[0]).unwrap()
    }
}

#[test]
fn whoever_the_configuration_names_gets_the_pidfd_of_the_container() {
    needs_root!();
    let env = Env::new();
    let receiver = Receiver::bind(&env, "pidfd.sock");
    let named = |path: &Path| annotated(env.bundle(), "run.oci.pidfd_receiver", path.to_str().unwrap());
    let id = env.id("pidfd");
    env.create(&named(&receiver.path), &id).run().success();
    let pidfd = receiver.received();
    assert_eq!(sandkeep::sys::pidfd::pid_of(pidfd.as_fd()).unwrap(), Some(env.pid(&id)));
    env.run(["delete", "--force", &id]).success();
    let nobody = env.dir().join("nobody.sock");
    env.create(&named(&nobody), &env.id("nobody")).run().fails_with(1, &["nobody.sock"]);
    env.create(&named(Path::new("relative")), &env.id("relative")).run().fails_with(1, &["run.oci.pidfd_receiver"]);
}

#[test]
fn whoever_the_annotation_names_gets_the_listener_of_a_profile_without_an_agent() {
    needs_root!();
    let env = Env::new();
    let receiver = Receiver::bind(&env, "agent.sock");
    let id = env.id("listener");
    let profile =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_NOTIFY"}]});
    let path = receiver.path.to_str().unwrap();
    let bundle = annotated(env.bundle(), "run.oci.seccomp.receiver", path);
    let bundle = bundle.edit(|config| config["linux"]["seccomp"] = profile);
    env.create(&bundle, &id).run().success();
    drop(receiver.received());
    env.run(["delete", "--force", &id]).success();
    let unfiltered = annotated(env.bundle(), "run.oci.seccomp.receiver", path);
    env.create(&unfiltered, &env.id("unfiltered")).run().fails_with(1, &["linux.seccomp"]);
}

#[test]
fn a_profile_with_a_call_that_nobody_knows_is_refused_if_that_is_asked_for() {
    needs_root!();
    let env = Env::new();
    let bundle = |value: &str, call: &str| {
        let rules = json!([{"names": ["acct", call], "action": "SCMP_ACT_ERRNO"}]);
        let bundle = annotated(env.bundle(), "run.oci.seccomp_fail_unknown_syscall", value);
        bundle.edit(|config| config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    };
    let run = |value: &str, call: &str, id: &str| env.run_bundle(&bundle(value, call), &env.id(id)).run();
    run("1", "make_coffee", "unknown").fails_with(1, &["syscalls[0]", "make_coffee"]);
    run("0", "make_coffee", "left-out").success();
    // One of another architecture is known.
    run("1", "arm_fadvise64_64", "known").success();
}

#[test]
fn the_mount_label_is_carried_by_the_option_that_is_named() {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
    let planned = |annotations: Value| {
        let mut config: Value = serde_json::from_slice(&spec::to_json(&spec::default_spec(false))).unwrap();
        config["linux"]["mountLabel"] = json!("a:b:c");
        config["annotations"] = annotations;
        let (read, _) = spec::parse(config.to_string().as_bytes()).unwrap();
        let host = Host { rootless: false, last_capability: 40 };
        spec::plan(&spec::Inputs::of(&read, bundle.path(), &host)).map(|(plan, _)| {
            let shm = plan.mounts.into_iter().find(|mount| mount.destination == Path::new("/dev/shm")).unwrap();
            let MountKind::Filesystem { options, .. } = shm.kind else { panic!("{shm:?}") };
            options.into_iter().find(|(_, value)| value.as_deref() == Some("a:b:c")).expect("a label").0
        })
    };
    assert_eq!(planned(json!({})).unwrap(), "context");
    assert_eq!(planned(json!({"run.oci.mount_context_type": "rootcontext"})).unwrap(), "rootcontext");
    assert!(planned(json!({"run.oci.mount_context_type": "mode"})).is_err());
}

#[test]
fn what_is_empty_or_meant_for_another_driver_asks_for_nothing() {
    needs_root!();
    let env = Env::new();
    for (name, value) in [
        ("run.oci.systemd.subgroup", ""),
        ("run.oci.mount_context_type", "rootcontext"),
        ("org.systemd.property.TimeoutStopUSec", "uint64 10000000"),
    ] {
        env.run_bundle(&annotated(env.bundle(), name, value), &env.id("nothing")).run().success();
    }
}

#[test]
fn our_own_annotations_take_something_away() {
    needs_root!();
    let env = Env::new();
    let landlock = json!({"writable": ["/tmp"], "abstract_sockets": "all"}).to_string();
    // SECBIT_NOROOT
    for (name, value) in [("org.sandkeep.landlock", landlock.as_str()), ("org.sandkeep.securebits", "1")] {
        env.run_bundle(&annotated(env.bundle(), name, value), &env.id("ours")).run().success();
        env.run_bundle(&annotated(env.bundle(), name, "x"), &env.id("ours")).run().fails_with(1, &[name]);
    }
}

#[test]
fn whoever_hands_annotations_on_is_told_which_change_what_a_container_is() {
    let env = Env::new();
    let told = env.run(["features"]).success().json()["potentiallyUnsafeConfigAnnotations"].clone();
    let told: Vec<&str> = told.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let covers =
        |name: &str| told.iter().any(|known| name == *known || known.ends_with('.') && name.starts_with(known));
    for name in names("supported").iter().chain(&names("refused")) {
        assert!(covers(name), "{name} is in none of {told:?}");
    }
    assert!(!names("ignored").iter().any(|name| covers(name)), "{told:?}");
}

#[test]
fn a_configuration_may_be_another_file_than_the_bundles() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("echo from $WHERE");
    let mut other = bundle.config();
    other["process"]["env"].as_array_mut().unwrap().push(json!("WHERE=another file"));
    let file = env.dir().join("other.json");
    std::fs::write(&file, other.to_string()).unwrap();
    for flag in ["-f", "--config"] {
        let run = env.cmd(["run", "--bundle"]).arg(&bundle.dir).arg(flag).arg("other.json").arg(env.id("other"));
        run.current_dir(env.dir()).run().success().prints("from another file\n");
    }
    let id = env.id("kept");
    env.cmd(["create", "--bundle"]).arg(&bundle.dir).arg("--config").arg(&file).arg(&id).run().success();
    std::fs::remove_file(&file).unwrap();
    let env_of = env.cmd(["exec", &id, "sh", "-c", "echo $WHERE"]).run().success();
    env_of.prints("another file\n");
    env.run(["delete", "--force", &id]).success();
    let missing = env.cmd(["run", "--config"]).arg(&file).arg("--bundle").arg(&bundle.dir).arg(env.id("missing"));
    missing.run().fails_with(1, &["other.json"]);
}

#[test]
fn what_only_crun_has_is_refused_in_words() {
    let env = Env::new();
    env.run(["mounts", "add", "web", "mounts.json"]).fails_with(1, &["mounts is not supported"]);
    env.run(["mounts", "remove", "web", "mounts.json"]).fails_with(1, &["mounts is not supported"]);
    env.run(["delete", "--regex", "web.*"]).fails_with(1, &["--regex is not supported", "list"]);
    env.run(["delete", "--force", "--regex", "web.*"]).fails_with(1, &["--regex is not supported"]);
    env.run(["kill", "--regex", "web.*", "KILL"]).fails_with(1, &["--regex is not supported"]);
}
