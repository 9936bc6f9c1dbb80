//! Ways out of a container that other runtimes have had: each is tried, and must fail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use support::{Cmd, Env, Lines, Swapping, needs_root, needs_tool};

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
}

/// Whatever stays, or goes, where a container may look is executed from where nobody can write to it; what the environment
/// says about it counts for nothing.
#[test]
fn what_a_container_may_see_of_us_runs_from_a_protected_binary() {
    use nix::sys::statvfs::{FsFlags, statvfs};
    needs_root!();
    let env = Env::new();
    let id = env.id("environment");
    let create = env.create(&env.bundle(), &id).env("_SANDKEEP_PROTECTED", "1").env("_SANDKEEP_SECOND_START", "1");
    create.run().success();
    // Its init has not executed the application yet.
    for pid in [env.pid(&id), env.supervisor(&id)] {
        let exe = format!("/proc/{pid}/exe");
        assert!(statvfs(exe.as_str()).unwrap().flags().contains(FsFlags::ST_RDONLY), "{exe}");
    }
    env.run(["delete", "--force", &id]).success();
}

/// A container that may trace what enters it finds there what it is given, and nothing of whoever gives it: that is another
/// program, whose memory, arguments, environment and descriptors are its own (CVE-2016-9962 and its kind).
#[test]
fn what_waits_to_be_the_application_remembers_nothing_of_its_creator() {
    needs_root!();
    let env = Env::new();
    let id = env.id("clean");
    let secret = "SECRET-of-the-caller-7d1f";
    let create = env.create(&env.bundle().args(&["/bin/true"]), &id).env("HOST_SECRET", secret);
    create.run().success();
    let pid = env.pid(&id);
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(read("environ"), b"");
    let arguments = String::from_utf8(read("cmdline")).unwrap();
    assert!(arguments.starts_with("sandkeep-enter\0") && !arguments.contains(&id), "{arguments:?}");
    assert!(!memory_of(pid).windows(secret.len()).any(|window| window == secret.as_bytes()), "it is in its memory");
    // Its standard three, the channel on which it waits, and what it will close at exec: nothing of a cgroup, no pidfd.
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap().display().to_string();
        assert!(!target.contains("cgroup") && !target.contains("pidfd") && !target.contains("/ns/"), "{target}");
    }
    env.run(["delete", "--force", &id]).success();
}

fn memory_of(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut part = vec![0; (to - from) as usize];
        memory.read_exact_at(&mut part, from).unwrap();
        all.extend(part);
    }
    assert!(all.len() > 10_000, "hardly any memory was read");
    all
}

/// A bind mount over or inside the container's procfs is refused also when a symlink of the image leads there
/// (CVE-2023-27561, CVE-2019-19921).
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
}

/// CVE-2021-30465, CVE-2024-45310: another container swaps a folder of a shared volume for a symlink while mounts are made
/// below it. They must not land on the host, no host folder may appear in the container, nothing may be made on the host.
#[test]
fn a_folder_that_is_swapped_for_a_symlink_while_it_is_mounted_on_leads_nowhere() {
    needs_root!();
    let env = Env::new();
    let outside = env.dir().join("outside");
    fs::create_dir_all(outside.join("there")).unwrap();
    fs::write(outside.join("there/secret"), "of the host\n").unwrap();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    for to in [outside.as_path(), Path::new("/proc"), Path::new("../../../../../../../../..")] {
        let volume = env.dir().join("volume");
        fs::create_dir_all(volume.join("target")).unwrap();
        let link = volume.join("link");
        symlink(to, &link).unwrap();
        let swapping = Swapping::begin(&volume.join("target"), &link);
        for _ in 0..10 {
            let script = "cat /volume/*/there/secret /volume/*/secret /there/secret 2>/dev/null; \
                          awk '$5 ~ \"^/proc/\" && / - tmpfs x/ { print }' /proc/self/mountinfo; ls -d /etc/shadow 2>/dev/null";
            let mut bundle = env.bundle().script(script).bind(&volume, "/volume", &["bind"]);
            for destination in
                ["/volume/target", "/volume/target/there", "/volume/target/sys/kernel", "/volume/target/new/deep"]
            {
                let options = ["mode=755"];
                bundle = bundle.mount(
                    serde_json::json!({"destination": destination, "type": "tmpfs", "source": "x", "options": options}),
                );
            }
            bundle = bundle.bind(&volume, "/volume/target/bound", &["bind"]);
            // Whether it comes to be or is refused depends on the moment: what matters is what it sees.
            let outcome = env.run_bundle(&bundle, &env.id("race")).run();
            assert_eq!(outcome.stdout, "", "{outcome}");
            fs::remove_dir_all(&bundle.dir).unwrap();
        }
        drop(swapping);
        fs::remove_dir_all(&volume).unwrap();
        let there: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there, ["there"], "made on the host");
        assert_eq!(fs::read_dir(outside.join("there")).unwrap().count(), 1, "made on the host");
    }
    let ours = |text: &str| text.lines().filter(|line| line.contains(env.tag())).count();
    assert_eq!(ours(&mounts()), ours(&before));
}

/// CVE-2025-31133: what covers a masked path is not the container's /dev/null, whatever that is swapped for.
#[test]
fn a_null_device_that_is_swapped_for_a_symlink_masks_nothing_with_something_else() {
    needs_root!();
    let env = Env::new();
    let dev = env.dir().join("dev");
    fs::create_dir_all(dev.join("pts")).unwrap();
    fs::write(dev.join("null"), "").unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("link")).unwrap();
    let core_pattern = || fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let before = core_pattern();
    let swapping = Swapping::begin(&dev.join("null"), &dev.join("link"));
    for own_dev in [true, false] {
        for _ in 0..8 {
            let script = "for f in /proc/keys /proc/timer_list; do test -e $f || continue; stat -f -c %T $f; cat $f; done; \
                          (echo stolen > /proc/keys) 2>/dev/null; cat /proc/sys/kernel/core_pattern | head -c 6";
            let bundle = env.bundle().script(script).edit(|config| {
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            });
            let bundle = if own_dev {
                bundle.bind(&dev, "/dev", &["bind"])
            } else {
                fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
                symlink("volume", bundle.rootfs().join("dev")).unwrap();
                bundle.bind(&dev, "/volume", &["bind"])
            };
            let outcome = env.run_bundle(&bundle, &env.id("null")).run();
            let lines: Vec<&str> = outcome.stdout.lines().collect();
            let masked = Path::new("/proc/keys").exists() as usize + Path::new("/proc/timer_list").exists() as usize;
            let unread = lines.iter().take(masked).all(|line| *line == "tmpfs") && lines.len() <= masked + 1;
            assert!(outcome.stdout.is_empty() || unread, "{outcome}");
            fs::remove_dir_all(&bundle.dir).unwrap();
        }
    }
    drop(swapping);
    assert_eq!(core_pattern(), before);
}

/// CVE-2025-52565: /dev/console is the terminal itself, not whatever its name in /dev/pts is swapped for, and it is
/// not put onto what a symlink of the image leads to.
#[test]
fn the_console_is_the_terminal_and_nothing_else() {
    needs_root!();
    needs_tool!("script");
    let env = Env::new();
    let on_a_terminal = |bundle: &support::Bundle, id: &str| {
        let run = format!(
            "{} --root {} run --bundle {} {id}",
            env.binary().display(),
            env.root().display(),
            bundle.dir.display()
        );
        Cmd::new("script").args(["-q", "-e", "-c", &run, "/dev/null"]).run()
    };
    let look = "stat -c %t /dev/console; awk '$5 ~ \"^/proc/sysrq\" { print \"COVERED\", $0 }' /proc/self/mountinfo";
    let plain = |config: &mut serde_json::Value| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev" && mount["destination"] != "/dev/shm");
        config["linux"]["readonlyPaths"] = serde_json::json!([]);
    };
    // 136 is the major number of pseudo terminals.
    let bundle = env.bundle().script(look).terminal();
    let outcome = on_a_terminal(&bundle, &env.id("console")).code(0);
    // What script(1) sends when its own input ends is echoed behind it, or before it.
    assert!(outcome.stdout.lines().next().is_some_and(|line| line.ends_with("88")), "{outcome}");
    assert!(!outcome.stdout.contains("COVERED"), "{outcome}");
    let bundle = env.bundle().script(look).terminal().edit(plain);
    fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
    symlink("/proc/sysrq-trigger", bundle.rootfs().join("dev/console")).unwrap();
    let outcome = on_a_terminal(&bundle, &env.id("symlink"));
    assert!(!outcome.status.success() && outcome.stdout.contains("/dev/console"), "{outcome}");
    // A volume for /dev/pts, whose "0" somebody else swaps: a terminal of it is none.
    let pts = env.dir().join("pts");
    fs::create_dir(&pts).unwrap();
    fs::write(pts.join("ptmx"), "").unwrap();
    fs::write(pts.join("0"), "").unwrap();
    symlink("/proc/sysrq-trigger", pts.join("link")).unwrap();
    let swapping = Swapping::begin(&pts.join("0"), &pts.join("link"));
    for _ in 0..3 {
        let bundle = env.bundle().script(look).terminal().bind(&pts, "/dev/pts", &["bind"]);
        let outcome = on_a_terminal(&bundle, &env.id("volume"));
        assert!(!outcome.status.success() && outcome.stdout.contains("/dev/pts/ptmx"), "{outcome}");
    }
    drop(swapping);
}

/// CVE-2025-52881: what the runtime writes to procfs goes to the host's own, whatever the container has in that place.
#[test]
fn a_false_proc_redirects_no_write_of_the_runtime() {
    needs_root!();
    let env = Env::new();
    let id = env.id("redirect");
    let bundle = env.bundle();
    let proc = bundle.rootfs().join("proc");
    for folder in ["sys/net/ipv4", "self/attr", "thread-self/attr"] {
        fs::create_dir_all(proc.join(folder)).unwrap();
    }
    let victim = bundle.rootfs().join("victim");
    fs::write(&victim, "untouched").unwrap();
    for name in ["sys/net/ipv4/ip_default_ttl", "self/oom_score_adj", "thread-self/oom_score_adj", "self/attr/exec"] {
        symlink("/victim", proc.join(name)).unwrap();
    }
    let script = "cat /true/sys/net/ipv4/ip_default_ttl /true/self/oom_score_adj";
    let bundle = bundle.script("sleep 1000").edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/proc" {
                mount["destination"] = "/true".into();
            }
        }
        config["linux"]["maskedPaths"] = serde_json::json!([]);
        config["linux"]["readonlyPaths"] = serde_json::json!([]);
        config["linux"]["sysctl"] = serde_json::json!({"net.ipv4.ip_default_ttl": "77"});
        config["process"]["oomScoreAdj"] = serde_json::json!(321);
    });
    env.started(&bundle, &id);
    env.run(["exec", &id, "sh", "-c", script]).success().prints("77\n321\n");
    env.run(["delete", "--force", &id]).success();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    // Over a true procfs nothing may be put that would do the same.
    for at in ["/proc/sys", "/proc/self", "/proc/sys/net/ipv4", "/proc/sys/kernel/core_pattern", "/proc/1/attr"] {
        let bundle = env.bundle().bind(&proc, at, &["bind"]);
        env.run_bundle(&bundle, &id).run().fails("only a procfs may be mounted in /proc");
    }
}

/// CVE-2024-21626 at the start: the working folder is no descriptor of the host's that happens to be open.
#[test]
fn a_working_folder_that_is_a_descriptor_is_refused_or_harmless() {
    needs_root!();
    let env = Env::new();
    let secret = env.dir().join("secret");
    fs::write(&secret, "of the host\n").unwrap();
    let up = format!("../../../../../../../..{}", secret.display());
    for number in 3..12 {
        let cwd = format!("/proc/self/fd/{number}");
        let bundle = env.bundle().script(&format!("pwd; cat {up} 2>/dev/null"));
        let bundle = bundle.edit(|config| config["process"]["cwd"] = cwd.as_str().into());
        let outcome = env.run_bundle(&bundle, &env.id("cwd")).run();
        assert!(!outcome.stdout.contains("of the host"), "{cwd}: {outcome}");
        assert!(!outcome.status.success() || !outcome.stdout.starts_with("(unreachable)"), "{cwd}: {outcome}");
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// CVE-2023-25809: root of an ordinary user's container is that user, to whom a cgroup of the host may have been given.
#[test]
fn an_ordinary_users_container_cannot_write_to_the_hosts_cgroups() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    const USER: &str = "65533";
    let own = |path: &Path| drop(Cmd::new("chown").args(["-hR", &format!("{USER}:{USER}")]).arg(path).run().success());
    let given: Vec<_> = ["pids", "freezer", "unified", "."]
        .iter()
        .map(|name| Path::new("/sys/fs/cgroup").join(name))
        .filter(|at| at.join("cgroup.procs").exists())
        .map(|at| at.join(env.id("given")))
        .collect();
    assert!(!given.is_empty(), "no cgroup hierarchy is mounted in /sys/fs/cgroup");
    for cgroup in &given {
        fs::create_dir(cgroup).unwrap();
        own(cgroup);
    }
    let as_user = |args: &[&std::ffi::OsStr]| {
        let cmd = Cmd::new("setpriv").args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
        cmd.arg(env.binary()).arg("--root").arg(env.root()).args(args)
    };
    let attack = "for d in $(find /sys/fs/cgroup -type d); do mkdir $d/made && echo MADE $d; \
                  (echo 0 > $d/cgroup.procs) && echo MOVED $d; (echo 5 > $d/pids.max) && echo LIMITED $d; done 2>/dev/null; \
                  echo tried; find /sys/fs/cgroup -type d | wc -l";
    for with_cgroup_mount in [true, false] {
        let bundle = env.bundle();
        fs::remove_file(bundle.config_path()).unwrap();
        own(env.dir());
        as_user(&["spec".as_ref(), "--rootless".as_ref(), "--bundle".as_ref(), bundle.dir.as_os_str()]).run().success();
        let bundle = bundle.script(attack).edit(|config| {
            config["process"]["terminal"] = serde_json::json!(false);
            if !with_cgroup_mount {
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
            }
        });
        let id = env.id("cgroups");
        let run = as_user(&["run".as_ref(), "--bundle".as_ref(), bundle.dir.as_os_str(), id.as_ref()]).run();
        let lines: Vec<&str> = run.stdout.lines().collect();
        let [before @ .., "tried", folders] = lines.as_slice() else { panic!("{run}") };
        assert!(before.is_empty(), "{run}");
        // They are to be seen: what was tried was tried on them.
        assert!(folders.parse::<u32>().unwrap() > 1, "{run}");
    }
    for cgroup in &given {
        fs::remove_dir(cgroup).unwrap();
    }
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
}

/// CVE-2019-16884, CVE-2023-28642: /proc may neither be a symlink nor anything but a proc, or the masks and the profile
/// of AppArmor would be aimed at something else.
#[test]
fn proc_cannot_be_swapped_for_something_else() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
    symlink("tmp", bundle.rootfs().join("proc")).unwrap();
    env.run_bundle(&bundle, &env.id("proc")).run().fails("must be mounted on ordinary directory");
    let volume = env.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    let bundle = env.bundle().bind(&volume, "/proc", &["rbind"]);
    let outcome = env.run_bundle(&bundle, &env.id("volume")).run();
    assert!(!outcome.status.success(), "a volume over /proc: {outcome}");
    env.run(["recover"]).code(0);
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
    let plain = || env.bundle().script(&script).capabilities(&["CAP_SYS_CHROOT", "CAP_SETFCAP"]);
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
}

/// Whoever has a folder of the host's walks from it to all of the host.
#[test]
fn no_standard_descriptor_is_a_folder() {
    needs_root!();
    let env = Env::new();
    let id = env.id("folder");
    let folder = || fs::File::open(env.dir()).unwrap();
    let walk = "ls /proc/self/fd/0/../..";
    env.run_bundle(&env.bundle().script(walk), &env.id("run")).stdin(folder()).run().fails("is a folder of the host's");
    env.started(&env.bundle().args(&["sleep", "1000"]), &id);
    let exec = env.cmd(["exec", &id, "sh", "-c", walk]).stdin(folder()).run();
    exec.fails_with(255, &["is a folder of the host's"]).prints("");
    env.run(["exec", &id, "true"]).success();
    env.run(["delete", "--force", &id]).success();
}

/// What the runtime writes to in its own /proc later on could be covered otherwise.
#[test]
fn a_symlink_of_the_image_leads_no_device_into_proc() {
    needs_root!();
    let env = Env::new();
    for (name, target) in [("zero", "/proc/uptime"), ("mine", "../proc/self/attr/exec")] {
        let bundle = env.bundle().script("echo started").edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            config["linux"]["namespaces"].as_array_mut().unwrap().push(serde_json::json!({"type": "user"}));
            config["linux"]["devices"] =
                serde_json::json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]);
        });
        symlink(target, bundle.rootfs().join("dev").join(name)).unwrap();
        let outcome = env.run_bundle(&bundle, &env.id("proc")).run();
        outcome.fails_with(1, &[&format!("/dev/{name}"), "in /proc"]);
    }
}
