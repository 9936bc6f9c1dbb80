//! Symlinks of an image that lead to nothing: whatever is mounted or made there comes to be where they lead, inside the
//! root, as with other runtimes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Bundle, Env, Terminal, needs_root, needs_tool};

/// Each with what it leads to in the root, where nothing is: (name, target, end).
const DANGLING: [(&str, &str, &str); 8] = [
    ("/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf", "run/systemd/resolve/stub-resolv.conf"),
    ("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin", "usr/share/zoneinfo/Europe/Berlin"),
    ("/plain", "beside", "beside"),
    ("/etc/above", "../../../../../../../../outside/new", "outside/new"),
    ("/etc/dotted", "/./made//here/../there", "made/there"),
    ("/back", "missing/../taken", "taken"),
    ("/first", "etc/second", "chain/end"),
    ("/etc/second", "/third", "chain/end"),
];

/// The bundle's root gets the links above, and those between them.
fn with_links(bundle: &Bundle) {
    let rootfs = bundle.rootfs();
    symlink("chain/end", rootfs.join("third")).unwrap();
    for (name, target, _) in DANGLING {
        symlink(target, rootfs.join(&name[1..])).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}")).mode()
}

/// The folders between the root and a path in it.
fn folders<'a>(rootfs: &'a Path, end: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    Path::new(end).ancestors().skip(1).filter(|path| *path != Path::new("")).map(|path| rootfs.join(path))
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]})
}

#[test]
fn what_is_bound_onto_a_dangling_link_is_where_it_leads() {
    needs_root!();
    let env = Env::new();
    let volume = env.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "of the host\n").unwrap();
    for (name, _, end) in DANGLING {
        for file in [true, false] {
            let source = if file { volume.join("file") } else { volume.clone() };
            let script = if file { format!("cat {name} /{end}") } else { format!("cat {name}/file /{end}/file") };
            let bundle = env.bundle().script(&script).bind(&source, name, &["bind", "ro"]);
            with_links(&bundle);
            // The caller's umask is nothing to the container.
            let run = env.run_bundle(&bundle, &env.id("bound")).behind("sh", &["-c", "umask 077; exec \"$@\"", "sh"]);
            run.run().success().prints("of the host\nof the host\n");
            let rootfs = bundle.rootfs();
            // What comes before a `..` is made too: the link would lead nowhere without.
            let made = if file { libc::S_IFREG | 0o644 } else { libc::S_IFDIR | 0o755 };
            assert_eq!(mode(&rootfs.join(end)), made, "{name}");
            folders(&rootfs, end)
                .for_each(|folder| assert_eq!(mode(&folder), libc::S_IFDIR | 0o755, "{name}: {folder:?}"));
            assert_eq!(mode(&rootfs.join(&name[1..])) & libc::S_IFMT, libc::S_IFLNK, "{name}");
            fs::remove_dir_all(&bundle.dir).unwrap();
        }
    }
    assert!(!Path::new("/outside").exists() && !env.dir().join("outside").exists());
}

#[test]
fn a_dangling_link_in_the_middle_of_a_path_is_followed_too() {
    needs_root!();
    let env = Env::new();
    let volume = env.dir().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "of the host\n").unwrap();
    for (name, _, end) in DANGLING {
        let below = |path: &str| format!("{name}/deep/{path}");
        let script = format!(
            "cat /{end}/deep/bound /{end}/deep/folder/file; touch /{end}/deep/tmpfs/new && stat -f -c %T /{end}/deep/tmpfs; \
             test -c /{end}/deep/null && echo device; cd /{end}/deep/tmpfs && ls"
        );
        let bundle = env.bundle().script(&script).bind(&volume.join("file"), &below("bound"), &["bind"]);
        let bundle = bundle.bind(&volume, &below("folder"), &["bind"]).mount(tmpfs(&below("tmpfs"))).edit(|config| {
            config["linux"]["devices"] = json!([{"path": below("null"), "type": "c", "major": 1, "minor": 3}]);
        });
        with_links(&bundle);
        let told = "of the host\nof the host\ntmpfs\ndevice\nnew\n";
        env.run_bundle(&bundle, &env.id("middle")).run().success().prints(told);
        assert!(bundle.rootfs().join(end).join("deep/null").metadata().unwrap().file_type().is_char_device(), "{name}");
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// Everything else that is mounted, made or entered in a container.
#[test]
fn file_systems_devices_and_the_working_folder_come_to_be_where_a_dangling_link_leads() {
    needs_root!();
    let env = Env::new();
    let script = "pwd; cd /; grep -o '/end/[tm][^ ]*' /proc/mounts; test -c /end/node && test -p /end/pipe && echo nodes; \
                  test -e /link/node && test -d /sys/fs/cgroup && grep -c ' /end/cgroup' /proc/self/mountinfo | sed 's/[1-9].*/cgroups/'";
    let names = ["tmpfs", "mqueue", "node", "pipe", "work", "cgroup"];
    let bundle = env.bundle().script(script).mount(tmpfs("/link/tmpfs")).edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({"destination": "/link/mqueue", "type": "mqueue", "source": "mqueue"}));
        mounts.push(json!({"destination": "/link/cgroup", "type": "cgroup", "source": "cgroup"}));
        config["linux"]["devices"] = json!([
            {"path": "/link/node", "type": "c", "major": 1, "minor": 3},
            {"path": "/link/pipe", "type": "p"},
        ]);
        config["process"]["cwd"] = json!("/link/work");
        config["linux"]["maskedPaths"] = json!(["/link/masked", "/link/masked/below"]);
        config["linux"]["readonlyPaths"] = json!(["/link/readonly"]);
    });
    fs::create_dir(bundle.rootfs().join("link")).unwrap();
    for name in names.into_iter().chain(["masked", "readonly"]) {
        symlink(format!("../end/{name}"), bundle.rootfs().join("link").join(name)).unwrap();
    }
    let outcome = env.run_bundle(&bundle, &env.id("others")).run().success();
    outcome.prints("/end/work\n/end/tmpfs\n/end/mqueue\nnodes\ncgroups\n");
    // There is nothing to cover, so nothing is made.
    assert!(!bundle.rootfs().join("end/masked").exists() && !bundle.rootfs().join("end/readonly").exists());
}

/// An image without a /dev of its own, whose /dev leads to nothing: the devices, the links and the terminal are there.
#[test]
fn a_dev_that_is_a_dangling_link_has_all_that_every_dev_has() {
    needs_root!();
    needs_tool!("setsid");
    let env = Env::new();
    let script =
        "echo x > /dev/null && test -c /system/dev/zero && test -L /dev/fd && tty && ls -l /dev/console | cut -c1";
    let own_tmpfs = env.bundle();
    let none = env.bundle().edit(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
    });
    for bundle in [own_tmpfs, none] {
        let bundle = bundle.script(script).terminal();
        fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
        symlink("system/dev", bundle.rootfs().join("dev")).unwrap();
        let mut terminal = Terminal::new();
        let args =
            ["--root".as_ref(), env.root().as_os_str(), "run".as_ref(), "--bundle".as_ref(), bundle.dir.as_os_str()];
        let id = env.id("dev");
        let running = terminal.run(env.binary(), args.into_iter().chain([id.as_ref()]));
        terminal.lines.until("/dev/pts/0");
        terminal.lines.until("c");
        running.finish(support::command::DEADLINE).success();
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn links_without_an_end_are_an_error_that_names_the_path() {
    needs_root!();
    let env = Env::new();
    let file = env.dir().join("file");
    fs::write(&file, "").unwrap();
    let links = |rootfs: &Path| {
        symlink("loop", rootfs.join("loop")).unwrap();
        symlink("tock/missing", rootfs.join("tick")).unwrap();
        symlink("/tick", rootfs.join("tock")).unwrap();
        // The forty-first is one too many, whether or not there is something at its end.
        (0..41).for_each(|n| symlink(format!("chain{}", n + 1), rootfs.join(format!("chain{n}"))).unwrap());
    };
    for path in ["/loop", "/loop/below", "/tick", "/tock/below/it", "/chain0", "/chain0/below"] {
        let device = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
        let bundles = [
            env.bundle().bind(&file, path, &["bind"]),
            env.bundle().bind(env.dir(), path, &["bind"]),
            env.bundle().mount(tmpfs(path)),
            env.bundle().edit(|config| config["linux"]["devices"] = device),
        ];
        for bundle in bundles {
            links(&bundle.rootfs());
            let says = &[path, "Too many levels of symbolic links"];
            env.run_bundle(&bundle, &env.id("loop")).run().fails_with(1, says);
            fs::remove_dir_all(&bundle.dir).unwrap();
        }
    }
    let bundle = env.bundle().script("cat /chain41").bind(&file, "/chain1", &["bind"]);
    links(&bundle.rootfs());
    env.run_bundle(&bundle, &env.id("forty")).run().success();
    assert!(bundle.rootfs().join("chain41").is_file());
}

#[test]
fn a_file_where_a_folder_is_needed_and_the_reverse_are_errors_in_words() {
    needs_root!();
    let env = Env::new();
    let file = env.dir().join("file");
    fs::write(&file, "").unwrap();
    let bind =
        |source: &Path, at: &str| json!({"destination": at, "type": "bind", "source": source, "options": ["bind"]});
    let cases = [
        (bind(env.dir(), "/etc/passwd"), "has a file there"),
        (bind(env.dir(), "/to-file"), "has a file there"),
        (tmpfs("/to-file"), "has a file there"),
        (bind(&file, "/etc"), "has a folder there"),
        (bind(&file, "/to-folder"), "has a folder there"),
        (bind(&file, "/to-file/below"), "Not a directory"),
        (bind(&file, "/below-file"), "Not a directory"),
    ];
    for (mount, says) in cases {
        let path = mount["destination"].to_string();
        let bundle = env.bundle().mount(mount);
        symlink("/etc/passwd", bundle.rootfs().join("to-file")).unwrap();
        symlink("/etc", bundle.rootfs().join("to-folder")).unwrap();
        symlink("/etc/passwd/below", bundle.rootfs().join("below-file")).unwrap();
        env.run_bundle(&bundle, &env.id("kind")).run().fails_with(1, &[&path, says]);
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn a_mount_that_leads_to_the_root_itself_is_refused_instead_of_lost() {
    needs_root!();
    let env = Env::new();
    let bind = json!({"destination": "/to-root", "type": "bind", "source": env.dir(), "options": ["bind"]});
    let above = json!({"destination": "/etc/..", "type": "tmpfs", "source": "tmpfs"});
    for mount in [bind, tmpfs("/to-root"), tmpfs("/"), above] {
        let bundle = env.bundle().mount(mount);
        symlink("/", bundle.rootfs().join("to-root")).unwrap();
        env.run_bundle(&bundle, &env.id("root")).run().fails_with(1, &["leads to the container's root"]);
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn what_cannot_be_made_at_the_end_of_a_link_is_named_where_it_was_to_be() {
    needs_root!();
    let env = Env::new();
    let volume = env.dir().join("volume");
    fs::create_dir_all(volume.join("deep")).unwrap();
    let file = env.dir().join("file");
    fs::write(&file, "").unwrap();
    let bind = |source: &Path| json!({"destination": "/t", "type": "bind", "source": source, "options": ["bind"]});
    let targets =
        [("/vol/sub", "/vol/sub"), ("vol/sub/folder", "/vol/sub"), ("/vol/deep/../deep/new", "/vol/deep/new")];
    for (target, named) in targets {
        for mount in [tmpfs("/t"), bind(&volume), bind(&file)] {
            let bundle = env.bundle().bind(&volume, "/vol", &["bind", "ro"]).mount(mount);
            symlink(target, bundle.rootfs().join("t")).unwrap();
            let refused = env.run_bundle(&bundle, &env.id("named")).run();
            let said =
                format!("cannot resolve \"/t\" inside the rootfs: cannot make {named:?} there: read-only file system");
            refused.fails_with(1, &[&said]);
            fs::remove_dir_all(&bundle.dir).unwrap();
        }
    }
}
