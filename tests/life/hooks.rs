//! Hooks: what they are given, what their failures do, and those that take long, hang, or come when half of the bundle
//! is gone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::command::DEADLINE;
use support::{Bundle, Env, Lines, needs_root, needs_tool, until};

fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

fn with_hooks(bundle: Bundle, hooks: Value) -> Bundle {
    bundle.edit(|config| config["hooks"] = hooks)
}

/// A hook that adds a word to a file.
fn note(word: &str, file: &Path) -> Value {
    hook(&format!("echo {word} >> {}", file.display()))
}

fn noted(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn every_kind_of_hook_finds_its_state_its_environment_and_its_folder() {
    needs_root!();
    let env = Env::new();
    let id = env.id("all");
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    // The name under which it was called, where it is, what it was given, and who is pid 1 of what it sees.
    let tell = |kind: &str, to: &str| {
        let script =
            format!("cat > {to}/{kind}; pwd > {to}/{kind}.cwd; env > {to}/{kind}.env; echo $0 > {to}/{kind}.arg0");
        // In the container it is busybox, which goes by the name that it is called with.
        let name = if to == "/shared" { "sh".to_owned() } else { format!("name of {kind}") };
        json!([{"path": "/bin/sh", "args": [name, "-c", script], "env": ["PATH=/bin:/usr/bin", "A=b=c"]}])
    };
    let host = shared.to_str().unwrap().to_owned();
    let hooks = json!({
        "prestart": tell("prestart", &host), "createRuntime": tell("createRuntime", &host),
        "createContainer": tell("createContainer", &host), "startContainer": tell("startContainer", "/shared"),
        "poststart": tell("poststart", &host), "poststop": tell("poststop", &host),
    });
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).script("sleep 1000");
    let bundle = bundle.edit(|config| {
        config["annotations"] = json!({"a.b": "c"});
        config["process"]["cwd"] = json!("/tmp");
    });
    let bundle = with_hooks(bundle, hooks);
    env.created(&bundle, &id);
    let pid = env.pid(&id);
    env.run(["start", &id]).success();
    env.run(["delete", "--force", &id]).success();

    let bundle_dir = fs::canonicalize(&bundle.dir).unwrap();
    let bundle_dir = bundle_dir.to_str().unwrap();
    for (kind, status, its_pid, cwd) in [
        ("prestart", "creating", pid, bundle_dir),
        ("createRuntime", "creating", pid, bundle_dir),
        ("createContainer", "creating", 1, "rootfs"),
        ("startContainer", "created", 1, "/tmp"),
        ("poststart", "running", pid, bundle_dir),
        ("poststop", "stopped", 0, bundle_dir),
    ] {
        let text = fs::read_to_string(shared.join(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let state: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}: {text}"));
        assert_eq!(state["id"], json!(id), "{kind}");
        assert_eq!(state["status"], status, "{kind}");
        assert_eq!(state["bundle"], bundle_dir, "{kind}");
        assert_eq!(state["annotations"], json!({"a.b": "c"}), "{kind}");
        assert!(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{kind}");
        let own = state["pid"].as_i64().unwrap();
        // In the container its pid is what its own PID namespace says.
        assert_eq!(own, i64::from(its_pid), "{kind}");
        let word = |what: &str| fs::read_to_string(shared.join(format!("{kind}.{what}"))).unwrap().trim().to_owned();
        assert!(word("cwd").ends_with(cwd), "{kind} ran in {}", word("cwd"));
        let name = if kind == "startContainer" { "sh".to_owned() } else { format!("name of {kind}") };
        assert_eq!(word("arg0"), name);
        let mut names: Vec<String> = word("env")
            .lines()
            .filter(|line| !["PWD", "SHLVL", "_", "OLDPWD"].iter().any(|own| line.starts_with(&format!("{own}="))))
            .map(str::to_owned)
            .collect();
        names.sort();
        assert_eq!(names, ["A=b=c", "PATH=/bin:/usr/bin"], "{kind}");
    }
}

#[test]
fn a_hook_without_an_environment_has_the_commands_or_the_applications() {
    needs_root!();
    let env = Env::new();
    let id = env.id("inherited");
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mut hooks = json!({});
    for kind in kinds {
        let to = if kind == "startContainer" { "/shared" } else { shared.to_str().unwrap() };
        let tell = |name: &str| format!("echo \"$FROM|$HOME|$PATH\" > {to}/{kind}.{name}");
        let without = json!({"path": "/bin/sh", "args": ["sh", "-c", tell("without")]});
        let empty = json!({"path": "/bin/sh", "args": ["sh", "-c", tell("empty")], "env": []});
        hooks[kind] = json!([without, empty]);
    }
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]);
    let bundle = bundle.edit(|config| config["process"]["env"] = json!(["PATH=/bin", "FROM=the application"]));
    let run = env.run_bundle(&with_hooks(bundle, hooks), &id).env_clear();
    run.env("FROM", "the caller").env("PATH", "/usr/bin:/bin").env("HOME", "/nowhere").run().success();
    let told = |kind: &str, name: &str| fs::read_to_string(shared.join(format!("{kind}.{name}"))).unwrap();
    for kind in kinds {
        let expected = match kind {
            "createContainer" => "the application||/bin\n",
            "startContainer" => "the application|/root|/bin\n",
            _ => "the caller|/nowhere|/usr/bin:/bin\n",
        };
        assert_eq!(told(kind, "without"), expected, "{kind}");
        // The shell has a PATH of its own where it is given none.
        assert!(told(kind, "empty").starts_with("||"), "{kind}: {}", told(kind, "empty"));
    }
}

#[test]
fn a_runtime_hook_may_add_a_mount_by_way_of_the_containers_mount_namespace() {
    needs_root!();
    needs_tool!("nsenter");
    let env = Env::new();
    let id = env.id("nsenter");
    let added = env.dir().join("added");
    fs::write(&added, "added").unwrap();
    let bundle = env.bundle().args(&["cat", "/etc/added", "/etc/before"]);
    for name in ["added", "before"] {
        fs::write(bundle.rootfs().join("etc").join(name), "").unwrap();
    }
    let etc = bundle.rootfs().join("etc");
    let script = |name: &str| {
        format!(
            "pid=$(grep -o '\"pid\":[0-9]*' | grep -o '[0-9]*'); nsenter -m -t $pid mount --bind {} {}/{name}",
            added.display(),
            etc.display()
        )
    };
    let hooks = json!({"prestart": [hook(&script("before"))], "createRuntime": [hook(&script("added"))]});
    let bundle = with_hooks(bundle, hooks);
    env.run_bundle(&bundle, &id).run().success().prints("addedadded");
    assert_eq!(fs::read_to_string(etc.join("added")).unwrap(), "", "it was mounted on the host");
}

#[test]
fn a_create_container_hook_finds_the_mounts_below_the_rootfs_and_may_add_to_them() {
    needs_root!();
    let env = Env::new();
    let id = env.id("mounter");
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("file"), "from outside").unwrap();
    let bundle = env.bundle().bind(&shared, "/mnt", &["rbind", "ro"]).args(&["cat", "/mnt/file", "/root/added"]);
    let rootfs = bundle.rootfs();
    let rootfs = rootfs.to_str().unwrap();
    let script = format!(
        "test -e {rootfs}/mnt/file && mount -t tmpfs none {rootfs}/root && echo ' and added' > {rootfs}/root/added"
    );
    let bundle = with_hooks(bundle, json!({"createContainer": [hook(&script)]}));
    env.run_bundle(&bundle, &id).run().success().prints("from outside and added\n");
    assert!(!bundle.rootfs().join("root/added").exists(), "it was mounted on the host");
}

#[test]
fn a_create_that_a_hook_fails_runs_the_poststop_hooks_once_and_says_why() {
    needs_root!();
    let env = Env::new();
    let said = env.dir().join("said");
    let fail = hook("echo because >&2; exit 4");
    for (kind, before) in [
        ("prestart", vec![]),
        ("createRuntime", vec!["prestart"]),
        ("createContainer", vec!["prestart", "createRuntime"]),
    ] {
        let _ = fs::remove_file(&said);
        let id = env.id(kind);
        let mut hooks = json!({
            "prestart": [note("prestart", &said)], "createRuntime": [note("createRuntime", &said)],
            "poststop": [note("one", &said), note("two", &said)],
        });
        hooks[kind] = json!([fail]);
        let bundle = with_hooks(env.bundle(), hooks);
        env.create(&bundle, &id).run().fails_with(1, &[kind, "hook", "exit code 4: because"]);
        assert_eq!(noted(&said), [&before[..], &["one", "two"]].concat(), "{kind}");
        env.gone(&id);
    }
}

#[test]
fn a_create_that_fails_before_there_is_a_container_runs_no_hook() {
    needs_root!();
    let env = Env::new();
    let id = env.id("early");
    let said = env.dir().join("said");
    let bundle = env.bundle().bind(Path::new("/no/such/source"), "/x", &["bind"]);
    let bundle = with_hooks(bundle, json!({"prestart": [note("a", &said)], "poststop": [note("b", &said)]}));
    env.create(&bundle, &id).run().fails("/no/such/source");
    assert!(!said.exists());
}

#[test]
fn a_run_whose_program_is_missing_ends_with_its_poststop_hooks() {
    needs_root!();
    let env = Env::new();
    let id = env.id("none");
    let said = env.dir().join("said");
    let bundle = with_hooks(env.bundle().args(&["no-such-program"]), json!({"poststop": [note("stopped", &said)]}));
    env.run_bundle(&bundle, &id).run().fails_with(127, &["no-such-program"]);
    assert_eq!(noted(&said), ["stopped"]);
}

#[test]
fn a_failed_start_container_hook_is_the_end_of_the_container_before_its_application() {
    needs_root!();
    let env = Env::new();
    let id = env.id("nostart");
    let said = env.dir().join("said");
    let hooks = json!({
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]}],
        "poststop": [note("stopped", &said)],
    });
    let bundle = with_hooks(env.bundle().script("echo ran > /ran; sleep 1000"), hooks);
    env.created(&bundle, &id);
    env.run(["start", &id]).fails_with(1, &["startContainer", "exit code 3: why"]);
    assert!(!bundle.rootfs().join("ran").exists());
    assert_eq!(noted(&said), ["stopped"]);
    env.gone(&id);
}

#[test]
fn a_failed_poststart_hook_is_the_end_of_the_container_and_the_hooks_after_it_do_not_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("poststart");
    let said = env.dir().join("said");
    let hooks = json!({"poststart": [hook("exit 9"), note("never", &said)], "poststop": [note("stopped", &said)]});
    let bundle = with_hooks(env.bundle().script("sleep 1000"), hooks);
    env.created(&bundle, &id);
    env.run(["start", &id]).fails_with(1, &["poststart", "exit code 9"]);
    assert_eq!(noted(&said), ["stopped"]);
    env.gone(&id);
    for run in [env.run_bundle(&bundle, &id), env.cmd(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id)] {
        run.run().fails_with(1, &["poststart", "exit code 9"]);
        env.gone(&id);
    }
    assert_eq!(noted(&said), ["stopped"; 3]);
}

/// What the hook does in between is nobody else's fault: a sandbox that has the id by then is left alone.
#[test]
fn a_poststart_hook_that_fails_ends_no_other_sandbox_of_that_id() {
    needs_root!();
    let env = Env::new();
    let id = env.id("replaced");
    let other = env.bundle().args(&["sleep", "1000"]);
    let replace = format!(
        "s='{} --root {}'; $s delete --force {id} && $s create --bundle {} {id} </dev/null >/dev/null 2>&1; exit 4",
        env.binary().display(),
        env.root().display(),
        other.dir.display()
    );
    let bundle = with_hooks(env.bundle().script("sleep 1000"), json!({"poststart": [hook(&replace)]}));
    env.created(&bundle, &id);
    env.run(["start", &id]).fails_with(1, &["poststart", "exit code 4"]);
    assert_eq!(env.status(&id), "created");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_failed_poststop_hook_is_a_warning_and_the_next_ones_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("poststop");
    let said = env.dir().join("said");
    let hooks = json!({"poststop": [hook("echo no >&2; exit 2"), note("next", &said)]});
    let bundle = with_hooks(env.bundle().script("sleep 1000"), hooks);
    env.started(&bundle, &id);
    let delete = env.run(["delete", "--force", &id]);
    assert!(delete.status.success(), "{delete}");
    assert!(delete.stderr.contains("poststop") && delete.stderr.contains("exit code 2: no"), "{delete}");
    assert_eq!(noted(&said), ["next"]);
    env.gone(&id);
}

#[test]
fn a_hook_that_outlives_its_timeout_fails_create() {
    needs_root!();
    let env = Env::new();
    let id = env.id("timeout");
    let mut slow = hook("sleep 1000");
    slow["timeout"] = json!(1);
    let bundle = with_hooks(env.bundle(), json!({"createRuntime": [slow]}));
    env.create(&bundle, &id).run().fails_with(1, &["createRuntime", "timeout of 1 s"]);
    env.gone(&id);
}

/// Its command dies while it runs: the hook goes on, is waited for, and is not run again.
#[test]
fn a_poststop_hook_that_outlives_its_delete_is_waited_for_and_not_run_again() {
    needs_root!();
    let env = Env::new();
    let id = env.id("orphan");
    let said = env.dir().join("said");
    let pipe = env.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let slow = hook(&format!("echo begun >> {0}; cat {1}; echo ended >> {0}", said.display(), pipe.display()));
    let hooks = json!({"poststop": [note("first", &said), slow, note("last", &said)]});
    let bundle = with_hooks(env.bundle().script("sleep 1000"), hooks);
    env.started(&bundle, &id);
    let delete = env.cmd(["delete", "--force", &id]).spawn();
    until(DEADLINE, "running hook", || noted(&said).len() == 2);
    support::process::send(delete.pid(), Signal::SIGKILL);
    assert!(!delete.finish(DEADLINE).status.success());
    let recover = env.cmd(["recover"]).spawn();
    // The hook reads the end of its pipe now.
    drop(fs::File::options().write(true).open(&pipe).unwrap());
    let recover = recover.finish(DEADLINE).success();
    assert!(recover.stdout.contains("it is not run again"), "{recover}");
    assert_eq!(noted(&said), ["first", "begun", "ended", "last"]);
    env.gone(&id);
}

/// What it prepares is being undone: it is ended first.
#[test]
fn a_create_hook_that_outlives_its_create_is_killed_before_the_poststop_hooks() {
    needs_root!();
    let env = Env::new();
    let id = env.id("cut");
    let said = env.dir().join("said");
    let slow = hook(&format!("echo $$ >> {}; sleep 1000 & wait", said.display()));
    let bundle = with_hooks(env.bundle(), json!({"createRuntime": [slow], "poststop": [note("stopped", &said)]}));
    let create = env.create(&bundle, &id).spawn();
    until(DEADLINE, "running hook", || noted(&said).len() == 1);
    support::process::send(create.pid(), Signal::SIGKILL);
    assert!(!create.finish(DEADLINE).status.success());
    let recover = env.run(["recover"]).success();
    assert!(recover.stdout.contains("what still ran of it was killed"), "{recover}");
    let words = noted(&said);
    assert_eq!(words[1..], ["stopped"]);
    assert!(!support::process::runs(words[0].parse().unwrap()), "the hook still runs");
    env.gone(&id);
}

/// The start is on record, its command is dead: `recover` does what is left of its work.
#[test]
fn poststart_hooks_that_a_killed_start_left_are_run_by_recover() {
    needs_root!();
    let env = Env::new();
    let id = env.id("left");
    let said = env.dir().join("said");
    let slow = hook(&format!("echo begun >> {}; sleep 1000", said.display()));
    let after = hook(&format!("grep -o '\"status\":\"[a-z]*\"' >> {0}; echo after >> {0}", said.display()));
    let bundle = with_hooks(env.bundle().script("sleep 1000"), json!({"poststart": [slow, after]}));
    env.created(&bundle, &id);
    let start = env.cmd(["start", &id]).spawn();
    until(DEADLINE, "running hook", || noted(&said).len() == 1);
    env.run(["recover"]).success().prints("");
    support::process::send(start.pid(), Signal::SIGKILL);
    assert!(!start.finish(DEADLINE).status.success());
    env.run(["doctor"]).code(1).says("poststart hooks");
    let recover = env.run(["recover"]).success();
    assert!(recover.stdout.contains("it is not run again"), "{recover}");
    assert!(recover.stdout.contains("ran the poststart hooks"), "{recover}");
    assert_eq!(noted(&said), ["begun", "\"status\":\"running\"", "after"]);
    assert_eq!(env.status(&id), "running");
    env.run(["recover"]).success().prints("");
    env.run(["doctor"]).success();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_poststart_hook_that_fails_in_recover_is_the_end_of_the_container_too() {
    needs_root!();
    let env = Env::new();
    let id = env.id("leftbad");
    let said = env.dir().join("said");
    let slow = hook(&format!("echo begun >> {}; sleep 1000", said.display()));
    let bundle = with_hooks(
        env.bundle().script("sleep 1000"),
        json!({"poststart": [slow, hook("exit 5")], "poststop": [note("stopped", &said)]}),
    );
    env.created(&bundle, &id);
    let start = env.cmd(["start", &id]).spawn();
    until(DEADLINE, "running hook", || noted(&said).len() == 1);
    support::process::send(start.pid(), Signal::SIGKILL);
    assert!(!start.finish(DEADLINE).status.success());
    env.run(["recover"]).success().says("exit code 5");
    assert_eq!(noted(&said), ["begun", "stopped"]);
    env.gone(&id);
}

/// The hook has failed, and the start is killed before it has destroyed the container.
#[test]
fn a_start_that_is_killed_after_its_poststart_hook_failed_leaves_the_end_to_recover() {
    needs_root!();
    let env = Env::new();
    let (id, said, go) = (env.id("leftfail"), env.dir().join("said"), env.dir().join("go"));
    let fails = format!("echo begun >> {}; until [ -e {} ]; do sleep 0.02; done; exit 6", said.display(), go.display());
    let hooks = json!({"poststart": [hook(&fails)], "poststop": [note("stopped", &said)]});
    let bundle = with_hooks(env.bundle().script("sleep 1000"), hooks);
    for has_ended in [false, true] {
        let _ = (fs::remove_file(&said), fs::remove_file(&go));
        env.created(&bundle, &id);
        let start = env.cmd(["start", &id]).spawn();
        until(DEADLINE, "running hook", || noted(&said) == ["begun"]);
        let folder = env.root().join("sandboxes").join(&id);
        // As another command would, while it works on the sandbox.
        let lock = fs::File::open(folder.join("lock")).unwrap();
        fs2::FileExt::lock_exclusive(&lock).unwrap();
        fs::write(&go, "").unwrap();
        let record = || fs::read(folder.join("hooks")).unwrap();
        until(DEADLINE, "record of the failure", || String::from_utf8_lossy(&record()).contains("failed"));
        support::process::send(start.pid(), Signal::SIGKILL);
        assert!(!start.finish(DEADLINE).status.success());
        if has_ended {
            env.run(["kill", &id, "KILL"]).success();
            env.wait(&id);
        }
        drop(lock);
        env.run(["recover"]).success().says("destroyed it, since the poststart hook");
        assert_eq!(noted(&said), ["begun", "stopped"]);
        env.gone(&id);
    }
}

#[test]
fn a_start_container_hook_may_take_longer_than_any_call() {
    needs_root!();
    let env = Env::new();
    let id = env.id("slow");
    let bundle = with_hooks(env.bundle().script("sleep 1000"), json!({"startContainer": [hook("sleep 11")]}));
    env.created(&bundle, &id);
    env.run(["start", &id]).success();
    assert_eq!(env.status(&id), "running");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_poststart_hook_that_hangs_keeps_nobody_from_deleting() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hang");
    let pipe = env.dir().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (mut lines, out) = Lines::pipe();
    let said = env.dir().join("said");
    let script = format!("echo hangs > {}; exec cat {}", said.display(), pipe.display());
    let bundle = with_hooks(env.bundle().script("echo up; sleep 1000"), json!({"poststart": [hook(&script)]}));
    env.create(&bundle, &id).stdout(out).run().success();
    let start = env.cmd(["start", &id]).spawn();
    lines.until("up");
    until(DEADLINE, "poststart hook", || said.exists());
    let began = Instant::now();
    env.run(["delete", "--force", &id]).success();
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for the lock: {:?}", began.elapsed());
    env.gone(&id);
    // The hook reads the end of its pipe now, and start ends with it.
    drop(fs::File::options().write(true).open(&pipe).unwrap());
    start.finish(Duration::from_secs(10)).success();
}

#[test]
fn poststop_hooks_run_when_the_rootfs_is_gone() {
    needs_root!();
    let env = Env::new();
    let id = env.id("rootless");
    let said = env.dir().join("said");
    let bundle = with_hooks(env.bundle().script("sleep 1000"), json!({"poststop": [note("stopped", &said)]}));
    env.created(&bundle, &id);
    fs::rename(bundle.rootfs(), bundle.dir.join("moved")).unwrap();
    env.run(["start", &id]).success();
    env.run(["delete", "--force", &id]).success();
    assert_eq!(noted(&said), ["stopped"]);
}

#[test]
fn a_hook_that_cannot_be_executed_says_why_wherever_it_was_to_run() {
    needs_root!();
    let env = Env::new();
    let id = env.id("why");
    let on_host = env.dir().join("hook");
    fs::write(&on_host, "").unwrap();
    for (kind, reason) in [
        ("startContainer", "permission denied"),
        ("startContainer", "no such file"),
        ("createContainer", "permission denied"),
        ("createRuntime", "permission denied"),
    ] {
        let path = match (kind, reason) {
            ("startContainer", "no such file") => "/none",
            ("startContainer", _) => "/h",
            _ => on_host.to_str().expect("UTF-8"),
        };
        let bundle = with_hooks(env.bundle(), json!({kind: [{"path": path}]}));
        fs::write(bundle.rootfs().join("h"), "").unwrap();
        env.run_bundle(&bundle, &id).run().fails_with(1, &[kind, path, "cannot be started: ", reason]);
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// clone3(2) is not among the system calls of docker's profile.
#[test]
fn start_container_hooks_run_under_the_default_profile() {
    needs_root!();
    let env = Env::new();
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/state"]}]);
    for no_new_privileges in [true, false] {
        let bundle = with_hooks(env.bundle().default_profile(), json!({"startContainer": hook})).edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        env.run_bundle(&bundle, &env.id("profile")).run().success();
        assert!(fs::read_to_string(bundle.rootfs().join("tmp/state")).unwrap().contains("created"));
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}
