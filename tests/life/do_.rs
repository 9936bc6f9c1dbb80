//! `do`: what code that nobody trusts can see, reach and use in there, as root's and as an ordinary user's.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use support::command::DEADLINE;
use support::{Cmd, Env, Lines, Outcome, Terminal, needs_root, needs_tool, until};

/// On no machine anybody's.
const USER: u32 = 54_322;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Root,
    /// Without a session: no XDG_RUNTIME_DIR, no cgroup, no further ids.
    User,
}

const BOTH: [Caller; 2] = [Caller::Root, Caller::User];

/// One test's world, with somebody in it: the caller's home and work are below its folder.
struct World {
    env: Env,
    caller: Caller,
}

impl World {
    fn of(caller: Caller) -> World {
        let world = World { env: Env::new(), caller };
        for folder in ["home", "work"] {
            fs::create_dir(world.path(folder)).unwrap();
        }
        world.give_away();
        world
    }

    fn path(&self, below: &str) -> PathBuf {
        self.env.dir().join(below)
    }

    fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    /// What is below the folder is the caller's.
    fn give_away(&self) {
        if self.caller == Caller::User {
            Cmd::new("chown").args(["-hR", &format!("{USER}:{USER}")]).arg(self.env.dir()).run().success();
        }
    }

    fn cmd<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        let cmd = self.env.cmd(args).env_clear().env("HOME", self.path("home"));
        let cmd = cmd.env("PATH", std::env::var("PATH").unwrap()).current_dir(Path::new("/usr"));
        match self.caller {
            Caller::Root => cmd,
            Caller::User => {
                let (uid, gid) = (USER.to_string(), USER.to_string());
                cmd.behind("setpriv", &["--reuid", &uid, "--regid", &gid, "--clear-groups"])
            }
        }
    }

    /// `do ARGS… -- sh -c SCRIPT`
    fn script(&self, args: &[&str], script: &str) -> Cmd {
        self.cmd(["do"].iter().chain(args).copied().chain(["--", "sh", "-c", script]))
    }

    fn run(&self, args: &[&str], script: &str) -> Outcome {
        self.script(args, script).run()
    }

    /// One that stays until its input ends: (its id, what keeps it, how it ends).
    fn staying(&self, args: &[&str]) -> (String, std::io::PipeWriter, support::command::Running) {
        let (mut lines, out) = Lines::pipe();
        let (input, keep) = std::io::pipe().unwrap();
        let running = self.script(args, "echo ready; read line").stdin(input).stdout(out).spawn();
        lines.until("ready");
        let listed = self.cmd(["list", "--quiet"]).run().success().stdout;
        (listed.trim().to_owned(), keep, running)
    }

    /// Runs [`inside_a_sandbox`] there; what it tells.
    fn inside(&self, args: &[&str], what: &str) -> String {
        // Where the checkout is, an ordinary user may not be let in.
        let (folder, test) = (self.text("program"), self.path("program/test"));
        if fs::create_dir(&folder).is_ok() {
            let ours = std::env::current_exe().unwrap();
            fs::hard_link(&ours, &test).or_else(|_| fs::copy(&ours, &test).map(drop)).unwrap();
        }
        let what = format!("{INSIDE}={what}");
        let all = ["do", "--env", &what, "--share", &folder].into_iter().chain(args.iter().copied());
        let cmd = self.cmd(all).args(["--"]).arg(&test).args(["--exact", "do_::inside_a_sandbox", "--nocapture"]);
        let outcome = cmd.run();
        let told = outcome.stdout.lines().find_map(|line| line.split_once("inside: "));
        told.unwrap_or_else(|| panic!("nothing was told:\n{outcome}")).1.to_owned()
    }
}

const INSIDE: &str = "SANDKEEP_TEST_INSIDE";

/// No test, but a program: what is easier called than typed into a shell.
#[test]
fn inside_a_sandbox() {
    let Ok(what) = std::env::var(INSIDE) else { return };
    let told = match what.split_once(':') {
        Some(("connect", path)) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => "connected".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        },
        _ => {
            let errno =
                |result: i64| if result < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 };
            // SAFETY: integers and static or null pointers; what would succeed does no harm in a test's own process.
            #[allow(unsafe_code)]
            let told = unsafe {
                [
                    errno(libc::unshare(libc::CLONE_NEWUSER).into()),
                    errno(libc::syscall(libc::SYS_keyctl, 0, -3, 0)),
                    errno(libc::syscall(libc::SYS_add_key, c"user".as_ptr(), c"k".as_ptr(), c"v".as_ptr(), 1, -3)),
                    errno(libc::syscall(libc::SYS_io_uring_setup, 1, std::ptr::null::<u8>())),
                    errno(libc::syscall(libc::SYS_bpf, 0, std::ptr::null::<u8>(), 0)),
                    errno(libc::syscall(libc::SYS_userfaultfd, 0)),
                    errno(libc::socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0).into()),
                ]
            };
            format!("{told:?}")
        }
    };
    println!("\ninside: {told}");
}

/// Put down where anybody may write, by a way out of the sandbox.
fn host_file(world: &World) -> PathBuf {
    Path::new("/var/tmp").join(world.env.tag())
}

#[track_caller]
fn assert_not_written(world: &World, how: &str) {
    let found = fs::remove_file(host_file(world)).is_ok();
    assert!(!found, "{:?}, {how}: it was written on the host", world.caller);
}

#[test]
fn the_folder_above_the_root_is_the_root_for_every_kind_of_root() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let rootfs = world.env.bundle().rootfs();
        world.give_away();
        let rootfs = rootfs.to_str().unwrap();
        let way_out = format!("echo x > /..{}; echo x > /../../..{0}", host_file(&world).display());
        let kinds: &[&[&str]] = match caller {
            Caller::Root => &[&[], &["--rootfs", rootfs], &["--writable"], &["--writable", "--rootfs", rootfs]],
            Caller::User => &[&[], &["--rootfs", rootfs]],
        };
        for kind in kinds {
            world.run(kind, &way_out);
            assert_not_written(&world, &format!("{kind:?}"));
            let script = "test / -ef /.. && ls -di / /.. | tr -s ' ' | sed 's/^ //' | cut -d' ' -f1 | uniq | wc -l";
            world.run(kind, script).success().prints("1\n");
        }
    }
}

#[test]
fn whoever_enters_a_sandbox_later_finds_the_same_root_and_the_same_walls() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let kinds: &[&[&str]] = if caller == Caller::Root { &[&[], &["--writable"]] } else { &[&[]] };
        for kind in kinds {
            let (id, keep, running) = world.staying(kind);
            let script = format!(
                "echo x > /..{0}; echo x > {0}; stat -c %i / /..; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status",
                host_file(&world).display()
            );
            let outcome = world.cmd(["exec", "--cwd", "/", &id, "sh", "-c", &script]).run();
            assert_not_written(&world, &format!("exec into {kind:?}"));
            let outcome = outcome.code(0).says("NoNewPrivs:\t1").says("Seccomp:\t2");
            let numbers: Vec<&str> = outcome.stdout.lines().take(2).collect();
            assert_eq!(numbers[0], numbers[1], "{outcome}");
            if kind.is_empty() {
                let outcome = outcome.says("CapBnd:\t0000000000000000");
                let own = world.cmd(["exec", &id, "id", "-u"]).run();
                assert_eq!(
                    own.stdout.trim(),
                    if caller == Caller::Root { "0".into() } else { USER.to_string() },
                    "{outcome}"
                );
            }
            drop(keep);
            running.finish(DEADLINE);
        }
    }
}

#[test]
fn the_environment_is_clean_unless_it_is_asked_for() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let named = |args: &[&str]| {
            let cmd =
                world.script(args, "env | cut -d= -f1 | grep -vx -e PWD -e SHLVL -e _ -e OLDPWD | sort | tr '\\n' ' '");
            cmd.env("SECRET", "s").env("TERM", "dumb").env("LC_ALL", "C").run().success().stdout
        };
        // `behind` hands on what is set before it.
        let plain = world.script(&[], "env").run().success();
        assert!(!plain.stdout.contains("SECRET"), "{plain}");
        let names = named(&[]);
        assert!(names.split(' ').all(|name| ["HOME", "LANG", "LC_ALL", "PATH", "TERM", ""].contains(&name)), "{names}");
        let value = |args: &[&str], name: &str| world.run(args, &format!("printf %s \"${name}\"")).success().stdout;
        assert_eq!(value(&["--env", "A=b=c"], "A"), "b=c");
        assert_eq!(value(&["--env", "NOT_THERE"], "NOT_THERE"), "");
        assert_eq!(value(&["--env", "HOME=/x"], "HOME"), "/x");
        assert_eq!(value(&["--keep-env"], "HOME"), world.text("home"));
    }
}

#[test]
fn a_callers_variable_is_had_by_its_name_whatever_bytes_are_in_it() {
    needs_root!();
    let env = Env::new();
    let run = |args: &[&str], value: &OsStr| {
        let script = "printf %s \"$WANTED\" | od -An -tx1 | tr -d ' \\n'";
        env.cmd(["do"]).args(args).args(["--", "sh", "-c", script]).env("WANTED", value).run()
    };
    run(&["--env", "WANTED"], OsStr::new("here")).success().prints("68657265");
    run(&["--keep-env"], OsStr::new("here")).success().prints("68657265");
    run(&[], OsStr::new("here")).success().prints("");
    let odd = OsStr::from_bytes(b"\xff\xfe");
    run(&[], odd).success().prints("");
    run(&["--env", "WANTED"], odd).success().prints("fffe");
    run(&["--keep-env"], odd).success().prints("fffe");
}

#[test]
fn arguments_that_are_no_text_are_passed_on_and_folders_an_error_in_words() {
    needs_root!();
    let env = Env::new();
    let odd = OsStr::from_bytes(b"odd\xff");
    let script = "printf %s \"$0\" | od -An -tx1 | tr -d ' \\n'";
    env.cmd(["do", "--", "sh", "-c", script]).arg(odd).run().success().prints("6f6464ff");
    let folder = env.dir().join(odd);
    fs::create_dir(&folder).unwrap();
    env.cmd(["do", "true"]).current_dir(&folder).run().fails("UTF-8");
    env.cmd(["do", "--rootfs"]).arg(&folder).arg("true").run().fails_with(1, &[]);
    let gone = env.dir().join("gone");
    fs::create_dir(&gone).unwrap();
    let script = format!("rmdir {}; exec \"$0\" --root {} do true", gone.display(), env.root().display());
    Cmd::new("sh").args(["-c", &script]).arg(env.binary()).current_dir(&gone).run().fails("current folder");
}

#[test]
fn no_descriptor_leaks_and_a_folder_of_the_hosts_is_refused_as_one() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let leaking = world.script(&[], "ls /proc/self/fd | tr '\\n' ' '");
        let leaking = leaking.behind("sh", &["-c", "exec 7</etc/passwd 9</; exec \"$0\" \"$@\""]);
        leaking.run().success().prints("0 1 2 3 ");
        let folder = world.script(&[], "true").stdin(fs::File::open("/").unwrap());
        folder.run().fails("descriptor 0 is a folder");
    }
}

#[test]
fn no_mount_of_the_hosts_can_be_written() {
    needs_root!();
    needs_tool!("setpriv");
    let device = |line: &str| line.split(' ').nth(2).unwrap().to_owned();
    let host: Vec<String> = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(device).collect();
    for caller in BOTH {
        let world = World::of(caller);
        for args in [&[][..], &["--network", "host"]] {
            let inside = world.run(args, "cat /proc/self/mountinfo").success().stdout;
            for line in inside.lines().filter(|line| host.contains(&device(line))) {
                let options = line.split(' ').nth(5).unwrap();
                assert!(options.split(',').any(|option| option == "ro"), "{caller:?} {args:?}: {line}");
            }
            assert_eq!(inside.lines().filter(|line| line.split(' ').nth(4) == Some("/")).count(), 1, "{inside}");
        }
    }
}

#[test]
fn the_hosts_devices_keep_their_modes_and_times() {
    needs_root!();
    needs_tool!("setpriv");
    let nodes = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| Path::new("/dev").join(name));
    let modes = || nodes.each_ref().map(|node| fs::metadata(node).unwrap().mode());
    let before = modes();
    for caller in BOTH {
        let world = World::of(caller);
        let script = "for f in null zero full random urandom tty fd/0; do \
                      chmod 0666 /dev/$f 2>/dev/null && echo chmod $f; \
                      touch -d 2001-01-01 /dev/$f 2>/dev/null && echo touch $f; done; \
                      for f in /proc/keys /proc/timer_list /etc/shadow; do \
                      chmod 0666 $f 2>/dev/null && echo chmod $f; touch $f 2>/dev/null && echo touch $f; done; true";
        world.script(&[], script).run().success().prints("");
        assert_eq!(modes(), before);
        // They work.
        world
            .run(&[], "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c")
            .success()
            .prints("3\n3\n");
    }
}

#[test]
fn keys_and_passwords_and_homes_are_not_to_be_read() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        fs::create_dir(world.path("home/.ssh")).unwrap();
        fs::write(world.path("home/.ssh/id_rsa"), "secret").unwrap();
        fs::set_permissions(world.path("home/.ssh/id_rsa"), PermissionsExt::from_mode(0o600)).unwrap();
        world.give_away();
        let script = "cat ~/.ssh/id_rsa /etc/shadow /etc/gshadow /etc/ssh/ssh_host_* /proc/keys /proc/keys 2>/dev/null; \
                      ls -A /root /home /run /mnt /media /srv /var/spool /etc/ssh 2>/dev/null | grep -v '^/' | grep -v '^$'; \
                      ls -A ~; true";
        world.run(&[], script).success().prints("");
        // Nor from above, where the current folder brings along what is in it.
        let above = world.script(&[], "cat home/.ssh/id_rsa 2>/dev/null; ls -d work; ls -A home");
        above.current_dir(world.env.dir()).run().success().prints("work\n");
        // Also for whoever is called from there.
        world
            .script(&[], "pwd; ls -A")
            .current_dir(&world.path("home"))
            .run()
            .success()
            .prints(&format!("{}\n", world.text("home")));
    }
}

#[test]
fn a_few_folders_can_be_written_and_nothing_is_left_of_that() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let script = "find / -maxdepth 3 -type d -writable -not -path '/proc/*' 2>/dev/null | sort";
        let outcome = world.run(&[], script).success();
        // All of them in memory, as the names show: those below /tmp lead to the home. In /dev/pts nothing can be made.
        let homes = [world.text("home"), if caller == Caller::Root { "/root".into() } else { world.text("home") }];
        for folder in outcome.stdout.lines() {
            let expected = ["/dev/mqueue", "/dev/pts", "/dev/shm", "/tmp", "/var/tmp"].contains(&folder);
            assert!(expected || homes.iter().any(|home| home.starts_with(folder)), "{caller:?}: {folder}");
        }
        let script =
            format!("for d in /tmp /var/tmp /dev/shm ~; do echo x > $d/x-{0} && cat $d/x-{0}; done", world.env.tag());
        world.run(&[], &script).success().prints("x\nx\nx\nx\n");
        let script = format!(
            "for d in / /etc /usr /var /run /home /mnt /dev /sys /opt .; do touch $d/x-{} 2>/dev/null && echo $d; done; true",
            world.env.tag()
        );
        let outcome = world.run(&[], &script);
        assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(0), ""), "{outcome}");
        for folder in ["/tmp", "/var/tmp", "/dev/shm", "/", "/etc", "/usr"] {
            assert!(!Path::new(folder).join(format!("x-{}", world.env.tag())).exists());
        }
        assert!(!host_file(&world).exists() && fs::read_dir(world.path("home")).unwrap().count() == 0);
    }
}

#[test]
fn sockets_that_are_there_do_not_answer_unless_they_are_shared() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        // In the current folder, which is put back; and where nothing is covered.
        let elsewhere = tempfile::Builder::new().prefix(world.env.tag()).tempdir_in("/var/lib").unwrap();
        fs::set_permissions(elsewhere.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let places = [world.path("work/a socket"), elsewhere.path().join("socket")];
        let listeners: Vec<UnixListener> = places.iter().map(|place| UnixListener::bind(place).unwrap()).collect();
        for place in &places {
            fs::set_permissions(place, PermissionsExt::from_mode(0o777)).unwrap();
        }
        world.give_away();
        for place in &places {
            let path = place.to_str().unwrap();
            let told = world.inside(&[], &format!("connect:{path}"));
            assert_ne!(told, "connected", "{caller:?}: {path}");
        }
        let path = places[1].to_str().unwrap();
        assert_eq!(world.inside(&["--share", path], &format!("connect:{path}")), "connected");
        drop(listeners);
    }
}

#[test]
fn calls_that_few_need_are_refused() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let told = world.inside(&[], "calls");
        let refused = |errno: &str| ["1", "38", "97"].contains(&errno);
        let all: Vec<&str> = told.trim_matches(['[', ']']).split(", ").collect();
        assert!(all.len() == 7 && all.iter().all(|errno| refused(errno)), "{caller:?}: {told}");
        // Behind the filter there is a second refusal.
        world.run(&[], "cat /proc/sys/user/max_user_namespaces").success().prints("0\n");
    }
}

#[test]
fn the_command_is_nobody_and_can_become_nobody_else() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let (id, keep, running) = world.staying(&[]);
        let pid = world.cmd(["state", &id]).run().success().json()["pid"].as_i64().unwrap() as i32;
        let line = |name: &str| support::process::status_line(pid, name).unwrap();
        let uid: u32 = line("Uid").split('\t').next().unwrap().parse().unwrap();
        match caller {
            Caller::Root => assert!(uid >= 0x7000_0000, "{uid}"),
            Caller::User => assert_eq!(uid, USER),
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(line(set), "0000000000000000", "{set}");
        }
        assert_eq!((line("NoNewPrivs").as_str(), line("Seccomp").as_str()), ("1", "2"));
        drop(keep);
        running.finish(DEADLINE);
        // It sees no process but the first, itself, and its own.
        let outcome = world.run(&[], "cd /proc && echo [0-9]*").success();
        assert_eq!(outcome.stdout, "1 2\n");
    }
}

#[test]
fn the_network_is_empty_or_the_callers_and_a_command_that_missed_it_is_told() {
    needs_root!();
    needs_tool!("setpriv");
    let own = fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    for caller in BOTH {
        let world = World::of(caller);
        world.run(&[], "ls /sys/class/net").success().prints("lo\n");
        let outcome = world.run(
            &["--network", "host"],
            "readlink /proc/self/ns/net; ls /sys/class/net | wc -l; cat /etc/resolv.conf >/dev/null",
        );
        let mut lines = outcome.stdout.lines();
        assert_eq!(lines.next(), Some(own.as_str()), "{outcome}");
        if needs_python() {
            let connect = "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect((\"192.0.2.1\", 53))'";
            let missed = world.run(&[], connect);
            assert!(missed.stderr.contains("do --network host"), "{missed}");
            let quiet = world.run(&[], "exit 3").code(3);
            assert_eq!(quiet.stderr, "", "{quiet}");
        }
    }
}

fn needs_python() -> bool {
    support::process::on_path("python3")
}

#[test]
fn shares_are_for_reading_unless_they_say_so_and_what_is_made_there_is_the_callers() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        fs::create_dir(world.path("work/below")).unwrap();
        fs::write(world.path("work/file"), "text").unwrap();
        // Only its owner may read it, and is the command's owner.
        fs::set_permissions(world.path("work/file"), PermissionsExt::from_mode(0o600)).unwrap();
        world.give_away();
        let work = world.text("work");
        let script = format!(
            "cat {work}/file; echo x > {work}/made && echo written; echo x > {work}/file && echo changed; true"
        );
        let outcome = world.run(&["--share", &work], &script);
        assert_eq!(outcome.stdout, "text", "{outcome}");
        let outcome = world.run(&["--share", &format!("{work}:rw")], &script);
        assert_eq!(outcome.stdout, "textwritten\nchanged\n", "{outcome}");
        let made = fs::metadata(world.path("work/made")).unwrap();
        let expected = if caller == Caller::Root { 0 } else { USER };
        assert_eq!((made.uid(), made.gid()), (expected, expected));
        let place = format!("{work}:/mnt/place:rw");
        world
            .run(&["--share", &place], "cat /mnt/place/made; rm /mnt/place/made; ls /mnt/place")
            .success()
            .prints("x\nbelow\nfile\n");
        // One within another, the inner one for writing.
        let inner = format!("{work}/below:rw");
        let script = format!("touch {work}/below/in && ! touch {work}/out 2>/dev/null");
        world.run(&["--share", &work, "--share", &inner], &script).success();
        // Of a file system that maps no ids.
        world.run(&["--share", "/sys/class:/mnt/class"], "ls /mnt/class | grep -x net").success().prints("net\n");
        if caller == Caller::Root {
            world.run(&["--share", "/sys/class:/mnt/class:rw"], "true").fails("idmapped mounts");
        }
        // A device or a set-user-ID program in there is none.
        world
            .run(
                &["--share", &format!("{work}:rw")],
                &format!("grep \" {work} \" /proc/self/mountinfo | cut -d' ' -f6"),
            )
            .success()
            .says("nosuid,nodev");
        for (share, needle) in [
            ("/", "the whole of /"),
            ("/no/such", "no such file"),
            ("/usr:/no/place", "no place"),
            ("/usr:/proc/x", "/proc"),
            ("/usr:relative", "absolute"),
        ] {
            world.run(&["--share", share], "true").fails(needle);
        }
    }
}

#[test]
fn the_current_folder_is_shown_for_reading_wherever_it_is() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    for caller in BOTH {
        let world = World::of(caller);
        fs::write(world.path("work/file"), "here\n").unwrap();
        fs::set_permissions(world.path("work/file"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::create_dir(world.path("work/mount")).unwrap();
        world.give_away();
        let script = "pwd; cat file; touch made 2>/dev/null && echo written; true";
        let at = |folder: &Path| world.script(&[], script).current_dir(folder).run();
        at(&world.path("work")).success().prints(&format!("{}\nhere\n", world.text("work")));
        for folder in ["/", "/tmp", "/usr/bin", "/dev", "/proc", "/home", "/run", "/var/lib"] {
            let outcome = world.script(&[], "pwd").current_dir(Path::new(folder)).run();
            assert_eq!(outcome.stdout, format!("{folder}\n"), "{outcome}");
        }
        // On a mount of its own, in a place that nothing covers: other file systems are no empty folders.
        let place = tempfile::Builder::new().prefix(world.env.tag()).tempdir_in("/opt").unwrap();
        fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let place = place.path().display();
        let mounted =
            format!("mount -t tmpfs x {place}; echo 'on a mount' > {place}/file; cd {place}; exec \"$0\" \"$@\"");
        let outcome = world.script(&[], script).behind("unshare", &["--mount", "sh", "-c", &mounted]).run();
        assert_eq!(outcome.stdout, format!("{place}\non a mount\n"), "{outcome}");
        // Where only the host's root may go, on the way to it.
        if caller == Caller::Root {
            let closed = tempfile::Builder::new().prefix(world.env.tag()).tempdir_in("/opt").unwrap();
            fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).unwrap();
            fs::create_dir(closed.path().join("inner")).unwrap();
            fs::write(closed.path().join("secret"), "").unwrap();
            fs::write(closed.path().join("inner/file"), "here\n").unwrap();
            at(&closed.path().join("inner")).success().prints(&format!("{}/inner\nhere\n", closed.path().display()));
            let listing = world.script(&[], "ls ..").current_dir(&closed.path().join("inner")).run();
            listing.success().prints("inner\n");
            // Shown as what it is to its owner, and nothing above it.
            at(closed.path()).code(0).says(&closed.path().display().to_string());
        }
    }
}

#[test]
fn a_root_of_ones_own_is_a_view_for_reading_too() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let bundle = world.env.bundle();
        let rootfs = bundle.rootfs();
        world.give_away();
        let rootfs = rootfs.to_str().unwrap();
        let script = "ls -d /bin; touch /made 2>/dev/null && echo written; touch /tmp/made && echo tmp; pwd";
        world.run(&["--rootfs", rootfs], script).success().prints("/bin\ntmp\n/\n");
        assert!(!bundle.rootfs().join("made").exists() && !bundle.rootfs().join("tmp/made").exists());
        world.run(&["--rootfs", &world.text("work")], "true").fails("/proc");
    }
}

#[test]
fn everything_can_be_written_in_memory_if_root_wants_that() {
    needs_root!();
    needs_tool!("setpriv");
    let world = World::of(Caller::Root);
    let marker = format!("/etc/{}", world.env.tag());
    let script = format!(
        "echo x > {marker} && cat {marker}; rm /etc/passwd && echo removed; chown 33:33 /etc/hosts && stat -c %u /etc/hosts; \
         echo y > /run/pid && echo run; cat /etc/shadow; cat ~/x 2>/dev/null; grep CapEff /proc/self/status | grep -c 2.....$; true"
    );
    let outcome = world.run(&["--writable"], &script).success();
    assert!(outcome.stdout.starts_with("x\nremoved\n33\nrun\n"), "{outcome}");
    assert!(!Path::new(&marker).exists() && Path::new("/etc/passwd").exists());
    assert_eq!(fs::metadata("/etc/hosts").unwrap().uid(), 0);
    // Never the one capability that our mounts are no wall to.
    world.run(&["--writable"], "mount -t tmpfs x /mnt 2>/dev/null || echo refused").success().prints("refused\n");
    let rootfs = world.env.bundle().rootfs();
    world.run(&["--writable", "--rootfs", rootfs.to_str().unwrap()], "rm -r /etc && ls /").success();
    assert!(rootfs.join("etc/passwd").exists());
    World::of(Caller::User).run(&["--writable"], "true").fails("--writable needs root");
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let began = Instant::now();
        // Its children, too, and one that hears no signal.
        let outcome = world.run(&["--time", "0.3"], "trap '' TERM INT HUP; sleep 1000 & sleep 1000; sleep 1000");
        outcome.fails_with(124, &["ended after 0.3 s", "--time"]);
        assert!(began.elapsed() < DEADLINE / 2);
        world.run(&["--time", "1h"], "exit 7").code(7);
        until(DEADLINE, "end of all of it", || world.env.leftovers().is_empty());
    }
}

#[test]
fn processes_memory_and_cpus_are_limited() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        let script = "i=0; while [ $i -lt 60 ]; do sleep 1000 2>/dev/null & i=$((i+1)); done; echo all";
        let outcome = world.run(&["--pids", "20", "--time", "30"], script);
        assert!(!outcome.stdout.contains("all") && outcome.status.code() != Some(124), "{outcome}");
        // A file system in memory is memory: it ends long before the machine does.
        let script = "dd if=/dev/zero of=/tmp/x bs=1M count=100 2>/dev/null; test $(stat -c %s /tmp/x) -lt 50000000";
        let outcome = world.run(&["--memory", "128m"], script).code(0);
        match caller {
            Caller::Root => assert_eq!(outcome.stderr, ""),
            Caller::User => assert!(outcome.stderr.contains("holds for each process alone"), "{outcome}"),
        }
        if needs_python() {
            let hog = world.run(&["--memory", "64m"], "exec python3 -c 'x = b\"1\" * (200 << 20); print(len(x))'");
            assert!(!hog.status.success() && hog.stdout.is_empty(), "{hog}");
        }
        match caller {
            Caller::User => world.run(&["--cpus", "1"], "true").fails("--cpus needs a cgroup"),
            Caller::Root => {
                let (id, keep, running) = world.staying(&["--cpus", "0.5", "--memory", "256m", "--pids", "77"]);
                let pid = world.env.pid(&id);
                let limit = |what| support::cgroup::limit(pid, what);
                assert_eq!((limit("quota"), limit("period")), ("50000".into(), "100000".into()));
                assert_eq!((limit("memory"), limit("pids")), ("268435456".into(), "77".into()));
                drop(keep);
                running.finish(DEADLINE)
            }
        };
        world.run(&["--memory", "1"], "true").code(1);
    }
}

#[test]
fn a_user_without_a_session_keeps_state_in_a_private_folder() {
    needs_root!();
    needs_tool!("setpriv");
    let world = World::of(Caller::User);
    let kept = PathBuf::from(format!("/tmp/sandkeep-{USER}"));
    let _ = fs::remove_dir_all(&kept);
    let run = |xdg: Option<&Path>| {
        let cmd = Cmd::new(world.env.binary()).args(["do", "--", "echo", "hello"]).env_clear();
        let cmd = cmd.env("PATH", std::env::var("PATH").unwrap()).current_dir(Path::new("/usr"));
        let cmd = cmd.env("XDG_RUNTIME_DIR", xdg.unwrap_or(Path::new("")));
        cmd.behind("setpriv", &["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups"]).run()
    };
    run(None).success().prints("hello\n");
    let made = fs::metadata(&kept).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o7777), (USER, 0o700));
    // As su leaves it: somebody else's.
    run(Some(Path::new("/root"))).success().prints("hello\n");
    let own = world.path("work");
    run(Some(&own)).success().prints("hello\n");
    assert!(own.join("sandkeep/sandboxes").is_dir());
    // Not ours, or not ours alone: then it is nobody's.
    fs::set_permissions(&kept, PermissionsExt::from_mode(0o777)).unwrap();
    run(None).fails("not a folder of this user's alone");
    fs::remove_dir_all(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    run(None).fails("not a folder of this user's alone");
    fs::remove_dir(&kept).unwrap();
    std::os::unix::fs::symlink(&own, &kept).unwrap();
    run(None).fails("not a folder of this user's alone");
    fs::remove_file(&kept).unwrap();
}

#[test]
fn a_terminal_is_never_the_callers_and_what_is_no_terminal_stays_what_it_is() {
    needs_root!();
    needs_tool!("setpriv", "setsid");
    let world = World::of(Caller::Root);
    let file = world.path("out");
    let run = |wrap: &str, script: &str| {
        let mut terminal = Terminal::new();
        let cmd = world.script(&[], script).behind("sh", &["-c", wrap]);
        let running = terminal.run_cmd(cmd);
        let mut said = Vec::new();
        while let Some(line) = terminal.lines.next() {
            said.push(line);
            if said.last().is_some_and(|line| line.contains("end")) {
                break;
            }
        }
        running.finish(DEADLINE);
        said.join("|")
    };
    // The caller's is on another devpts: inside it has no name, or another one.
    let said =
        run("exec \"$0\" \"$@\"", "stat -c %d /proc/self/fd/0 -L | grep -qx $(stat -c %d /dev/pts) && tty; echo end");
    assert!(said.contains("/dev/pts/0"), "{said}");
    // A key that ends a program ends this one.
    let mut terminal = Terminal::new();
    let running = terminal.run_cmd(world.script(&[], "echo ready; exec sleep 1000"));
    terminal.lines.until("ready");
    terminal.types("\x03");
    running.finish(DEADLINE).code(130);
    // Input that ends: a pipe is handed on, and its end is heard.
    let said = run("printf 'a\\nb\\n' | \"$0\" \"$@\"; echo end", "wc -l; tty; tty <&1");
    assert!(said.contains('2') && said.contains("not a tty") && said.contains("/dev/pts/0"), "{said}");
    // Output that goes elsewhere goes there alone, and only errors come here.
    let said =
        run(&format!("\"$0\" \"$@\" > {}; echo end", file.display()), "echo to the file; echo to the terminal >&2");
    assert!(said.contains("to the terminal") && !said.contains("to the file"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "to the file\n");
}

#[test]
fn what_is_open_for_reading_is_not_opened_for_writing_and_what_is_open_for_writing_is() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        fs::write(world.path("work/input"), "kept").unwrap();
        world.give_away();
        let input = fs::File::open(world.path("work/input")).unwrap();
        let script =
            "cat; echo x > /proc/self/fd/0 && echo opened; echo error > /dev/stderr; echo output > /dev/stdout";
        let outcome = world.script(&[], &format!("({script}) 2>&1 >&1")).stdin(input).run();
        assert_eq!(fs::read_to_string(world.path("work/input")).unwrap(), "kept", "{outcome}");
        assert!(!outcome.stdout.contains("opened"), "{outcome}");
    }
}

#[test]
fn where_there_can_be_no_sandbox_it_is_said_why() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let binary = env.binary().to_str().unwrap().to_owned();
    // In another container, whose /proc is covered in part.
    let root = env.dir().join("root");
    fs::create_dir(&root).unwrap();
    let script = format!(
        "mount --bind / {0}; cd {0}; mount -t proc proc proc; mount --bind /dev/null proc/keys; \
        exec chroot . {binary} --root {1} do true",
        root.display(),
        env.root().display()
    );
    let covered = Cmd::new("unshare").args(["--mount", "--pid", "--fork", "sh", "-c", &script]).run();
    covered.fails_with(1, &["/proc/keys", "as in a container"]);
    // Where the kernel gives no user namespaces.
    let script =
        format!("echo 0 > /proc/sys/user/max_user_namespaces; exec {binary} --root {} do true", env.root().display());
    let none = Cmd::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).run();
    none.fails("max_user_namespaces");
}

#[test]
fn its_exit_code_and_its_errors_are_those_of_run() {
    needs_root!();
    needs_tool!("setpriv");
    for caller in BOTH {
        let world = World::of(caller);
        world.run(&[], "exit 7").code(7);
        world.run(&[], "kill -9 $$").code(137);
        world.run(&[], "kill -TERM $$").code(143);
        // Orphans are reaped: no zombie is seen.
        let script = "(sleep 0.01 & true); sleep 0.1; grep -ls '^State:.Z' /proc/[0-9]*/status; echo $$";
        world.run(&[], script).code(0).prints("2\n");
        world.cmd(["do", "--", "no-such-program"]).run().code(127);
        world.cmd(["do", "--", "/etc/passwd"]).run().code(126);
        // Asked to end, it asks the command, which need not have a handler; and the command may have one.
        for (script, code) in
            [("echo ready; exec sleep 1000", 143), ("trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done", 9)]
        {
            let (mut lines, out) = Lines::pipe();
            let running = world.script(&[], script).stdout(out).spawn();
            lines.until("ready");
            support::process::send(running.pid(), nix::sys::signal::Signal::SIGTERM);
            running.finish(DEADLINE).code(code);
        }
        // Killed, it takes its sandbox along.
        let (mut lines, out) = Lines::pipe();
        let running = world.script(&[], "echo ready; exec sleep 1000").stdout(out).spawn();
        lines.until("ready");
        support::process::send(running.pid(), nix::sys::signal::Signal::SIGKILL);
        assert_eq!(lines.next(), None);
        let _ = running.finish(DEADLINE);
        world.cmd(["recover"]).run().code(0);
        for id in world.cmd(["list", "--quiet"]).run().stdout.lines() {
            world.cmd(["delete", "--force", id]).run();
        }
        until(DEADLINE, "end of all of it", || world.env.leftovers().is_empty());
    }
}

/// What is written where the host looks bears the caller's name there: it lends that to nobody.
#[test]
fn nobody_makes_a_file_there_that_lends_the_callers_rights() {
    needs_root!();
    for caller in BOTH {
        let world = World::of(caller);
        let share = format!("{}:rw", world.text("work"));
        let script = format!(
            "cd {}; cp /bin/true one; for mode in 4755 2755 6711; do chmod $mode one && echo changed; done; chmod 755 one && \
             echo plain; mknod two p; chmod u+s two && echo changed; exit 0",
            world.text("work")
        );
        let outcome = world.run(&["--share", &share], &script).code(0);
        assert_eq!(outcome.stdout, "plain\n", "{caller:?}: {outcome}");
        let out = fs::File::create(world.path("work/out")).unwrap();
        world.give_away();
        // By way of a descriptor that is the caller's own file.
        world.script(&[], "chmod 4755 /proc/self/fd/1; chmod u+s /dev/stdout; exit 0").stdout(out).run();
        for name in ["one", "out", "two"] {
            let mode = fs::symlink_metadata(world.path("work").join(name)).unwrap().mode();
            assert_eq!(mode & 0o6000, 0, "{caller:?}: {name} is {mode:o}");
        }
    }
    // With capabilities over its own ids, but none to give to a file that the host sees.
    let world = World::of(Caller::Root);
    let share = format!("{}:rw", world.text("work"));
    let script = "grep -h Cap /proc/self/status; chmod 4755 /usr/bin/env";
    let with = |args: &[&str]| world.run(args, script).stdout;
    assert!(with(&["--writable"]).contains("CapEff:\t00000000800405fb"), "{}", with(&["--writable"]));
    assert!(with(&["--writable", "--share", &share]).contains("CapEff:\t00000000000405fb"));
}

/// What was named when it was chosen is what is mounted, or nothing is.
#[test]
fn a_folder_that_somebody_else_swaps_for_a_symlink_is_not_followed() {
    needs_root!();
    let world = World::of(Caller::Root);
    let (real, link, secret) = (world.path("work/real"), world.path("work/link"), world.path("secret"));
    for folder in [&real, &secret] {
        fs::create_dir(folder).unwrap();
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(secret.join("s"), "SECRET").unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    // From within: the folder is chosen by standing in it, by whatever name, and found again by its name.
    let opened = fs::File::open(&real).unwrap();
    let stand = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
    let swapping = support::Swapping::begin(&real, &link);
    let (mut refused, mut ran) = (0, 0);
    for round in 0..40 {
        let script = "cat /mnt/x/s; echo w > /mnt/x/w";
        let cmd = world.script(&["--share", ".:/mnt/x:rw"], script).current_dir(Path::new(&stand));
        let outcome = cmd.run();
        assert!(!outcome.stdout.contains("SECRET"), "round {round}: {outcome}");
        refused += usize::from(outcome.stderr.contains("is not what it was"));
        ran += usize::from(outcome.status.success());
    }
    drop(swapping);
    assert!(!secret.join("w").exists(), "it was written ({ran} ran, {refused} were refused)");
}
