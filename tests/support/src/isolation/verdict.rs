//! What the probe's lines amount to: how much was tried, how much of it was let through, and what of that reaches beyond
//! the container.

use std::collections::BTreeMap;

use super::host::Inodes;

/// One line of the probe.
struct Line<'a> {
    kind: &'a str,
    target: &'a str,
    operation: &'a str,
    result: &'a str,
    inode: Option<(u32, u32, u64)>,
}

impl Line<'_> {
    fn read(text: &str) -> Option<Line<'_>> {
        let mut words = text.split('\t');
        let line = [words.next()?, words.next()?, words.next()?, words.next()?, words.next()?];
        let mut numbers = line[4].trim_end().splitn(3, ':');
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let inode = (|| Some((number()? as u32, number()? as u32, number()?)))();
        let [kind, target, operation, result, _] = line;
        Some(Line { kind, target, operation, result, inode })
    }

    fn ok(&self) -> bool {
        self.result == "ok"
    }
}

/// How much a way of being inside promises.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// A container as its configuration says.
    Container,
    /// `do`: for code that nobody trusts.
    Sandbox,
}

/// What a report is judged by.
pub struct Measure<'a> {
    pub inodes: &'a Inodes,
    pub masked: &'a [String],
    pub marker: &'a str,
    pub promise: Promise,
}

#[derive(Default)]
pub struct Verdict {
    pub tried: usize,
    pub let_through: usize,
    /// In a word, and the first line that says so.
    pub reached: BTreeMap<String, String>,
}

/// What changes an inode.
const CHANGES: [&str; 10] =
    ["chmod", "chown", "fchmod", "fchown", "link", "mkdir", "open-write", "setxattr", "utimes", "write"];

/// Calls that belong to the machine alone.
const OF_THE_MACHINE: [&str; 16] = [
    "acct",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "fsopen",
    "init_module",
    "iopl",
    "kexec_load",
    "open_tree",
    "perf_event_open of the machine",
    "reboot",
    "sethostname",
    "settimeofday",
    "swapon",
    "syslog",
    "unshare (own)",
];

/// What code that nobody trusts has no need of.
const NOT_FOR_THE_UNTRUSTED: [&str; 5] =
    ["bpf", "io_uring_setup", "perf_event_open of ourselves", "unshare (user)", "userfaultfd"];

/// Files of /proc that act on the machine.
const ACTS: [&str; 9] = [
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
    "/proc/mtrr",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/scsi",
    "/proc/keys",
];

/// A probe that did not come to its end proves nothing.
pub fn judge(report: &str, measure: &Measure<'_>) -> Result<Verdict, String> {
    let mut verdict = Verdict::default();
    let mut ended = false;
    for text in report.lines() {
        let line = Line::read(text).ok_or_else(|| format!("the probe says {text:?}"))?;
        match line.kind {
            "end" => ended = true,
            "error" => return Err(format!("the probe says {text:?}")),
            "fact" | "environment" => {}
            _ => {
                verdict.tried += 1;
                verdict.let_through += usize::from(line.ok());
            }
        }
        if let Some(word) = reach(&line, measure) {
            verdict.reached.entry(word).or_insert_with(|| text.to_owned());
        }
    }
    if !ended {
        return Err(format!("the probe did not come to its end: {:?}", report.lines().last()));
    }
    Ok(verdict)
}

fn reach(line: &Line<'_>, measure: &Measure<'_>) -> Option<String> {
    let Line { kind, target, operation, .. } = *line;
    let of_host = line.inode.is_some_and(|inode| measure.inodes.is_hosts(inode));
    if line.ok() && of_host && CHANGES.contains(&operation) {
        let harmless = line.inode.is_some_and(|inode| measure.inodes.is_harmless_device(inode));
        return (!(harmless && operation == "open-write")).then(|| format!("an inode of the host: {operation}"));
    }
    let sandbox = measure.promise == Promise::Sandbox;
    match kind {
        "environment" => line.result.contains(measure.marker).then(|| "the caller's environment".to_owned()),
        "fact" => fact(line, sandbox),
        "descriptor" if operation == "is" && !["0", "1", "2"].contains(&target) => {
            Some(format!("a descriptor: {}", line.result))
        }
        "mount" if line.result == "rw" && of_host => Some("a writable mount of the host".to_owned()),
        "mounts" if line.result != "1" => Some("a mount beside the root".to_owned()),
        "masked" if measure.masked.iter().any(|path| path == target) && ["read", "list"].contains(&operation) => {
            line.ok().then(|| format!("what is masked: {target}"))
        }
        _ if !line.ok() => None,
        "dotdot" => Some("another root, by ..".to_owned()),
        "mounting-user" | "mounting-own" => mounting(line),
        "host" if operation == "stat" => None,
        "secret" => Some(secret(target)),
        // The supervisor is there to be seen, and to be told to end; whatever rights it has, nothing else.
        "process-foreign" | "process-peer" if target.contains("sandkeep") => {
            (!["seen", "signal"].contains(&operation)).then(|| format!("the supervisor, {operation}"))
        }
        "process-foreign" => Some(format!("foreign processes, {operation}")),
        "process-peer" => Some("processes of the same user with no more rights".to_owned()),
        "process-own" if operation == "secret in environ" => Some("the caller's environment".to_owned()),
        "socket" | "bait" | "file" | "host" if operation == "connect" => Some("a unix socket".to_owned()),
        "abstract" | "abstract-bait" => Some("an abstract socket".to_owned()),
        "tcp-bait" => Some("a port".to_owned()),
        "key-bait" => Some(format!("a key: {operation}")),
        "sysctl" | "sys" | "cgroup" => Some(format!("{kind}: {operation}")),
        // The kernel keeps one mode for a file of /proc in all its mounts.
        "proc" if ["chmod", "chown"].contains(&operation) => Some("modes of /proc".to_owned()),
        "proc" if operation == "open-write" && ACTS.iter().any(|path| target.starts_with(path)) => {
            Some(format!("proc: {target}"))
        }
        "mknod" => Some(format!("a device node: {operation}")),
        "handle" => Some("an inode by its number".to_owned()),
        "family" if ["packet", "raw"].contains(&target) => Some(format!("a socket of {target}")),
        "call" if OF_THE_MACHINE.contains(&target) => Some(format!("a call: {target}")),
        "call" if sandbox && NOT_FOR_THE_UNTRUSTED.contains(&target) => Some(format!("a call: {target}")),
        _ => None,
    }
}

/// A bait by where it lies, whatever the name of the test's folder.
fn secret(path: &str) -> String {
    let place = ["outside", "work"].into_iter().find(|place| path.ends_with(&format!("/{place}/secret")));
    match place {
        Some("work") => "a secret in the current folder".to_owned(),
        Some(_) => "a secret beside the bundle".to_owned(),
        None if path.ends_with("/secret") => "a secret in /var/lib".to_owned(),
        None => format!("a secret: {path}"),
    }
}

fn fact(line: &Line<'_>, sandbox: bool) -> Option<String> {
    let wrong = match line.target {
        "CapEff" | "CapPrm" | "CapBnd" | "CapInh" | "CapAmb" => sandbox && line.result != "0000000000000000",
        "NoNewPrivs" => line.result != "1",
        "Seccomp" => sandbox && line.result != "2",
        _ => false,
    };
    wrong.then(|| format!("{} {}", line.target, line.result))
}

/// A tmpfs or a devpts of one's own shows nothing and covers nothing that matters.
fn mounting(line: &Line<'_>) -> Option<String> {
    match (line.operation, line.target) {
        ("mount", "tmpfs" | "devpts" | "mqueue") => None,
        ("pivot_root", _) => None,
        (operation, target) => Some(format!("mounts, changed: {operation} {target}")),
    }
}
