//! Ways out of a container that other runtimes have had: each is tried, and must fail.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Cmd, Env, Lines, needs_root, needs_tool};
use serde_json::json;

fn digest(file: &Path) -> String {
    Cmd::new("sha256sum").arg(file).run().success().stdout.split(' ').next().unwrap().to_owned()
}

/// CVE-2019-5736: a container that makes the runtime execute itself gets hold of its binary, and writes to it later.
#[test]
fn the_binary_cannot_be_overwritten_from_a_container() {
    needs_root!();
    needs_tool!("sha256sum");
    let home = Env::new();
    let binary = home.dir().join("sandkeep-copy");
    fs::copy(home.binary(), &binary).unwrap();
    let env = Env::new().binary_at(&binary);
    let before = digest(&binary);

    let id = env.id("overwrite");
    // Holds whatever is executed here that is not its own busybox, and tries to write to it once it has ended.
    let attack = "echo watching; while :; do for p in /proc/[0-9]*; do \
        exe=$(readlink $p/exe) || continue; case \"$exe\" in ''|*busybox*) continue;; esac; \
        ( echo overwritten >> $p/exe ) 2>/dev/null && echo WROTE $exe; \
        ( exec 3< $p/exe && n=0 && while test -d $p && test $n -lt 200; do n=$((n+1)); done && \
          echo overwritten >> /proc/self/fd/3 ) 2>/dev/null && echo WROTE LATER $exe; done; done";
    let bundle = env.bundle().script(attack).program("/bin/self", "#!/proc/self/exe\n");
    let (mut lines, out) = Lines::pipe();
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    env.create(&bundle, &id).stdout(out).stderr(null).run().success();
    env.run(["start", &id]).success();
    lines.until("watching");
    for _ in 0..20 {
        // The program is the runtime itself, as far as /proc tells; what it prints or returns is of no interest.
        env.run(["exec", &id, "/proc/self/exe", "--version"]);
        env.run(["exec", &id, "/bin/self"]);
        env.run(["exec", &id, "true"]).success();
    }
    env.run(["delete", "--force", &id]).success();
    let said = lines.rest();
    assert!(!said.contains("WROTE"), "{said}");
    assert_eq!(digest(&binary), before, "the binary was changed from inside a container");
    env.assert_clean();
}

#[test]
fn the_binary_cannot_be_overwritten_by_the_application_that_replaces_the_runtime() {
    needs_root!();
    needs_tool!("sha256sum");
    let home = Env::new();
    let binary = home.dir().join("sandkeep-copy");
    fs::copy(home.binary(), &binary).unwrap();
    let env = Env::new().binary_at(&binary);
    let before = digest(&binary);
    for args in [&["/proc/self/exe", "--version"][..], &["/proc/1/exe", "--version"]] {
        let bundle = env.bundle().args(args);
        env.run_bundle(&bundle, &env.id("self")).run();
        env.run(["delete", "--force", &env.id("self")]);
    }
    assert_eq!(digest(&binary), before);
    env.assert_clean();
}

/// What the environment says about it counts for nothing.
#[test]
fn the_environment_cannot_turn_the_protection_of_the_binary_off() {
    use nix::sys::statvfs::{FsFlags, statvfs};
    needs_root!();
    let env = Env::new();
    let id = env.id("environment");
    let bundle = env.bundle().script("echo up; sleep 1000");
    let (mut lines, out) = Lines::pipe();
    let run = env.run_bundle(&bundle, &id).stdout(out).env("_SANDKEEP_PROTECTED", "1");
    let run = run.env("_SANDKEEP_SECOND_START", "1").spawn();
    lines.until("up");
    let exe = format!("/proc/{}/exe", run.pid());
    assert!(statvfs(exe.as_str()).unwrap().flags().contains(FsFlags::ST_RDONLY));
    env.run(["kill", &id, "KILL"]).success();
    run.finish(common::command::DEADLINE).code(137);
    env.assert_clean();
}

/// A bind mount over or inside the container's procfs is refused also when a symlink of the image leads there.
#[test]
fn a_symlink_of_the_image_leads_no_mount_into_proc() {
    needs_root!();
    let env = Env::new();
    let outside = env.dir().join("outside");
    fs::create_dir_all(outside.join("self")).unwrap();
    for (target, destination) in [("/proc", "/data"), ("/proc/sys", "/data"), ("/proc", "/data/sys/kernel")] {
        let bundle = env.bundle().bind(&outside, destination, &["bind"]);
        symlink(target, bundle.rootfs().join("data")).unwrap();
        env.run_bundle(&bundle, &env.id("led")).run().fails("only a procfs may be mounted in /proc");
        let tmpfs = serde_json::json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"});
        let bundle = env.bundle().mount(tmpfs);
        symlink(target, bundle.rootfs().join("data")).unwrap();
        env.run_bundle(&bundle, &env.id("led")).run().fails("only a procfs may be mounted in /proc");
    }
    env.assert_clean();
}

/// What the image's /proc says decides nothing: there may be no procfs there at all.
#[test]
fn an_image_cannot_keep_the_callers_groups() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    let bundle = env.bundle().args(&["/bin/id", "-G"]).edit(|config| {
        config["mounts"] = serde_json::json!([]);
        config["linux"]["maskedPaths"] = serde_json::json!([]);
        config["linux"]["readonlyPaths"] = serde_json::json!([]);
    });
    fs::create_dir(bundle.rootfs().join("proc/self")).unwrap();
    fs::write(bundle.rootfs().join("proc/self/setgroups"), "deny\n").unwrap();
    let run = Cmd::new("setpriv").args(["--groups", "100,4242"]).arg(env.binary()).arg("--root").arg(env.root());
    run.args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("groups")).run().success().prints("0\n");
    env.assert_clean();
}

/// A mount's target is resolved inside the rootfs, however its symlinks point.
#[test]
fn mount_targets_never_leave_the_rootfs() {
    needs_root!();
    let env = Env::new();
    let outside = env.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("untouched"), "host").unwrap();
    let up = format!("../../../../../../../../..{}", outside.display());
    for target in [outside.display().to_string(), up] {
        let bundle = env.bundle().mount(serde_json::json!(
            {"destination": "/way/out", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]}));
        symlink(&target, bundle.rootfs().join("way")).unwrap();
        let bundle = bundle.script("touch /way/out/file; grep -c /way/out /proc/mounts; exec true");
        // Both are good: the mount lands inside, or the bundle is refused. The host must not feel either.
        env.run_bundle(&bundle, &env.id("mount")).run();
        let here: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(here, ["untouched"], "{target}");
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("/outside"), "{target}");
    }
    env.run(["recover"]).code(0);
    env.assert_clean();
}

/// The same for what the runtime itself makes: devices, masked paths, the working folder.
#[test]
fn what_the_runtime_makes_never_leaves_the_rootfs() {
    needs_root!();
    let env = Env::new();
    let outside = env.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    let bundle = env.bundle();
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(&outside, bundle.rootfs().join("dev")).unwrap();
    symlink(&outside, bundle.rootfs().join("work")).unwrap();
    let bundle = bundle.edit(|config| {
        config["process"]["cwd"] = "/work/folder".into();
        config["linux"]["maskedPaths"].as_array_mut().unwrap().push("/work/masked".into());
        let device = serde_json::json!({"path": "/work/device", "type": "c", "major": 1, "minor": 3, "fileMode": 438});
        config["linux"]["devices"] = serde_json::json!([device]);
    });
    env.run_bundle(&bundle, &env.id("made")).run();
    let made: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(made.is_empty(), "made on the host: {made:?}");
    env.run(["recover"]).code(0);
    env.assert_clean();
}

/// CVE-2019-16884 and its kin: /proc may neither be a symlink nor anything but a proc.
#[test]
fn proc_cannot_be_swapped_for_something_else() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("tmp", bundle.rootfs().join("proc")).unwrap();
    let bundle = bundle.script("test -e /proc/kcore && head -c1 /proc/kcore | wc -c");
    let outcome = env.run_bundle(&bundle, &env.id("proc")).run();
    assert!(!outcome.status.success() || outcome.stdout == "0\n", "{outcome}");
    let volume = env.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    let bundle = env.bundle().bind(&volume, "/proc", &["rbind"]);
    let outcome = env.run_bundle(&bundle, &env.id("volume")).run();
    assert!(!outcome.status.success(), "a volume over /proc: {outcome}");
    env.run(["recover"]).code(0);
    env.assert_clean();
}

/// CVE-2024-21626: nothing of the host is open in a container, above all no folder.
#[test]
fn no_file_descriptor_leaks_into_a_container() {
    needs_root!();
    let env = Env::new();
    let script = "ls /proc/self/fd | sort -n | tr '\\n' ' '";
    let bundle = env.bundle().script(script);
    let leaking = |args: &[&str]| {
        let script = "exec 6</etc/passwd 7</proc 8</ 9</sys/fs/cgroup; exec \"$0\" \"$@\"";
        Cmd::new("sh").args(["-c", script]).arg(env.binary()).arg("--root").arg(env.root()).args(args).run()
    };
    // 3 is the folder that ls itself reads.
    leaking(&["run", "--bundle", bundle.dir.to_str().unwrap(), &env.id("run")]).success().prints("0 1 2 3 ");
    let id = env.id("exec");
    let bundle = env.bundle().args(&["sleep", "1000"]);
    leaking(&["create", "--bundle", bundle.dir.to_str().unwrap(), &id]).success();
    leaking(&["start", &id]).success();
    let fds: Vec<_> =
        fs::read_dir(format!("/proc/{}/fd", env.pid(&id))).unwrap().map(|fd| fd.unwrap().file_name()).collect();
    assert_eq!(fds.len(), 3, "{fds:?}");
    leaking(&["exec", &id, "sh", "-c", script]).success().prints("0 1 2 3 ");
    for cwd in ["/proc/self/fd/7", "/proc/self/fd/8", "/proc/self/fd/9", "/proc/self/fd/3"] {
        let outcome = leaking(&["exec", "--cwd", cwd, &id, "sh", "-c", "cat ../../../etc/shadow /etc/shadow"]);
        assert!(!outcome.status.success() && outcome.stdout.is_empty(), "{outcome}");
    }
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

/// CVE-2022-29162: no capability is inheritable unless the spec says so.
#[test]
fn nothing_is_inheritable_that_the_spec_does_not_name() {
    needs_root!();
    let env = Env::new();
    let id = env.id("caps");
    let script = "grep -E 'Cap(Inh|Amb)' /proc/self/status";
    let nothing = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    let bare = |config: &mut serde_json::Value| {
        for set in ["inheritable", "ambient"] {
            config["process"]["capabilities"].as_object_mut().unwrap().remove(set);
        }
    };
    env.run_bundle(&env.bundle().edit(bare).script(script), &id).run().success().prints(nothing);
    env.started(&env.bundle().edit(bare).args(&["sleep", "1000"]), &id);
    env.run(["exec", &id, "sh", "-c", script]).success().prints(nothing);
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

/// CVE-2016-9962: a process that is entering the container cannot be traced or looked into from inside.
#[test]
fn an_entering_process_cannot_be_looked_into() {
    needs_root!();
    let env = Env::new();
    let id = env.id("enter");
    let watch = "echo watching; while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; \
        exe=$(readlink $p/exe) || continue; case \"$exe\" in *busybox*|'') continue;; esac; \
        ls $p/fd/ >/dev/null 2>&1 && ls $p/fd/ | grep -q . && echo LOOKED; \
        cat $p/root/etc/hostname >/dev/null 2>&1 && test -e $p/root/usr/bin/env && echo ENTERED; done; done";
    let bundle = env.bundle().script(watch);
    let (mut lines, out) = Lines::pipe();
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    env.create(&bundle, &id).stdout(out).stderr(null).run().success();
    env.run(["start", &id]).success();
    lines.until("watching");
    for _ in 0..30 {
        env.run(["exec", &id, "true"]).success();
    }
    env.run(["delete", "--force", &id]).success();
    let said = lines.rest();
    assert!(!said.contains("LOOKED") && !said.contains("ENTERED"), "{said}");
    env.assert_clean();
}

/// A process that enters a container must not be visible to it while anything behind it is still the host's
/// (CVE-2016-9962): with CAP_SYS_PTRACE, /proc/PID/root of such a process would be the host's root.
#[test]
fn a_container_that_may_ptrace_sees_nothing_of_the_host_behind_an_entering_process() {
    needs_root!();
    let env = Env::new();
    let id = env.id("spy");
    let secret = env.dir().join("secret");
    fs::write(&secret, "the host's own\n").unwrap();
    let script = format!(
        "while :; do for p in /proc/[0-9]*; do cat $p/root{0} && echo stolen; cat $p/cwd{0} && echo stolen; done 2>/dev/null; done",
        secret.display()
    );
    let out = env.dir().join("out");
    let bundle = env.bundle().script(&script).capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    env.create(&bundle, &id).stdout(fs::File::create(&out).unwrap()).run().success();
    env.run(["start", &id]).success();
    for _ in 0..40 {
        env.run(["exec", &id, "true"]).success();
        env.run(["exec", "--detach", &id, "true"]).success();
    }
    env.run(["delete", "--force", &id]).success();
    assert_eq!(fs::read_to_string(&out).unwrap(), "");
    env.assert_clean();
}

/// What lies below a tmpfs with tmpcopyup is copied as it is: a symlink out of the image stays a symlink.
#[test]
fn a_copy_up_follows_no_symlink() {
    needs_root!();
    let env = Env::new();
    let secret = env.dir().join("secret");
    fs::write(&secret, "host").unwrap();
    let script =
        "cat /data/folder/file; cat /data/link 2>/dev/null; readlink /data/link; ls -ld /data/folder | cut -c1-10";
    let tmpfs = serde_json::json!({
        "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"],
    });
    let bundle = env.bundle().script(script).mount(tmpfs);
    let data = bundle.rootfs().join("data");
    fs::create_dir_all(data.join("folder")).unwrap();
    fs::write(data.join("folder/file"), "mine\n").unwrap();
    symlink(&secret, data.join("link")).unwrap();
    let expected = format!("mine\n{}\ndrwxr-xr-x\n", secret.display());
    env.run_bundle(&bundle, &env.id("copyup")).run().success().prints(&expected);
    env.assert_clean();
}

/// The host's root stays below the container's: nothing of it may be seen, and no new proc or sysfs mounted.
#[test]
fn a_root_that_is_covered_instead_of_left_shows_nothing_of_the_host() {
    needs_root!();
    let env = Env::new();
    let proof = env.dir().join("only-on-the-host");
    std::fs::write(&proof, "").unwrap();
    let script = format!(
        "ls -d /bin/busybox; ls {} 2>/dev/null; cut -d' ' -f5 /proc/self/mountinfo | grep -c '^/$'; \
         mkdir /tmp/p /tmp/old; for fs in proc sysfs; do unshare -mrpf mount -t $fs none /tmp/p 2>/dev/null && echo mounted $fs; done; \
         chroot /tmp/old ls / 2>/dev/null; cd /; cd ../../..; ls -d bin/busybox; ls .{} 2>/dev/null; exit 0",
        proof.display(),
        proof.display()
    );
    let plain = || env.bundle().script(&script).capabilities(&["CAP_SYS_CHROOT", "CAP_SETFCAP", "CAP_SYS_ADMIN"]);
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", "test -e ./bin/busybox"]}]);
    let hooked = plain().edit(|config| config["hooks"] = json!({ "createContainer": hook }));
    for (bundle, name) in [(plain(), "cover"), (hooked, "moved")] {
        let outcome = env.run_bundle(&bundle, &env.id(name)).arg("--no-pivot").run().success();
        assert!(outcome.stdout.starts_with("/bin/busybox\n"), "{outcome}");
        assert!(outcome.stdout.ends_with("bin/busybox\n"), "{outcome}");
        for word in ["only-on-the-host", "mounted"] {
            assert!(!outcome.stdout.contains(word), "{word}: {outcome}");
        }
    }
    env.assert_clean();
}
