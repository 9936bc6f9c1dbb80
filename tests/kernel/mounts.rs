//! Mounts and devices of a container, as the container and the host see them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};
use support::{Bundle, Cmd, Env, Lines, needs_root, needs_tool};

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// A mapping of the first thousand ids.
fn mapping(container: u32, host: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": 1000}])
}

fn in_user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

/// A folder with a file of uid and gid 5.
fn volume(env: &Env) -> std::path::PathBuf {
    let volume = env.dir().join("volume");
    fs::create_dir_all(volume.join("below")).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    chown(volume.join("file"), Some(5), Some(5)).unwrap();
    volume
}

/// One mount of a file system of its own, unmounted again when the test is over.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &Path) -> Mounted {
        fs::create_dir_all(at).unwrap();
        Cmd::new("mount").args(["-t", "tmpfs", "none"]).arg(at).run().success();
        Mounted(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-R", "-l"]).arg(&self.0).status();
    }
}

fn idmapped(bundle: Bundle, source: &Path, options: &[&str], mappings: Option<(u32, u32)>) -> Bundle {
    let mut mount = json!({"destination": "/data", "type": "bind", "source": source, "options": options});
    if let Some((container, host)) = mappings {
        mount["uidMappings"] = mapping(container, host);
        mount["gidMappings"] = mapping(container, host);
    }
    bundle.mount(mount)
}

#[test]
fn an_idmapped_mount_shows_other_owners_and_stores_the_mapped_ones() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    let script = "stat -c %u:%g /data/file; touch /data/new; stat -c %u:%g /data/new";
    let bundle = idmapped(env.bundle().script(script), &volume, &["bind", "idmap"], Some((0, 300_000)));
    // A new file of uid 0 has no id on disk: 0 is not among the mapped ones.
    let outcome = env.run_bundle(&bundle, &env.id("shown")).run();
    assert!(outcome.stdout.starts_with("300005:300005\n"), "{outcome}");
    assert!(!volume.join("new").exists(), "{outcome}");
    // Seen through the container's own mapping, the owners are those on disk.
    let bundle = env.bundle().script(script).edit(in_user_namespace);
    // The root of the namespace may make nothing in an image that is not its own.
    fs::create_dir(bundle.rootfs().join("data")).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).unwrap();
    let bundle = idmapped(bundle, &volume, &["bind", "idmap"], None);
    env.run_bundle(&bundle, &env.id("own")).run().success().prints("5:5\n0:0\n");
    let new = fs::metadata(volume.join("new")).unwrap();
    assert_eq!((new.uid(), new.gid()), (0, 0));
}

#[test]
fn idmap_is_for_one_mount_and_ridmap_for_all_below_it() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    let below = Mounted::tmpfs(&volume.join("below"));
    fs::write(below.0.join("file"), "").unwrap();
    chown(below.0.join("file"), Some(7), Some(7)).unwrap();
    let script = "stat -c %u /data/file /data/below/file";
    for (option, expected) in [("idmap", "300005\n7\n"), ("ridmap", "300005\n300007\n")] {
        let bundle = idmapped(env.bundle().script(script), &volume, &["rbind", option], Some((0, 300_000)));
        env.run_bundle(&bundle, &env.id("reach")).run().success().prints(expected);
    }
    drop(below);
}

#[test]
fn a_file_system_that_cannot_be_idmapped_is_named() {
    needs_root!();
    let env = Env::new();
    let bundle = idmapped(env.bundle(), Path::new("/proc/sys"), &["bind", "idmap"], Some((0, 300_000)));
    let says = &["map the ids of the mount at \"/data\"", "(proc)", "invalid argument"];
    env.run_bundle(&bundle, &env.id("proc")).run().fails_with(1, says);
}

#[test]
fn recursive_attributes_reach_every_mount_below_and_plain_ones_only_the_first() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    let below = Mounted::tmpfs(&volume.join("below"));
    let script = "awk '$5 ~ /^\\/data/ { print $5, $6 }' /proc/self/mountinfo";
    let cases = [
        (&["rbind", "ro"][..], ("ro,relatime", "rw,relatime")),
        (&["rbind", "rro"], ("ro,relatime", "ro,relatime")),
        (&["rbind", "rnosuid", "rnodev", "noexec"], ("rw,nosuid,nodev,noexec,relatime", "rw,nosuid,nodev,relatime")),
        (&["rbind", "rnoatime", "rnosymfollow"], ("rw,noatime,nosymfollow", "rw,noatime,nosymfollow")),
        (&["rbind", "nosymfollow", "noatime"], ("rw,noatime,nosymfollow", "rw,relatime")),
        (&["rbind", "rro", "rrw", "rnoexec", "rexec"], ("rw,relatime", "rw,relatime")),
        (&["rbind", "rstrictatime", "nodiratime"], ("rw,nodiratime", "rw")),
    ];
    for (options, (first, second)) in cases {
        let bundle = env.bundle().script(script).bind(&volume, "/data", options);
        let expected = format!("/data {first}\n/data/below {second}\n");
        env.run_bundle(&bundle, &env.id("recursive")).run().success().prints(&expected);
    }
    drop(below);
}

#[test]
fn read_only_mounts_are_filled_before_they_are_closed() {
    needs_root!();
    let env = Env::new();
    let script = "touch /dev/x /scratch/x 2>/dev/null && echo open; ls /scratch; test -c /dev/null && test -d /dev/pts && \
                  echo filled; grep -E ' (/dev|/scratch) ' /proc/mounts | cut -d' ' -f4 | cut -c1-2";
    let bundle = env.bundle().script(script).mount(tmpfs("/scratch", &["ro", "tmpcopyup"]));
    let bundle = bundle.bind(Path::new("/etc"), "/scratch/etc", &["bind"]).edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["destination"] == "/dev" {
                mount["options"].as_array_mut().unwrap().push(json!("ro"));
            }
        }
    });
    fs::create_dir(bundle.rootfs().join("scratch")).unwrap();
    fs::write(bundle.rootfs().join("scratch/from-the-image"), "").unwrap();
    env.run_bundle(&bundle, &env.id("filled")).run().success().prints("etc\nfrom-the-image\nfilled\nro\nro\n");
}

#[test]
fn a_remount_changes_what_an_earlier_mount_has_put_there() {
    needs_root!();
    let env = Env::new();
    let script = "awk '$5 == \"/data\" { print $6 }' /proc/self/mountinfo";
    let bundle = env.bundle().script(script).bind(&volume(&env), "/data", &["bind"]);
    let bundle = bundle.mount(json!({"destination": "/data", "options": ["bind", "remount", "ro", "nosuid"]}));
    env.run_bundle(&bundle, &env.id("again")).run().success().prints("ro,nosuid,relatime\n");
    let bundle = env.bundle().mount(json!({"destination": "/nothing", "options": ["bind", "remount", "ro"]}));
    env.run_bundle(&bundle, &env.id("nothing")).run().fails("remount \"/nothing\"");
}

/// What the container mounts on a volume is seen on the host if, and only if, the volume is shared.
#[test]
fn propagation_goes_as_far_as_the_options_say() {
    needs_root!();
    let env = Env::new();
    let shared = Mounted::tmpfs(&env.dir().join("shared"));
    Cmd::new("mount").args(["--make-shared"]).arg(&shared.0).run().success();
    fs::create_dir(shared.0.join("inner")).unwrap();
    fs::create_dir(shared.0.join("outer")).unwrap();
    let seen_here = |name: &str| {
        let at = shared.0.join(name).display().to_string();
        fs::read_to_string("/proc/self/mountinfo").unwrap().lines().any(|line| line.split(' ').nth(4) == Some(&at))
    };
    for (option, up, down) in [
        ("rshared", true, true),
        ("shared", true, true),
        ("rslave", false, true),
        ("slave", false, true),
        ("rprivate", false, false),
        ("private", false, false),
        ("unbindable", false, false),
    ] {
        let id = env.id(option);
        let script = "mount -t tmpfs x /data/inner && echo up; read line; grep -c ' /data/outer ' /proc/mounts";
        let bundle = env.bundle().script(script).capabilities(&["CAP_SYS_ADMIN"]);
        let bundle = bundle.bind(&shared.0, "/data", &["rbind", option]);
        let (mut lines, out) = Lines::pipe();
        let (input, mut answer) = std::io::pipe().unwrap();
        let run = env.run_bundle(&bundle, &id).stdin(input).stdout(out).spawn();
        lines.until("up");
        assert_eq!(seen_here("inner"), up, "{option}");
        Cmd::new("mount").args(["-t", "tmpfs", "none"]).arg(shared.0.join("outer")).run().success();
        std::io::Write::write_all(&mut answer, b"go\n").unwrap();
        assert_eq!(lines.next().unwrap(), if down { "1" } else { "0" }, "{option}");
        run.finish(support::command::DEADLINE);
        Cmd::new("umount").arg(shared.0.join("outer")).run().success();
        if up {
            Cmd::new("umount").arg(shared.0.join("inner")).run().success();
        }
        assert!(!seen_here("inner"), "{option}");
    }
    drop(shared);
}

#[test]
fn the_propagation_of_the_root_is_what_the_spec_says() {
    needs_root!();
    let env = Env::new();
    let script = "awk '$5 == \"/\" { for (i = 7; $i != \"-\"; i++) printf \"%s \", $i; print \".\" }' /proc/self/mountinfo \
                  | sed 's/:[0-9]*//g'";
    for (word, expected) in [("shared", "shared "), ("private", ""), ("unbindable", "unbindable "), ("rprivate", "")] {
        let bundle = env.bundle().script(script).edit(|config| config["linux"]["rootfsPropagation"] = json!(word));
        let told = env.run_bundle(&bundle, &env.id(word)).run().success().stdout;
        let told: String = told.split(' ').filter(|tag| !tag.starts_with("master")).collect::<Vec<_>>().join(" ");
        assert_eq!(told, format!("{expected}.\n"), "{word}");
    }
}

#[test]
fn files_and_sockets_are_bound_and_missing_destinations_are_made() {
    needs_root!();
    let env = Env::new();
    let file = env.dir().join("a-file");
    fs::write(&file, "text\n").unwrap();
    let socket = env.dir().join("a-socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let script = "cat /run/deep/file; test -S /run/deep/sock && echo socket; cat /etc/link; readlink /etc/link";
    let bundle = env.bundle().script(script).bind(&file, "/run/deep/file", &["bind", "ro"]);
    let bundle = bundle.bind(&socket, "/run/deep/sock", &["bind"]).bind(&file, "/etc/link", &["bind"]);
    // The mount goes to what the symlink of the image leads to, inside the image.
    fs::create_dir_all(bundle.rootfs().join("target/of")).unwrap();
    symlink("/target/of/link", bundle.rootfs().join("etc/link")).unwrap();
    let expected = "text\nsocket\ntext\n/target/of/link\n";
    env.run_bundle(&bundle, &env.id("files")).run().success().prints(expected);
    assert!(bundle.rootfs().join("target/of/link").is_file());
    let bundle = env.bundle().bind(&env.dir().join("missing"), "/data", &["bind"]);
    env.run_bundle(&bundle, &env.id("missing")).run().fails_with(1, &["missing", "no such file or directory"]);
}

#[test]
fn the_kernels_own_file_systems_are_there_also_in_a_user_namespace() {
    needs_root!();
    let env = Env::new();
    let script = "for at in /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup; do \
                  awk -v at=$at '$2 == at { last = $3 } END { print at, last }' /proc/mounts; done; \
                  stat -c %g:%a /dev/pts/ptmx; touch /sys/x 2>/dev/null || echo sealed";
    let bundle = env.bundle().script(script).edit(in_user_namespace);
    let cgroup = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "cgroup2" } else { "tmpfs" };
    let expected = format!(
        "/proc proc\n/dev tmpfs\n/dev/pts devpts\n/dev/shm tmpfs\n/dev/mqueue mqueue\n/sys sysfs\n\
         /sys/fs/cgroup {cgroup}\n0:666\nsealed\n"
    );
    env.run_bundle(&bundle, &env.id("kernel")).run().success().prints(&expected);
    let unmapped = env.bundle().edit(in_user_namespace).edit(|config| {
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100000, "size": 2}]);
    });
    env.run_bundle(&unmapped, &env.id("gid")).run().fails_with(1, &["mounts[2].options", "gid=5 is not mapped"]);
}

/// With a cgroup namespace of its own a container sees its cgroup as the root of all, without one the place it has.
#[test]
fn a_cgroup_mount_shows_the_containers_own_cgroup_and_nothing_above() {
    needs_root!();
    let env = Env::new();
    let id = env.id("cgroup");
    let script = "awk '$5 ~ \"^/sys/fs/cgroup\" && / - cgroup/ { print $4 }' /proc/self/mountinfo | sort -u";
    let bundle = env.bundle().script(script).namespace("cgroup", None);
    env.run_bundle(&bundle, &id).run().success().prints(&format!("/sandkeep/{id}\n"));
    let bundle = env.bundle().script(script).edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    });
    env.run_bundle(&bundle, &id).run().success().prints("/\n");
}

#[test]
fn every_kind_of_device_is_made_with_its_mode_and_owner() {
    needs_root!();
    let env = Env::new();
    let devices = json!([
        {"path": "/dev/char", "type": "c", "major": 1, "minor": 7, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5},
        {"path": "/deep/in/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o622},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600},
    ]);
    let script = "stat -c '%n %A %u:%g %t:%T' /dev/char /dev/unbuffered /deep/in/block /dev/pipe /dev/null /dev/zero; \
                  for link in fd stdin stdout stderr ptmx; do readlink /dev/$link; done";
    let bundle = env.bundle().script(script).edit(|config| config["linux"]["devices"] = devices);
    let expected = "/dev/char crw-r----- 7:8 1:7\n/dev/unbuffered crw-rw-rw- 0:0 1:5\n/deep/in/block brw------- 0:0 7:c8\n\
                    /dev/pipe prw--w--w- 0:0 0:0\n/dev/null crw------- 0:0 1:3\n/dev/zero crw-rw-rw- 0:0 1:5\n\
                    /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n";
    env.run_bundle(&bundle, &env.id("kinds")).run().success().prints(expected);
}

/// What the host has under that name is bound; what it lacks, or has as another device, is made by root of the host.
#[test]
fn in_a_user_namespace_devices_are_the_hosts_or_else_the_containers_own() {
    needs_root!();
    let env = Env::new();
    let device = |path: &str, typ: &str, minor: u32| {
        let device =
            json!({"path": path, "type": typ, "major": 1, "minor": minor, "fileMode": 0o640, "uid": 0, "gid": 6});
        env.bundle().edit(in_user_namespace).edit(|config| config["linux"]["devices"] = json!([device]))
    };
    let script = "echo x > /dev/null && head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/kmsg";
    let bundle = device("/dev/kmsg", "c", 11).script(script);
    env.run_bundle(&bundle, &env.id("bound")).run().success().prints("2\n1:b\n");
    let host = || fs::metadata("/dev/kmsg").map(|found| (found.rdev(), found.mode(), found.uid())).ok();
    let before = host();
    for path in ["/dev/kmsg", "/dev/no-such-device", "/dev/no/such/device"] {
        let script = format!(
            "stat -c '%A %t:%T %u:%g' {path}; echo x > {path} && cat {path}; chmod 600 {path} && stat -c %a {path}"
        );
        let bundle = device(path, "c", 3).script(&script).capabilities(&["CAP_FOWNER"]);
        env.run_bundle(&bundle, &env.id("made")).run().success().prints("crw-r----- 1:3 0:6\n600\n");
        assert!(path == "/dev/kmsg" || !Path::new(path).exists(), "{path} was made on the host");
    }
    assert_eq!(host(), before);
    let bundle = device("/dev/pipe", "p", 0).script("test -p /dev/pipe && stat -c %g /dev/pipe");
    env.run_bundle(&bundle, &env.id("pipe")).run().success().prints("6\n");
    // Somebody else's user namespace: what it maps is its owner's to know.
    let owner = env.id("owner");
    env.started(&env.bundle().edit(in_user_namespace).args(&["sleep", "1000"]), &owner);
    let user = format!("/proc/{}/ns/user", env.pid(&owner));
    let bundle = device("/dev/no-such-device", "c", 3).namespace("user", Some(&user));
    env.run_bundle(&bundle, &env.id("joined")).run().fails("\"/dev/no-such-device\"");
    env.run(["delete", "--force", &owner]).success();
}

#[test]
fn a_sysfs_without_a_network_namespace_of_its_own_is_the_hosts_for_reading() {
    needs_root!();
    let env = Env::new();
    let script = "test -e /sys/kernel/uevent_seqnum && test -d /sys/class/net && echo shown; \
                  (echo x > /sys/kernel/profiling) 2>&1 | grep -o 'Read-only file system'; ls /sys/fs/cgroup; \
                  awk '$2 == \"/sys\" { print $3, substr($4, 1, 2) }' /proc/mounts";
    for given in [vec!["nosuid", "noexec", "nodev", "ro"], vec!["nosuid"]] {
        let bundle = env.bundle().script(script).edit(in_user_namespace).namespace("network", None).edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
            let sysfs = mounts.iter_mut().find(|mount| mount["destination"] == "/sys").unwrap();
            sysfs["options"] = json!(given);
        });
        let expected = "shown\nRead-only file system\nsysfs ro\n";
        env.run_bundle(&bundle, &env.id("hosts")).run().success().prints(expected);
    }
    // Root of the container, with the right to mount and as root of the host, does not make it writable.
    let attack = "mount -o remount,bind,rw /sys 2>/dev/null && echo OPEN; mount -o remount,rw /sys 2>/dev/null && echo OPEN; \
                  umount /sys 2>/dev/null; (echo 0 > /sys/kernel/profiling) 2>&1 | grep -o 'Read-only file system'";
    let bundle =
        env.bundle().script(attack).namespace("network", None).capabilities(&["CAP_SYS_ADMIN"]).edit(|config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        });
    env.run_bundle(&bundle, &env.id("attack")).run().success().prints("Read-only file system\n");
    // With one of its own it is the container's.
    let bundle = env.bundle().script("ls /sys/class/net").edit(in_user_namespace);
    env.run_bundle(&bundle, &env.id("own")).run().success().prints("lo\n");
}

/// Everything is mounted in a mount namespace of this test's own, in which `prepare` is done first.
fn run_among(env: &Env, bundle: &Bundle, id: &str, prepare: &str) -> support::Outcome {
    let script = format!("{prepare} && exec \"$@\"");
    let run = Cmd::new("unshare").args(["--mount", "sh", "-c", &script, "sh"]).arg(env.binary());
    run.arg("--root").arg(env.root()).args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id(id)).run()
}

#[test]
fn what_is_unbindable_on_the_host_is_given_to_a_container_all_the_same() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let here = env.dir().join("unbindable");
    fs::create_dir(&here).unwrap();
    let at = here.display();
    let with = |more: &str| {
        format!("mount -t tmpfs none {at} && mount --make-unbindable {at} && echo inside > {at}/file && {more}")
    };
    for user_namespace in [false, true] {
        let bundle = || if user_namespace { env.bundle().edit(in_user_namespace) } else { env.bundle() };
        let bound = bundle().script("cat /data/file /file").bind(&here, "/data", &["rbind", "ro"]);
        for name in ["data", "sys/fs"] {
            fs::create_dir_all(bound.rootfs().join(name)).unwrap();
        }
        fs::write(bound.rootfs().join("file"), "").unwrap();
        let bound = bound.bind(&here.join("file"), "/file", &["bind"]);
        run_among(&env, &bound, "sources", &with("true")).success().prints("inside\ninside\n");
        // The root itself, and what is above it.
        let plain = bundle().script("echo x > /dev/null; cat /file");
        let rootfs = plain.rootfs();
        fs::write(rootfs.join("file"), "of the root\n").unwrap();
        let itself = format!("mount --bind {0} {0} && mount --make-unbindable {0}", rootfs.display());
        run_among(&env, &plain, "itself", &itself).success().prints("of the root\n");
        let below = with(&format!("cp -a {} {at}/root", rootfs.display()));
        let moved = bundle().script("cat /file").edit(|config| config["root"]["path"] = json!(here.join("root")));
        run_among(&env, &moved, "below", &below).success().prints("of the root\n");
        // Everything, with the host's devices and cgroups.
        run_among(&env, &plain, "all", "mount --make-runbindable /").success().prints("of the root\n");
    }
}

#[test]
fn masked_and_read_only_paths_may_be_files_folders_and_symlinks() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle();
    let rootfs = bundle.rootfs();
    for folder in ["secret/folder", "fixed/folder"] {
        fs::create_dir_all(rootfs.join(folder)).unwrap();
        fs::write(rootfs.join(folder).join("file"), "text\n").unwrap();
        fs::write(rootfs.join(folder).join("../file"), "text\n").unwrap();
    }
    symlink("/secret/linked", rootfs.join("etc/masked-link")).unwrap();
    fs::write(rootfs.join("secret/linked"), "text\n").unwrap();
    symlink("../fixed/linked", rootfs.join("etc/fixed-link")).unwrap();
    fs::write(rootfs.join("fixed/linked"), "text\n").unwrap();
    let script = "ls /secret/folder; cat /secret/file /secret/linked; for f in folder/file file linked; do \
                  (echo x >> /fixed/$f) 2>/dev/null || echo fixed; done; echo x > /fixed/new && echo beside";
    let bundle = bundle.script(script).edit(|config| {
        config["linux"]["maskedPaths"] =
            json!(["/secret/folder", "/secret/file", "/etc/masked-link", "/none", "/secret/file/below/a/file"]);
        config["linux"]["readonlyPaths"] = json!(["/fixed/folder", "/fixed/file", "/etc/fixed-link", "/none"]);
    });
    env.run_bundle(&bundle, &env.id("paths")).run().success().prints("fixed\nfixed\nfixed\nbeside\n");
}

#[test]
fn what_a_user_namespace_has_locked_stays_on_a_bind_mount() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let locked = Mounted::tmpfs(&env.dir().join("locked"));
    Cmd::new("mount").args(["-o", "remount,nosuid,nodev,noexec"]).arg(&locked.0).run().success();
    let script = "awk '$5 == \"/data\" { print $6 }' /proc/self/mountinfo";
    let bundle = env.bundle().script(script).bind(&locked.0, "/data", &["bind", "suid", "exec", "ro", "noatime"]);
    let bundle = bundle.edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    fs::set_permissions(env.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let run = Cmd::new("unshare").args(["--user", "--map-root-user", "--mount"]).arg(env.binary()).arg("--root");
    let run = run.arg(env.root()).args(["run", "--bundle"]).arg(&bundle.dir).arg(env.id("locked"));
    run.run().success().prints("ro,nosuid,nodev,noexec,relatime\n");
    drop(locked);
}

/// The runtime looks for devices of the host that nobody asked for. What a hook or the configuration brings was asked for.
#[test]
fn devices_that_the_caller_brings_are_no_hole() {
    needs_root!();
    let env = Env::new();
    let hook = |kind: &str, script: &str| {
        let script = script.to_owned();
        let kind = kind.to_owned();
        move |config: &mut serde_json::Value| {
            config["hooks"] = json!({ kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}] });
        }
    };
    let node = "touch dev/brought && mount --bind /dev/zero dev/brought";
    let by_runtime = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -t $pid -m sh -c \"cd $PWD/rootfs && \
        touch dev/brought && mount --bind /dev/zero dev/brought\"";
    let devtmpfs = json!({"destination": "/hostdev", "type": "devtmpfs", "source": "devtmpfs"});
    let bundles = [
        ("container", env.bundle().edit(hook("createContainer", node))),
        ("runtime", env.bundle().edit(hook("createRuntime", by_runtime))),
        ("devtmpfs", env.bundle().mount(devtmpfs)),
    ];
    for (name, bundle) in bundles {
        let bundle = bundle.script("ls /dev /hostdev 2>/dev/null");
        let outcome = env.run_bundle(&bundle, &env.id(name)).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").run();
        assert!(outcome.stdout.contains("zero"), "{name}: {outcome}");
        assert!(name == "devtmpfs" || outcome.stdout.contains("brought"), "{name}: {outcome}");
    }
}

/// The last name of the destination may be a symlink of the image, and is what is mounted on.
#[test]
fn dest_nofollow_mounts_onto_the_symlink_itself() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    fs::write(volume.join("file"), "of the host\n").unwrap();
    symlink("of-the-host", volume.join("link")).unwrap();
    let (file, link) = (volume.join("file"), volume.join("link"));
    let with_links = |bundle: Bundle| {
        symlink("/etc/passwd", bundle.rootfs().join("link")).unwrap();
        symlink("/nowhere", bundle.rootfs().join("dangling")).unwrap();
        symlink("/etc", bundle.rootfs().join("folder")).unwrap();
        bundle
    };
    for destination in ["/link", "/dangling", "/folder", "/folder/new", "/missing/deep"] {
        let script =
            format!("cat {destination}; grep -c of.the.host /etc/passwd; test -e /nowhere || echo nothing made");
        let bundle = with_links(env.bundle()).script(&script).bind(&file, destination, &["bind", "dest-nofollow"]);
        env.run_bundle(&bundle, &env.id("itself")).run().success().prints("of the host\n0\nnothing made\n");
    }
    let bundle = with_links(env.bundle()).script("readlink /link");
    let bundle = bundle.bind(&link, "/link", &["bind", "src-nofollow", "dest-nofollow"]);
    env.run_bundle(&bundle, &env.id("both")).run().success().prints("of-the-host\n");
    // A folder may be made, and does not go onto a symlink.
    let bundle =
        with_links(env.bundle()).script("ls /new").bind(&volume.join("below"), "/new", &["bind", "dest-nofollow"]);
    env.run_bundle(&bundle, &env.id("folder")).run().success().prints("");
    for mount in [
        json!({"destination": "/folder", "type": "bind", "source": volume, "options": ["bind", "dest-nofollow"]}),
        tmpfs("/folder", &["dest-nofollow"]),
    ] {
        let bundle = with_links(env.bundle()).mount(mount);
        env.run_bundle(&bundle, &env.id("onto")).run().fails_with(1, &["\"/folder\"", "has a symlink there"]);
    }
    // What reads these means the kernel's own answer.
    for destination in ["/proc/self", "/proc/net", "/sys/class/mem/null", "/magic"] {
        let bundle = with_links(env.bundle()).bind(&file, destination, &["bind", "dest-nofollow"]);
        symlink("/proc", bundle.rootfs().join("way")).unwrap();
        let bundle = match destination {
            "/magic" => bundle.bind(&file, "/way/self", &["bind", "dest-nofollow"]),
            _ => bundle,
        };
        env.run_bundle(&bundle, &env.id("kernel")).run().fails_with(1, &["refused to mount"]);
    }
}

/// Engines write one list of options for whatever they mount.
#[test]
fn options_of_a_file_system_are_ignored_on_a_bind_mount_and_told_with_debug() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    let options = ["rbind", "ro", "mode=755", "size=64m", "gid=5", "X-mine=1", "whatever", "sync"];
    let script = "stat -c %a /data; awk '$5 == \"/data\" { print $6 }' /proc/self/mountinfo";
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o751)).unwrap();
    let bundle = env.bundle().script(script).bind(&volume, "/data", &options);
    let outcome = env.run_bundle(&bundle, &env.id("data")).run().success();
    assert_eq!(outcome.stderr, "", "{outcome}");
    outcome.prints("751\nro,relatime\n");
    let run = env.cmd(["--debug", "run", "--bundle"]).arg(&bundle.dir).arg(env.id("debug"));
    let outcome = run.run().code(0);
    assert!(
        outcome.stderr.contains("mode\\\" belongs to a file system and has no effect on a bind mount"),
        "{outcome}"
    );
}

#[test]
fn relative_masked_and_read_only_paths_are_below_the_root() {
    needs_root!();
    let env = Env::new();
    let bundle =
        env.bundle().script("cat /etc/secret; (echo x >> /etc/fixed) 2>/dev/null || echo fixed").edit(|config| {
            config["linux"]["maskedPaths"] = json!(["etc/secret", "./none"]);
            config["linux"]["readonlyPaths"] = json!(["etc/../etc/fixed", "../etc/fixed"]);
            config["process"]["cwd"] = json!("/tmp");
        });
    for name in ["secret", "fixed"] {
        fs::write(bundle.rootfs().join("etc").join(name), "text\n").unwrap();
    }
    env.run_bundle(&bundle, &env.id("relative")).run().success().prints("fixed\n");
}

#[test]
fn the_option_copy_symlink_makes_the_sources_symlink_anew() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    symlink("/points/to", volume.join("link")).unwrap();
    let link = volume.join("link");
    let copied = |bundle: Bundle, destination: &str| bundle.bind(&link, destination, &["bind", "copy-symlink"]);
    let bundle = copied(copied(env.bundle(), "/deep/made"), "/same")
        .script("readlink /deep/made /same; grep -c /made /proc/mounts");
    symlink("/points/to", bundle.rootfs().join("same")).unwrap();
    // busybox's readlink takes one.
    let bundle = bundle.script("readlink /deep/made; readlink /same; grep -c /made /proc/mounts; true");
    env.run_bundle(&bundle, &env.id("made")).run().success().prints("/points/to\n/points/to\n0\n");
    for destination in ["/etc", "/etc/passwd", "/other"] {
        let bundle = copied(env.bundle(), destination);
        symlink("/elsewhere", bundle.rootfs().join("other")).unwrap();
        env.run_bundle(&bundle, &env.id("taken")).run().fails_with(1, &[destination, "something else there"]);
    }
    // What is no symlink is bound.
    let bundle = env.bundle().bind(&volume.join("file"), "/file", &["bind", "copy-symlink"]).script("stat -c %u /file");
    env.run_bundle(&bundle, &env.id("bound")).run().success().prints("5\n");
}

#[test]
fn mappings_among_the_options_of_a_mount_are_those_that_crun_documents() {
    needs_root!();
    let env = Env::new();
    let volume = volume(&env);
    let below = Mounted::tmpfs(&volume.join("below"));
    fs::write(below.0.join("file"), "").unwrap();
    chown(below.0.join("file"), Some(7), Some(7)).unwrap();
    let script = "stat -c %u:%g /data/file /data/below/file";
    for (option, expected) in [
        ("idmap=uids=0-300000-1000;gids=0-400000-10", "300005:400005\n7:7\n"),
        ("ridmap=uids=0-300000-1000;gids=0-400000-10", "300005:400005\n300007:400007\n"),
        ("idmap=gids=5-0-1#0-1-5;uids=5-42-1", "42:0\n7:7\n"),
    ] {
        let bundle = env.bundle().script(script).bind(&volume, "/data", &["rbind", option]);
        env.run_bundle(&bundle, &env.id("inline")).run().success().prints(expected);
    }
    // Behind an @ the second number is one of the container's.
    let bundle = env.bundle().script("stat -c %u:%g /data/file").edit(in_user_namespace);
    fs::create_dir(bundle.rootfs().join("data")).unwrap();
    let bundle = bundle.bind(&volume, "/data", &["bind", "idmap=uids=@5-77-1;gids=@0-1000-10"]);
    env.run_bundle(&bundle, &env.id("relative")).run().success().prints("77:1005\n");
    drop(below);
}
