//! No file of the host's stands behind a mask, a device or a standard descriptor: whatever root of a container does to
//! one, the host's null device stays as it is. And what would take a wall away is refused.
#![allow(unsafe_code)] // pre_exec and raw system calls: a filter, a key of a thread's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use serde_json::{Value, json};
use support::{Bundle, Cmd, Env, HostNodes, Lines, needs_root, needs_tool, skipped};

/// What a root with every right over files, and none to mount, does to `$1`; it says what has worked.
const ATTACK: &str =
    "attack() { chmod 0766 $1 && echo chmod $1; chown 7:7 $1 && echo chown $1; touch $1 && echo touch $1; }; ";

fn may_change_files(bundle: Bundle) -> Bundle {
    bundle.capabilities(&["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_SYS_PTRACE"])
}

/// Root of the container is `root` of the host.
fn user_namespace(config: &mut Value, root: u32) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": root, "size": 1000}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

/// No mapping; root of the host's in a namespace of its own; somebody else.
const ROOTS: [Option<u32>; 3] = [None, Some(0), Some(100_000)];

fn with_root(bundle: Bundle, root: Option<u32>) -> Bundle {
    bundle.edit(|config| root.into_iter().for_each(|root| user_namespace(config, root)))
}

fn null(write: bool) -> fs::File {
    fs::File::options().read(!write).write(write).open("/dev/null").unwrap()
}

#[test]
fn a_masked_path_reads_as_empty_and_can_be_changed_by_nobody() {
    needs_root!();
    let host = HostNodes::null();
    let env = Env::new();
    for root in ROOTS {
        let script = format!(
            "{ATTACK} exec 2>/dev/null; for p in /secret/file /secret/folder /proc/keys /proc/timer_list /proc/scsi /sys/firmware; do \
             test -e $p || continue; attack $p; test ! -c $p && (echo x >> $p) 2>/dev/null && echo wrote $p; \
             if test -d $p; then ls -A $p; touch $p/new 2>/dev/null && echo made $p/new; mkdir $p/new 2>/dev/null && echo made; \
             rmdir $p 2>/dev/null && echo removed $p; else cat $p; rm -f $p 2>/dev/null && echo removed $p; fi; \
             chmod 0766 $p 2>&1 | grep -c 'Read-only file system'; done"
        );
        let bundle = may_change_files(env.bundle()).script(&script);
        fs::create_dir_all(bundle.rootfs().join("secret/folder")).unwrap();
        fs::write(bundle.rootfs().join("secret/folder/file"), "text\n").unwrap();
        fs::write(bundle.rootfs().join("secret/file"), "text\n").unwrap();
        let bundle = with_root(bundle, root).edit(|config| {
            let masked = config["linux"]["maskedPaths"].as_array_mut().unwrap();
            masked.extend([json!("/secret/file"), json!("/secret/folder")]);
        });
        let outcome = env.run_bundle(&bundle, &env.id("masks")).run().success();
        assert!(
            outcome.stdout.lines().count() >= 4 && outcome.stdout.lines().all(|line| line == "1"),
            "{root:?}: {outcome}"
        );
        host.assert_untouched();
        assert_eq!(fs::read_to_string(bundle.rootfs().join("secret/file")).unwrap(), "text\n");
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn all_masks_are_of_one_file_system_that_is_the_containers_alone_and_anybody_may_read() {
    needs_root!();
    needs_tool!("sh");
    let env = Env::new();
    // Where a device can be made it is a null one, as other runtimes have it and podman's own tests want it.
    let script = "for p in /secret/file /secret/folder; do stat -f -c %T $p; done; \
                  awk '$5 ~ \"^/secret\" { print $3 }' /proc/self/mountinfo | uniq | wc -l; \
                  awk '$5 ~ \"^/secret\" { print $6, $NF ~ \"^ro\" }' /proc/self/mountinfo | uniq; \
                  cat /secret/file && ls -A /secret/folder; stat -c %t:%T /secret/file; echo gone > /secret/file";
    let bundle = env.bundle().script(script).edit(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret/file", "/secret/folder"]);
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    fs::create_dir_all(bundle.rootfs().join("secret/folder")).unwrap();
    fs::write(bundle.rootfs().join("secret/file"), "text\n").unwrap();
    // The umask of whoever calls takes nothing away, neither from the masks nor from the devices.
    let run = env.run_bundle(&bundle, &env.id("one")).behind("sh", &["-c", "umask 0077; exec \"$0\" \"$@\""]);
    run.run().success().prints("tmpfs\ntmpfs\n1\nro,nosuid,noexec,relatime 1\n1:3\n");
}

#[test]
fn a_device_that_is_bound_from_the_host_works_and_its_node_cannot_be_changed() {
    needs_root!();
    let host = HostNodes::at(&["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]);
    let env = Env::new();
    for root in [0, 100_000] {
        let script = format!(
            "{ATTACK} exec 2>/dev/null; for d in null zero full random urandom tty; do attack /dev/$d; done; \
             echo x > /dev/null && echo x >> /dev/null && head -c 2 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c; \
             (echo x > /dev/full) 2>/dev/null || echo full; \
             awk '$5 == \"/dev/null\" {{ print $6 }}' /proc/self/mountinfo"
        );
        let bundle = may_change_files(env.bundle()).script(&script).edit(|config| user_namespace(config, root));
        let outcome = env.run_bundle(&bundle, &env.id("bound")).run().success();
        outcome.prints("2\n3\nfull\nro,nosuid,noexec,relatime\n");
        host.assert_untouched();
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// What makes it so was locked before the namespace was made: not even CAP_SYS_ADMIN of the namespace unlocks it.
#[test]
fn a_device_that_is_bound_from_the_host_stays_closed_to_root_of_a_user_namespace_that_may_mount() {
    needs_root!();
    let host = HostNodes::null();
    let env = Env::new();
    for root in [0, 100_000] {
        let script = format!(
            "{ATTACK} mkdir /tmp/a; for way in 'remount,bind,rw' 'remount,rw' 'bind,rw'; do \
             mount -o $way /dev/null /dev/null && attack /dev/null; done; \
             touch /tmp/b; mount --bind /dev/null /tmp/b && mount -o remount,bind,rw /tmp/b && echo may; attack /tmp/b; \
             attack /proc/self/fd/0; mount -t devtmpfs d /tmp/a && attack /tmp/a/null; \
             unshare -m mount -o remount,bind,rw /dev/null && echo may; echo x > /dev/null && echo tried"
        );
        let bundle = may_change_files(env.bundle()).capabilities(&["CAP_SYS_ADMIN"]).script(&script);
        fs::set_permissions(bundle.rootfs().join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let bundle = bundle.edit(|config| user_namespace(config, root));
        let run = env.run_bundle(&bundle, &env.id("locked")).stdin(null(false)).stderr(null(true)).run();
        host.assert_untouched();
        assert_eq!(run.stdout, "tried\n", "{run}");
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.lines().any(|line| line.split(' ').nth(4) == Some("/dev/null")), "mounted on the host: {mounts}");
}

/// Attacks what it was given as 0, 1 and 2 by way of /proc; says so to a file.
fn attack_stdio() -> String {
    format!(
        "{ATTACK} exec 5<&0 6>&1 7>&2; {{ for n in 5 6 7; do attack /proc/self/fd/$n; done; \
         stat -L -c %t:%T /proc/self/fd/5; }} > /tmp/said 2> /tmp/errors"
    )
}

#[test]
fn the_null_device_that_a_container_is_given_for_stdio_is_its_own() {
    needs_root!();
    let host = HostNodes::null();
    let env = Env::new();
    for root in ROOTS {
        let bundle = with_root(may_change_files(env.bundle()).script(&attack_stdio()), root);
        fs::set_permissions(bundle.rootfs().join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let id = env.id("stdio");
        env.run_bundle(&bundle, &id).stdin(null(false)).stdout(null(true)).stderr(null(true)).run().code(0);
        host.assert_untouched();
        assert!(fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap().ends_with("1:3\n"));
        env.create(&bundle, &id).stdin(null(false)).stdout(null(true)).stderr(null(true)).run().code(0);
        env.run(["start", &id]).success();
        assert_eq!(env.wait(&id), 0);
        host.assert_untouched();
        env.delete(&id);
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn the_null_device_that_an_exec_is_given_for_stdio_is_the_containers() {
    needs_root!();
    let host = HostNodes::null();
    let env = Env::new();
    for root in ROOTS {
        let bundle = with_root(may_change_files(env.bundle()).script("exec sleep 1000"), root);
        fs::set_permissions(bundle.rootfs().join("tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let id = env.id("exec");
        env.create(&bundle, &id).stdout(null(true)).run().success();
        env.run(["start", &id]).success();
        let exec = |flags: &[&str]| {
            let cmd = env.cmd(["exec"]).args(flags).args([&id, "sh", "-c", &attack_stdio()]);
            cmd.stdin(null(false)).stdout(null(true)).stderr(null(true)).run().code(0);
        };
        exec(&[]);
        host.assert_untouched();
        assert!(fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap().ends_with("1:3\n"));
        let (mut lines, out) = Lines::pipe();
        let script = format!("{}; echo done >&2", attack_stdio());
        let cmd = env.cmd(["exec", "--detach", &id, "sh", "-c", &script]);
        cmd.stdin(null(false)).stdout(null(true)).stderr(out).run().code(0);
        lines.until("done");
        host.assert_untouched();
        env.run(["delete", "--force", &id]).success();
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// Whatever stands for /dev/null in there, nothing hangs, and the host's is at most to be read and written.
#[test]
fn a_container_without_a_null_device_of_its_own_gets_the_hosts_read_only() {
    needs_root!();
    let host = HostNodes::null();
    let env = Env::new();
    let bundle =
        may_change_files(env.bundle()).script(&format!("{}; exec sleep 1000", attack_stdio())).edit(|config| {
            config["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        });
    let empty = env.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    let bundle = bundle.bind(&empty, "/dev", &["bind"]);
    let id = env.id("without");
    env.create(&bundle, &id).stdin(null(false)).stdout(null(true)).stderr(null(true)).run().code(0);
    env.run(["start", &id]).success();
    support::until(support::command::DEADLINE, "what the attack says", || {
        fs::read_to_string(bundle.rootfs().join("tmp/said")).is_ok_and(|said| said.ends_with('\n'))
    });
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap(), "1:3\n");
    host.assert_untouched();
    let exec = || {
        let cmd = env.cmd(["exec", &id, "sh", "-c", &attack_stdio()]);
        cmd.stdin(null(false)).stdout(null(true)).stderr(null(true)).run().code(0);
        host.assert_untouched();
        assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap(), "1:3\n");
    };
    exec();
    nix::unistd::mkfifo(&empty.join("null"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    exec();
    fs::remove_file(empty.join("null")).unwrap();
    fs::write(empty.join("null"), "a file").unwrap();
    exec();
    assert_eq!(fs::read_to_string(empty.join("null")).unwrap(), "a file");
    fs::remove_file(empty.join("null")).unwrap();
    symlink("/dev/zero", empty.join("null")).unwrap();
    exec();
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn other_memory_devices_as_stdio_are_the_containers_too_and_open_as_they_were() {
    needs_root!();
    let host = HostNodes::at(&["/dev/zero", "/dev/full", "/dev/urandom"]);
    let env = Env::new();
    let bundle = may_change_files(env.bundle()).script("exec sleep 1000");
    let id = env.id("zero");
    env.create(&bundle, &id).stdout(null(true)).run().success();
    env.run(["start", &id]).success();
    let open = |path: &str| fs::File::options().append(true).open(path).unwrap();
    let script = format!(
        "{}; head -c 3 | wc -c >> /tmp/said; echo x || echo full >> /tmp/said; \
         sed -n 's/^flags:.*\\(.\\)$/\\1/p' /proc/self/fdinfo/0 /proc/self/fdinfo/2 >> /tmp/said; \
         grep -c '^flags:.*2..1$' /proc/self/fdinfo/2 >> /tmp/said",
        attack_stdio()
    );
    let cmd = env.cmd(["exec", &id, "sh", "-c", &script]);
    cmd.stdin(fs::File::open("/dev/zero").unwrap())
        .stdout(open("/dev/full"))
        .stderr(open("/dev/urandom"))
        .run()
        .code(0);
    host.assert_untouched();
    let said = fs::read_to_string(bundle.rootfs().join("tmp/said")).unwrap();
    // Changes that were made were made to the container's own.
    assert!(said.contains("chmod /proc/self/fd/5\n") && said.ends_with("1:5\n3\nfull\n0\n1\n1\n"), "{said}");
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_covered_root_and_the_right_to_uncover_it_are_refused_together() {
    needs_root!();
    let env = Env::new();
    let attack = "mount -t tmpfs x /tmp 2>/dev/null && echo may mount; umount -l / && nsenter --mount=/proc/self/ns/mnt cat /etc/hostname";
    let refused = ["process.capabilities", "--no-pivot", "CAP_SYS_ADMIN"];
    for set in ["bounding", "permitted", "inheritable"] {
        let bundle = env.bundle().script(attack).edit(|config| {
            let had = config["process"]["capabilities"][set].as_array().cloned().unwrap_or_default();
            config["process"]["capabilities"][set] = had.into_iter().chain([json!("CAP_SYS_ADMIN")]).collect();
        });
        for command in ["run", "create"] {
            let cmd = env.cmd([command, "--no-pivot", "--bundle"]).arg(&bundle.dir).arg(env.id("covered"));
            cmd.run().fails_with(1, &refused);
        }
        let mapped = bundle.edit(|config| user_namespace(config, 100_000));
        env.run_bundle(&mapped, &env.id("covered")).arg("--no-pivot").run().fails_with(1, &refused);
    }
    assert!(!env.root().exists() || fs::read_dir(env.root().join("sandboxes")).map_or(0, Iterator::count) == 0);

    let id = env.id("later");
    let bundle = env.bundle().script("exec sleep 1000");
    env.create(&bundle, &id).arg("--no-pivot").stdout(null(true)).run().success();
    env.run(["start", &id]).success();
    env.run(["exec", "--cap", "CAP_SYS_ADMIN", &id, "sh", "-c", attack]).fails_with(255, &refused);
    let process = env.dir().join("process.json");
    let sets = json!({"bounding": ["CAP_SYS_ADMIN"]});
    let text = json!({"args": ["sh", "-c", attack], "cwd": "/", "capabilities": sets, "user": {"uid": 0, "gid": 0}});
    fs::write(&process, text.to_string()).unwrap();
    env.cmd(["exec", "--process"]).arg(&process).arg(&id).run().fails_with(255, &refused);
    env.run(["exec", &id, "echo", "without"]).success().prints("without\n");
    env.run(["delete", "--force", &id]).success();
    // Where the root was left behind there is nothing to uncover.
    let id = env.id("pivoted");
    env.create(&bundle, &id).stdout(null(true)).run().success();
    env.run(["exec", "--cap", "CAP_SYS_ADMIN", &id, "echo", "with"]).success().prints("with\n");
    env.run(["delete", "--force", &id]).success();
}

/// What no path leads to cannot be taken away: a user namespace inside could mount a proc that hides nothing.
#[test]
fn a_covered_root_with_a_proc_that_lies_below_another_mount_is_refused() {
    needs_root!();
    needs_tool!("unshare", "mount");
    let env = Env::new();
    let bundle = env.bundle();
    let hidden = env.dir().join("hidden");
    fs::create_dir_all(hidden.join("proc")).unwrap();
    let run = |prepare: &str| {
        let script = format!("set -e; cd {}; {prepare} exec \"$0\" \"$@\"", hidden.display());
        let run = env.run_bundle(&bundle, &env.id("hidden")).arg("--no-pivot");
        run.behind("unshare", &["-m", "sh", "-c", &script]).run()
    };
    run("mount -t proc p proc; ").success();
    run("mount -t tmpfs t .; cd .; mkdir proc; mount -t proc p proc; ").success();
    run("mount -t proc p proc; mount -t tmpfs t .; ").fails_with(1, &["proc", "below another mount"]);
}

/// A user of nobody's, whose key quota is used up for as long as this lives.
struct NoMoreKeys {
    end: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NoMoreKeys {
    /// The keys hang on a thread: they end with it, and no setting of the machine is changed.
    fn of(uid: u32) -> Result<NoMoreKeys, String> {
        let (end, ended) = std::sync::mpsc::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(fill(uid)).unwrap();
            let _ = ended.recv();
        });
        let filled = told.recv().unwrap();
        let keys = NoMoreKeys { end: Some(end), thread: Some(thread) };
        filled.map(|()| keys)
    }
}

impl Drop for NoMoreKeys {
    fn drop(&mut self) {
        self.end = None;
        let _ = self.thread.take().unwrap().join();
    }
}

/// add_key(2) into the keyring of this thread, which alone becomes that user, until the kernel says EDQUOT.
fn fill(uid: u32) -> Result<(), String> {
    const THREAD_KEYRING: i32 = -1;
    // SAFETY: no memory is passed; the raw call changes this thread alone.
    if unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } != 0 {
        return Err(std::io::Error::last_os_error().to_string());
    }
    for number in 0..100_000 {
        let name = std::ffi::CString::new(format!("sandkeep-test-{number}")).unwrap();
        let (kind, text) = (c"user".as_ptr(), c"x".as_ptr());
        // SAFETY: all three are C strings that outlive the call, and one byte of the last is read.
        if unsafe { libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), text, 1, THREAD_KEYRING) } < 0 {
            let error = std::io::Error::last_os_error();
            let full = error.raw_os_error() == Some(libc::EDQUOT);
            return if full { Ok(()) } else { Err(error.to_string()) };
        }
    }
    Err("the quota has no end".into())
}

#[test]
fn a_used_up_key_quota_hands_no_keyring_of_the_caller_to_a_container() {
    needs_root!();
    const ROOT: u32 = 3_000_017;
    let env = Env::new();
    let id = env.id("keys");
    let bundle = env.bundle().script("exec sleep 1000").edit(|config| {
        user_namespace(config, ROOT);
    });
    env.create(&bundle, &id).stdout(null(true)).run().success();
    env.run(["start", &id]).success();
    let keys = match NoMoreKeys::of(ROOT) {
        Ok(keys) => keys,
        Err(error) => skipped!("no keys can be added here: {error}"),
    };
    let refused = ["session keyring", "key quota", "--no-new-keyring", "quota exceeded"];
    let bundle = bundle.script("true");
    env.run_bundle(&bundle, &env.id("full")).run().fails_with(1, &refused);
    env.create(&bundle, &env.id("full")).run().fails_with(1, &refused);
    // Asked for, the caller's is what it gets.
    env.run_bundle(&bundle, &env.id("kept")).arg("--no-new-keyring").run().success();
    env.run(["exec", &id, "true"]).fails_with(255, &refused);
    drop(keys);
    // The kernel collects what is left of them when it has the time.
    support::until(support::command::DEADLINE, "room for a keyring", || {
        env.run(["exec", &id, "true"]).status.success()
    });
    env.run(["delete", "--force", &id]).success();
}

/// Our binary, below a filter that answers these system calls with `errno`.
fn without(calls: &'static [&str], env: &Env, args: &[&str], errno: i32) -> (bool, String) {
    let mut command = Command::new(env.binary());
    command.arg("--root").arg(env.root()).args(args).stdin(Stdio::null());
    let filter = move || -> Result<(), libseccomp::error::SeccompError> {
        let mut filter = ScmpFilterContext::new(ScmpAction::Allow)?;
        filter.set_ctl_nnp(false)?;
        for call in calls {
            filter.add_rule(ScmpAction::Errno(errno), ScmpSyscall::from_name(call)?)?;
        }
        filter.load()
    };
    // SAFETY: the closure allocates, in a child of a process whose other threads hold no lock for long; it is a test.
    unsafe { command.pre_exec(move || filter().map_err(std::io::Error::other)) };
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_filter_that_forbids_keyrings_is_an_error_and_a_kernel_without_them_is_none() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let id = env.id("filtered");
    let dir = bundle.dir.to_str().unwrap().to_owned();
    for errno in [libc::EPERM, libc::EACCES, libc::EINVAL, libc::ENOMEM, libc::ENOSYS] {
        let (good, said) = without(&["keyctl"], &env, &["run", "--bundle", &dir, &id], errno);
        assert!(!good && said.contains("session keyring") && said.contains("--no-new-keyring"), "{errno}: {said}");
        let (good, said) = without(&["keyctl"], &env, &["run", "--no-new-keyring", "--bundle", &dir, &id], errno);
        assert!(good, "{errno}: {said}");
    }
    let (good, said) =
        without(&["keyctl", "add_key", "request_key"], &env, &["run", "--bundle", &dir, &id], libc::ENOSYS);
    assert!(good, "{said}");
}

#[test]
fn an_ordinary_users_container_has_a_null_device_of_its_own_or_is_given_none() {
    needs_root!();
    needs_tool!("setpriv");
    let host = HostNodes::null();
    let env = Env::new();
    const USER: &str = "65533";
    let as_user = |args: &[&str]| {
        let cmd = Cmd::new("setpriv").args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
        cmd.arg(env.binary()).arg("--root").arg(env.root()).args(args).stderr(null(true))
    };
    let bundle = env.bundle();
    fs::remove_file(bundle.config_path()).unwrap();
    let empty = env.dir().join("empty");
    fs::create_dir(&empty).unwrap();
    Cmd::new("chown").args(["-hR", &format!("{USER}:{USER}")]).arg(env.dir()).run().success();
    let dir = bundle.dir.to_str().unwrap().to_owned();
    as_user(&["spec", "--rootless", "--bundle", &dir]).run().code(0);
    let attack = format!("{ATTACK} for n in 0 2; do attack /proc/self/fd/$n; done; sleep 1000");
    let bundle = bundle.script(&attack).edit(|config| {
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
    });
    let id = env.id("ordinary");
    let start = || {
        as_user(&["create", "--bundle", &dir, &id]).stdout(null(true)).run().code(0);
        as_user(&["start", &id]).run().code(0);
    };
    start();
    let attack = format!("{ATTACK} for n in 0 2; do attack /proc/self/fd/$n; done; true");
    as_user(&["exec", &id, "sh", "-c", &attack]).run().code(0);
    host.assert_untouched();
    as_user(&["delete", "--force", &id]).run().code(0);
    let bundle = bundle.bind(&empty, "/dev", &["bind"]).edit(|config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| mount["type"] == "bind" || !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    start();
    // It may not even bind the host's, and gives anything else.
    as_user(&["exec", &id, "sh", "-c", &attack]).stderr(fs::File::create(empty.join("said")).unwrap()).run().code(255);
    assert!(fs::read_to_string(empty.join("said")).unwrap().contains("/dev/null"));
    let file = || fs::File::open(bundle.config_path()).unwrap();
    as_user(&["exec", &id, "true"]).stdin(file()).stderr(fs::File::create(empty.join("said")).unwrap()).run().code(0);
    host.assert_untouched();
    as_user(&["delete", "--force", &id]).run().code(0);
}

/// What is attached on top of the root nobody ever stands in.
#[test]
fn a_read_only_path_that_is_the_root_makes_the_root_read_only_however_it_is_written() {
    needs_root!();
    let env = Env::new();
    let look = "for f in /new /etc/new /made/new; do (> $f) 2>/dev/null && echo made $f; done; \
                > /dev/new && > /volume/new && rm /volume/new && > /own/new && echo beside; \
                awk '$5 == \"/\" { print $6 ~ /^ro/ }' /proc/self/mountinfo";
    let data = env.dir().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, PermissionsExt::from_mode(0o777)).unwrap();
    let cases: [(Value, _, &[&str]); 4] = [
        (json!(["/"]), None, &[]),
        (json!(["."]), Some(100_000), &[]),
        (json!(["/link", "/link"]), None, &["--no-pivot"]),
        (json!(["/etc", "/way/link/..", "/etc/file", "/etc"]), None, &[]),
    ];
    for (paths, user, flags) in cases {
        let bundle = with_root(env.bundle().script(look), user).bind(&data, "/volume", &["bind", "rw"]);
        let tmpfs = json!({"destination": "/own", "type": "tmpfs", "source": "tmpfs"});
        let bundle = bundle.mount(tmpfs).edit(|config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["readonlyPaths"] = paths;
            config["process"]["cwd"] = json!("/made");
        });
        for folder in ["way", "etc", "made", "own", "volume"] {
            fs::create_dir_all(bundle.rootfs().join(folder)).unwrap();
        }
        fs::write(bundle.rootfs().join("etc/file"), "").unwrap();
        symlink("/", bundle.rootfs().join("link")).unwrap();
        symlink("../link", bundle.rootfs().join("way/link")).unwrap();
        let id = env.id("root");
        let run = env.cmd(["run"]).args(flags).arg("--bundle").arg(&bundle.dir).arg(&id);
        run.run().success().prints("beside\n1\n");
        let bundle = bundle.args(&["sleep", "1000"]);
        env.cmd(["create"]).args(flags).arg("--bundle").arg(&bundle.dir).arg(&id).run().success();
        env.run(["start", &id]).success();
        env.run(["exec", &id, "sh", "-c", look]).success().prints("beside\n1\n");
        env.run(["delete", "--force", &id]).success();
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn a_masked_path_that_is_the_root_is_refused_instead_of_doing_nothing() {
    needs_root!();
    let env = Env::new();
    let id = env.id("root");
    for path in ["/", ".", "//./", "/link", "/.."] {
        let bundle = env.bundle().edit(|config| config["linux"]["maskedPaths"] = json!(["/none", path]));
        symlink("/", bundle.rootfs().join("link")).unwrap();
        let refused = env.run_bundle(&bundle, &id).run();
        match path {
            "/link" => refused.fails_with(1, &["mask \"/link\"", "root"]),
            _ => refused.fails_with(1, &["invalid linux.maskedPaths[1]", "root.readonly"]),
        };
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}
