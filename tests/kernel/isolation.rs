//! A container cannot touch its host: the probe in every way of being inside, while the outside looks.
//!
//! **Whoever adds a way of being inside adds a row.** For each, three things must hold: nothing that the probe got through
//! with is the host's, what it reaches beyond the container is what the row says, and the host is afterwards what it was.
//! `docs/security.md` sums up the table that this prints (`cargo test --test kernel isolation -- --nocapture`).

use std::collections::HashSet;

use serde_json::{Value, json};
use support::isolation::baits::Baits;
use support::isolation::host::{Host, Inodes};
use support::isolation::verdict::{Measure, Verdict, judge};
use support::isolation::way::{Enter, Prepared, Way, Who};
use support::{Cmd, Env, HostNodes, Lines, needs_root, needs_tool, probe};

/// What uid 0 of the host reaches without a user namespace, as it is the kernel's doing: the modes of files in /proc are the
/// same in all its mounts and belong to that uid, and keys of the same uid can be described by their number.
const SAME_ROOT: &[&str] = &["modes of /proc", "a key: describe"];

/// The network is the host's: so are what listens on it, and sockets with a name instead of a path.
const NETWORK: &[&str] = &["modes of /proc", "a key: describe", "an abstract socket", "a port"];

/// The configuration asks for the host's processes to be seen; the kernel lets uid 0 send signals to those of uid 0, and look
/// into those that have no capability which it has not.
const PROCESSES: &[&str] = &[
    "modes of /proc",
    "a key: describe",
    "foreign processes, seen",
    "foreign processes, signal",
    "processes of the same user with no more rights",
];

#[rustfmt::skip]
const WAYS: &[Way] = &[
    Way::new("run", Enter::Run, Who::Root).reaches(SAME_ROOT),
    Way::new("run, user namespace", Enter::Run, Who::Root).config(user_namespace),
    Way::new("run, host network", Enter::Run, Who::Root).config(host_network).reaches(NETWORK),
    Way::new("run, host PID", Enter::Run, Who::Root).config(host_pid).reaches(PROCESSES),
    Way::new("run --no-pivot", Enter::Run, Who::Root).flags(&["--no-pivot"]).reaches(SAME_ROOT),
    Way::new("run, everything masked", Enter::Run, Who::Root).config(everything_masked).reaches(SAME_ROOT),
    Way::new("run, everything read-only", Enter::Run, Who::Root).config(everything_readonly).reaches(SAME_ROOT),
    Way::new("run, names swapped", Enter::Run, Who::Root).swapping().reaches(SAME_ROOT),
    Way::new("run, many capabilities", Enter::Run, Who::Root).config(as_engines).reaches(AS_ENGINES),
    Way::new("run, terminal", Enter::RunTerminal, Who::Root).reaches(SAME_ROOT),
    Way::new("run, namespaces joined", Enter::RunJoined, Who::Root).reaches(JOINED),
    Way::new("create, start", Enter::Start, Who::Root).reaches(SAME_ROOT),
    Way::new("create, start, user namespace", Enter::Start, Who::Root).config(user_namespace),
    Way::new("exec", Enter::Exec, Who::Root).reaches(SAME_ROOT),
    Way::new("exec, user namespace", Enter::Exec, Who::Root).config(user_namespace),
    Way::new("exec, host network", Enter::Exec, Who::Root).config(host_network).reaches(NETWORK),
    Way::new("exec, host PID", Enter::Exec, Who::Root).config(host_pid).reaches(PROCESSES),
    Way::new("exec, many capabilities", Enter::Exec, Who::Root).config(as_engines).reaches(AS_ENGINES),
    Way::new("exec, writable cgroup", Enter::Exec, Who::Root).config(writable_cgroup).reaches(OWN_CGROUP),
    Way::new("exec --detach", Enter::ExecDetached, Who::Root).reaches(SAME_ROOT),
    Way::new("exec --tty", Enter::ExecTerminal, Who::Root).reaches(SAME_ROOT),
    Way::new("do", Enter::Do, Who::Root).reaches(FOLDER),
    Way::new("do, terminal", Enter::DoTerminal, Who::Root).reaches(FOLDER),
    Way::new("do --rootfs", Enter::DoRootfs, Who::Root),
    Way::new("do --writable", Enter::Do, Who::Root).flags(&["--writable"]).reaches(WRITABLE),
    Way::new("exec into do", Enter::ExecIntoDo, Who::Root).reaches(INTO_DO),
    Way::new("user: run", Enter::Run, Who::User).reaches(USERS),
    Way::new("user: create, start", Enter::Start, Who::User).reaches(USERS),
    Way::new("user: exec", Enter::Exec, Who::User).reaches(USERS),
    Way::new("user: exec --detach", Enter::ExecDetached, Who::User).reaches(USERS),
    Way::new("user: exec --tty", Enter::ExecTerminal, Who::User).reaches(USERS),
    Way::new("user: do", Enter::Do, Who::User).reaches(FOLDER),
    Way::new("user: do, terminal", Enter::DoTerminal, Who::User).reaches(FOLDER),
    Way::new("user: do --rootfs", Enter::DoRootfs, Who::User),
];

/// The processes of the other container are there to be seen, and are of the same user.
const JOINED: &[&str] = &["modes of /proc", "a key: describe", "processes of the same user with no more rights"];

/// All of it in the container's own folders: else it would be an inode of the host.
const OWN_CGROUP: &[&str] = &[
    "modes of /proc",
    "a key: describe",
    "cgroup: chmod",
    "cgroup: chown",
    "cgroup: mkdir",
    "cgroup: open-write",
    "cgroup: setxattr",
    "cgroup: utimes",
];

/// `do` is called to work on the current folder, and reads there what its caller may read.
const FOLDER: &[&str] = &["a secret in the current folder"];

/// The sleeping one's, of which Landlock lets nothing else be done.
const INTO_DO: &[&str] = &["a secret in the current folder", "processes of the same user with no more rights"];

/// Root over an overlay in memory, so that a package manager works: in a user namespace, where its capabilities are over its
/// own ids, and over what the overlay shows, for reading, files that are only root's among it.
const WRITABLE: &[&str] = &[
    "CapBnd 00000000800405fb",
    "CapEff 00000000800405fb",
    "CapPrm 00000000800405fb",
    "a secret in /var/lib",
    "a secret in the current folder",
];

/// `spec --rootless` leaves the network the host's, since a new one could not be wired up.
const USERS: &[&str] = &["an abstract socket", "a port"];

/// What docker gives: nodes that the device cgroup keeps from being opened, and sockets for ping(8).
const AS_ENGINES: &[&str] =
    &["modes of /proc", "a key: describe", "a device node: mknod", "a socket of packet", "a socket of raw"];

fn user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    config["linux"]["gidMappings"] = config["linux"]["uidMappings"].clone();
}

fn writable_cgroup(config: &mut Value) {
    for mount in config["mounts"].as_array_mut().unwrap().iter_mut().filter(|mount| mount["type"] == "cgroup") {
        mount["options"].as_array_mut().unwrap().retain(|option| option != "ro");
    }
}

fn without_namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
}

fn host_network(config: &mut Value) {
    without_namespace(config, "network");
}

fn host_pid(config: &mut Value) {
    without_namespace(config, "pid");
}

/// Whatever is in /proc and /sys, and what the image has.
fn everything() -> Vec<String> {
    let mut all = vec!["/etc/passwd".to_owned(), "/etc".to_owned(), "/root".to_owned(), "/dev/null".to_owned()];
    for folder in ["/proc", "/sys"] {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The probe, and the runtime before it, look at processes.
        let kernels = names.filter(|name| {
            name.parse::<u32>().is_err() && !["self", "thread-self", "mounts", "net"].contains(&&**name)
        });
        all.extend(kernels.map(|name| format!("{folder}/{name}")));
    }
    all
}

fn everything_masked(config: &mut Value) {
    config["linux"]["maskedPaths"] = json!(everything());
}

fn everything_readonly(config: &mut Value) {
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!(everything());
}

/// The fourteen of docker and podman.
fn as_engines(config: &mut Value) {
    let names = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
}

#[test]
fn no_way_of_being_inside_reaches_the_host() {
    needs_root!();
    needs_tool!("setpriv", "unshare");
    let only = std::env::var("SANDKEEP_WAY").ok();
    let mut wrong = Vec::new();
    println!("{}", Row::heading());
    for way in WAYS.iter().filter(|way| only.as_ref().is_none_or(|only| way.name.contains(only.as_str()))) {
        let mut row = go(way);
        // Others live on this machine: what does not come back was theirs.
        if row.verdict.is_ok() && !row.changes.is_empty() {
            row = go(way);
        }
        println!("{}", row.text(way.name));
        wrong.extend(row.wrong(way));
    }
    assert!(wrong.is_empty(), "{} of {} ways:\n{}", wrong.len(), WAYS.len(), wrong.join("\n"));
}

/// CVE-2016-9962 and its kind: a container that may trace what enters it stops each process that appears, and looks for what
/// the caller has in its environment and on its command line, through all of its memory and everything that it has open.
#[test]
fn a_process_that_enters_brings_nothing_of_its_caller_along() {
    needs_root!();
    const TIMES: usize = 100;
    let env = Env::new();
    let (id, marker) = (env.id("watch"), format!("of-the-caller-{}", env.tag()));
    let reversed: String = marker.chars().rev().collect();
    let bundle = env.bundle().capabilities(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    let bundle = bundle.args(&["/probe", "watch", &reversed]);
    std::fs::copy(probe::path(), bundle.rootfs().join("probe")).unwrap();
    let mut inodes = Inodes::of_host();
    let (mut lines, out) = Lines::pipe();
    env.create(&bundle, &id).stdout(out).run().success();
    env.run(["start", &id]).success();
    lines.until("begins");
    let log = env.dir().join(&marker);
    for time in 0..TIMES {
        let mut exec = Cmd::new(env.binary()).arg("--root").arg(env.root()).arg("--log").arg(&log).arg("exec");
        exec = if time % 2 == 0 { exec } else { exec.arg("--detach") };
        // Its own descriptors are not files of ours.
        let null = || std::fs::File::options().write(true).open("/dev/null").unwrap();
        exec.arg(&id).arg("/bin/true").env("SECRET", &marker).stdout(null()).stderr(null()).run().code(0);
    }
    env.run(["delete", "--force", &id]).success();
    inodes.still_there();
    inodes.own(&bundle.rootfs());
    let told = lines.rest();
    let seen = watched(&told, &inodes);
    let talkers: HashSet<&str> = seen.leaks.iter().filter_map(|line| line.split('\t').nth(1)).collect();
    println!("{TIMES} processes entered, {} were looked into: {} gave something away", seen.looked, talkers.len());
    // Else nothing was shown: it sees hardly less than one a time.
    assert!(seen.looked >= TIMES / 2, "only {} of {TIMES} were looked into", seen.looked);
    assert!(seen.leaks.is_empty(), "{} of {}:\n{}", seen.leaks.len(), seen.looked, seen.leaks.join("\n"));
}

struct Watched {
    looked: usize,
    leaks: Vec<String>,
}

/// A secret, a root or a folder that is another, or something open that is the host's.
fn watched(told: &str, inodes: &Inodes) -> Watched {
    let mut seen = Watched { looked: 0, leaks: Vec::new() };
    for line in told.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let [kind, _, _, result, inode] = words[..] else { panic!("the probe says {line:?}") };
        let numbers: Vec<u64> = inode.split(':').filter_map(|number| number.parse().ok()).collect();
        let of_host = match numbers[..] {
            [major, minor, inode] => {
                let inode = (major as u32, minor as u32, inode);
                inodes.is_hosts(inode) && !inodes.is_harmless_device(inode)
            }
            _ => false,
        };
        seen.looked += usize::from(kind == "looked");
        if kind == "leak" || (kind == "place" && result == "other") || (kind == "open" && of_host) {
            seen.leaks.push(line.to_owned());
        }
    }
    seen
}

/// What came of one way.
struct Row {
    verdict: Result<Verdict, String>,
    changes: Vec<String>,
    called: Vec<String>,
}

fn go(way: &Way) -> Row {
    // Put back by this, should there be a hole, once nothing is inside any more.
    let _nodes = HostNodes::at(&["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]);
    let env = Env::new();
    let baits = Baits::lay(&env);
    let prepared = Prepared::new(way, &env, &baits);
    let before = Host::look(&baits.files(), env.tag());
    let report = prepared.go();
    let changes = before.changes(&Host::look(&baits.files(), env.tag()));
    let (masked, inodes) = (prepared.masked(), prepared.inodes());
    let measure = Measure { inodes: &inodes, masked: &masked, marker: &baits.marker, promise: way.promise() };
    if let (Ok(folder), Ok(report)) = (std::env::var("SANDKEEP_WAY_REPORTS"), &report) {
        let _ = std::fs::write(std::path::Path::new(&folder).join(way.name), report);
    }
    let verdict = report.and_then(|report| judge(&report, &measure));
    Row { verdict, changes, called: baits.called() }
}

impl Row {
    fn heading() -> String {
        format!("{:<30} {:>8} {:>12} {:>13}  reaches", "way of being inside", "tried", "let through", "host changes")
    }

    fn text(&self, name: &str) -> String {
        let changes = self.changes.len();
        match &self.verdict {
            Ok(verdict) => {
                let reached: Vec<&str> = verdict.reached.keys().map(String::as_str).collect();
                let reached = if reached.is_empty() { "nothing".to_owned() } else { reached.join("; ") };
                format!("{name:<30} {:>8} {:>12} {changes:>13}  {reached}", verdict.tried, verdict.let_through)
            }
            Err(_) => format!("{name:<30} {:>8} {:>12} {changes:>13}  it did not come to be inside", "-", "-"),
        }
    }

    fn wrong(&self, way: &Way) -> Option<String> {
        let mut told = Vec::new();
        match &self.verdict {
            Ok(verdict) => {
                let unexpected = verdict.reached.iter().filter(|(word, _)| !way.reaches.contains(&word.as_str()));
                told.extend(unexpected.map(|(word, line)| format!("reaches {word}: {line:?}")));
            }
            Err(error) => told.push(error.clone()),
        }
        told.extend(self.changes.iter().cloned());
        let expected = |word: &str| way.reaches.contains(&word);
        for name in &self.called {
            let known = (name == "an abstract socket" && expected("an abstract socket"))
                || (name.contains("port") && expected("a port"));
            if !known {
                told.push(format!("the host was called: {name}"));
            }
        }
        (!told.is_empty()).then(|| format!("{}:\n    {}", way.name, told.join("\n    ")))
    }
}
