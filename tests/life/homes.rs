//! HOME comes from the container's /etc/passwd, whatever that is: the image's, or what somebody in a running container has
//! made of it for the next exec.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use support::{Bundle, Cmd, Env, needs_root};

/// Far less than the minute for which a step of a setup is waited for.
const SOON: Duration = Duration::from_secs(20);

const USERS: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";

fn of_user(env: &Env) -> Bundle {
    let bundle = env.bundle().edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    fs::remove_file(bundle.rootfs().join("etc/passwd")).unwrap();
    bundle
}

/// HOME, in hexadecimal if it is no text.
const TELL: &str = "printf %s \"$HOME\" | od -An -tx1 | tr -d ' \\n'";

fn hex(text: &[u8]) -> String {
    text.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands in the place of /etc/passwd, and which home the user then has.
type Odd = (&'static str, fn(&Path), &'static [u8]);

fn written(passwd: &Path, bytes: &[u8]) {
    fs::write(passwd, bytes).unwrap();
}

fn big(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("u{n}:x:{}:1::/home/u{n}:/bin/sh\n", n + 5000).into_bytes()).collect()
}

const ODD: [Odd; 15] = [
    ("nothing", |_| (), b"/"),
    (
        "a pipe that nobody writes to",
        |passwd| nix::unistd::mkfifo(passwd, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        b"/",
    ),
    (
        "a link to such a pipe",
        |passwd| {
            nix::unistd::mkfifo(&passwd.with_file_name("fifo"), nix::sys::stat::Mode::all()).unwrap();
            symlink("fifo", passwd).unwrap();
        },
        b"/",
    ),
    ("a socket", |passwd| drop(UnixListener::bind(passwd).unwrap()), b"/"),
    ("a link to a device without an end", |passwd| symlink("/dev/zero", passwd).unwrap(), b"/"),
    ("a link to a terminal", |passwd| symlink("/dev/tty", passwd).unwrap(), b"/"),
    ("a folder", |passwd| fs::create_dir(passwd).unwrap(), b"/"),
    ("a link to itself", |passwd| symlink("passwd", passwd).unwrap(), b"/"),
    ("a link out of the root", |passwd| symlink("../../../../../../../../etc/passwd", passwd).unwrap(), b"/"),
    ("a file without an end", |passwd| fs::File::create(passwd).unwrap().set_len(1 << 40).unwrap(), b"/"),
    (
        "a name that is no text",
        |passwd| written(passwd, &[b"caf\xe9:x:7:7:\xff:/\xfe:\n", USERS].concat()),
        b"/home/user",
    ),
    ("a home that is no text", |passwd| written(passwd, b"user:x:1000:1000::/h\xf6me:/bin/sh\n"), b"/h\xf6me"),
    (
        "bytes of 0 and very long lines",
        |passwd| {
            written(passwd, &[b"\0:\0:\0\n", vec![b'x'; 1 << 20].as_slice(), b"\n", USERS].concat());
        },
        b"/home/user",
    ),
    ("no final newline", |passwd| written(passwd, b"user:x:1000:1000::/last"), b"/last"),
    ("a hundred thousand users", |passwd| written(passwd, &[big(100_000).as_slice(), USERS].concat()), b"/home/user"),
];

#[test]
fn whatever_the_image_has_there_its_program_runs_and_has_a_home() {
    needs_root!();
    let env = Env::new();
    let id = env.id("image");
    for (what, make, home) in ODD {
        let bundle = of_user(&env).script(TELL);
        make(&bundle.rootfs().join("etc/passwd"));
        let outcome = env.run_bundle(&bundle, &id).spawn().finish(SOON);
        assert_eq!(outcome.stdout, hex(home), "{what}: {outcome}");
        outcome.success();
        // And of a container that is created, to be started later.
        env.create(&bundle, &id).stdout(std::process::Stdio::null()).spawn().finish(SOON).success();
        let exec = env.cmd(["exec", &id, "sh", "-c", TELL]).spawn().finish(SOON);
        assert_eq!(exec.stdout, hex(home), "{what}: {exec}");
        env.run(["delete", "--force", &id]).success();
    }
}

/// Which user it is said of is what counts: the application's home does not come from somebody else's line.
#[test]
fn a_running_container_cannot_hold_up_or_mislead_what_is_executed_in_it() {
    needs_root!();
    let env = Env::new();
    let id = env.id("hostile");
    let bundle = of_user(&env).args(&["sleep", "1000"]);
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::write(&passwd, USERS).unwrap();
    env.started(&bundle, &id);
    for (what, make, home) in ODD {
        let _ = fs::remove_file(&passwd).or_else(|_| fs::remove_dir(&passwd));
        let _ = fs::remove_file(passwd.with_file_name("fifo"));
        make(&passwd);
        for (flags, home) in [(&[][..], home), (&["--user", "4242:4242"], b"/".as_slice())] {
            let exec = env.cmd(["exec"]).args(flags).args([&id, "sh", "-c", TELL]).spawn().finish(SOON);
            assert_eq!(exec.stdout, hex(home), "{what}: {exec}");
        }
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn what_changes_from_a_file_to_a_pipe_while_it_is_looked_at_holds_nobody_up() {
    needs_root!();
    let env = Env::new();
    let id = env.id("swaps");
    let script = "cd /etc; while :; do rm -f passwd; mkfifo passwd; rm -f passwd; echo x > passwd; done";
    let bundle = env.bundle().script(script);
    env.started(&bundle, &id);
    for _ in 0..50 {
        env.cmd(["exec", &id, "true"]).spawn().finish(SOON).success();
    }
    env.run(["delete", "--force", &id]).success();
}

#[test]
fn a_home_that_is_given_is_kept_and_nothing_is_read_for_it() {
    needs_root!();
    let env = Env::new();
    let id = env.id("given");
    for (given, told) in [("HOME=/mine", "/mine"), ("HOME=", "/home/user")] {
        let bundle = of_user(&env).script(TELL).edit(|config| {
            config["process"]["env"].as_array_mut().unwrap().push(json!(given));
        });
        fs::write(bundle.rootfs().join("etc/passwd"), USERS).unwrap();
        env.run_bundle(&bundle, &id).run().success().prints(&hex(told.as_bytes()));
    }
}

/// What else is read of a container: the names that its processes, its cgroups and its mounts have.
#[test]
fn names_that_a_container_gives_hide_nothing_from_whoever_looks_at_it() {
    needs_root!();
    let env = Env::new();
    let id = env.id("names");
    let script = "cd /tmp; d=$(printf 'a\\377b'); mkdir \"$d\"; mount -t tmpfs x \"$d\"; cp /bin/busybox \"$d/sleep\"; \
                  \"$d/sleep\" 1000 & printf 'n\\377' > /proc/self/comm; while :; do sleep 0.1; done";
    let bundle = env.bundle().script(script).capabilities(&["CAP_SYS_ADMIN"]);
    env.started(&bundle, &id);
    support::until(SOON, "two processes", || {
        env.run(["ps", "--format", "json", &id]).json().as_array().is_some_and(|pids| pids.len() >= 3)
    });
    for command in [&["ps"][..], &["state"], &["events", "--stats"], &["exec", "--cwd", "/"]] {
        let (name, flags) = command.split_first().unwrap();
        let rest: &[&str] = if *name == "exec" { &["true"] } else { &[] };
        env.cmd([name]).args(flags).arg(&id).args(rest).run().success();
    }
    env.run(["list"]).success();
    env.run(["recover"]).code(0);
    env.run(["delete", "--force", &id]).success();
}

/// Somebody has mounted something where the name is no text: nothing of the machine's mounts is lost to us for it.
#[test]
fn a_mount_of_the_host_whose_name_is_no_text_is_in_nobodys_way() {
    needs_root!();
    support::needs_tool!("unshare");
    let env = Env::new();
    let id = env.id("mounts");
    let bundle = env.bundle().args(&["echo", "runs"]);
    let binary = env.binary().to_str().unwrap();
    let script = format!(
        "set -e; d={}/$(printf 'a\\377b'); mkdir \"$d\"; mount -t tmpfs x \"$d\"; {binary} --root {root} run -b {bundle} {id}; \
         {binary} --root {root} do echo does; {binary} --root {root} doctor >/dev/null",
        env.dir().display(),
        root = env.root().display(),
        bundle = bundle.dir.display(),
    );
    let inside = Cmd::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    inside.run().success().prints("runs\ndoes\n");
}
