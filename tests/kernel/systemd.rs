//! `--cgroup-manager systemd`, against a peer that speaks D-Bus as systemd does: which calls come, in which order, with
//! what in them, and what becomes of the container when one is refused.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sandkeep::cgroup::systemd::wire::{FIXED, Message, decode, length};
use serde_json::json;
use support::cgroup::limit;
use support::{Bundle, Cmd, Env, needs_root};

/// What it was asked, and how it behaves.
#[derive(Default)]
struct Peer {
    calls: Mutex<Vec<(String, Message)>>,
    /// Calls of this method are refused.
    refuses: Mutex<Option<&'static str>>,
}

/// A systemd in small: a scope is a cgroup in the named hierarchy (or the only one), with the process in it.
struct Systemd {
    peer: Arc<Peer>,
    address: String,
}

fn mount() -> PathBuf {
    if support::cgroup::is_v2() { "/sys/fs/cgroup".into() } else { "/sys/fs/cgroup/systemd".into() }
}

impl Systemd {
    fn start(env: &Env) -> Systemd {
        let path = env.dir().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = Arc::new(Peer::default());
        let (ours, tag) = (peer.clone(), env.tag().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (peer, tag) = (ours.clone(), tag.clone());
                std::thread::spawn(move || serve(stream, &peer, &tag));
            }
        });
        Systemd { peer, address: format!("unix:path={}", path.display()) }
    }

    fn cmd<'a>(&self, env: &Env, args: impl IntoIterator<Item = &'a str>) -> Cmd {
        let cmd = env.cmd(["--cgroup-manager", "systemd"]).args(args);
        cmd.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address)
    }

    fn create(&self, env: &Env, bundle: &Bundle, id: &str) -> Cmd {
        self.cmd(env, ["create", "--bundle", bundle.dir.to_str().unwrap(), id])
    }

    fn refuse(&self, method: Option<&'static str>) {
        *self.peer.refuses.lock().unwrap() = method;
    }

    /// The methods called so far, without those that every connection begins with.
    fn take_calls(&self) -> Vec<(String, Message)> {
        let mut calls = std::mem::take(&mut *self.peer.calls.lock().unwrap());
        calls.retain(|(name, _)| !["Hello", "AddMatch", "Subscribe", "Get"].contains(&name.as_str()));
        calls
    }
}

fn serve(mut stream: UnixStream, peer: &Peer, tag: &str) {
    let mut greeting = [0; b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".len()];
    if stream.read_exact(&mut greeting).is_err() {
        return;
    }
    assert_eq!(&greeting, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
    stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
    let mut job = 0;
    loop {
        let mut fixed = [0; FIXED];
        if stream.read_exact(&mut fixed).is_err() {
            return;
        }
        let mut bytes = fixed.to_vec();
        bytes.resize(length(&fixed).unwrap(), 0);
        stream.read_exact(&mut bytes[FIXED..]).unwrap();
        let serial = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        let message = decode(&bytes).unwrap();
        let method = message.member.clone();
        let texts = message.texts();
        peer.calls.lock().unwrap().push((method.clone(), message.clone()));
        if *peer.refuses.lock().unwrap() == Some(method.as_str()) {
            let error = "org.freedesktop.DBus.Error.InvalidArgs";
            stream.write_all(&answer(3, serial, Some(error), "s", &text("not today"))).unwrap();
            continue;
        }
        match method.as_str() {
            "Get" => {
                stream.write_all(&answer(2, serial, None, "v", &[b"\x01s\0\0".as_slice(), &text("")].concat())).unwrap()
            }
            "StartTransientUnit" | "StopUnit" => {
                job += 1;
                let unit = &texts[0];
                let path = format!("/org/freedesktop/systemd1/job/{job}");
                let folder = mount().join(format!("{tag}.slice")).join(unit);
                if method == "StartTransientUnit" {
                    fs::create_dir_all(&folder).unwrap();
                    // As systemd hands controllers on; v1 has no such files.
                    for above in [mount(), mount().join(format!("{tag}.slice"))] {
                        let _ = fs::write(above.join("cgroup.subtree_control"), "+cpu +memory +pids");
                    }
                    fs::write(folder.join("cgroup.procs"), pids(&message).to_string()).unwrap();
                } else {
                    let _ = fs::remove_dir(&folder);
                }
                stream.write_all(&answer(2, serial, None, "o", &text(&path))).unwrap();
                let mut removed = vec![job, 0, 0, 0];
                for part in [path.as_str(), unit, "done"] {
                    removed.resize(removed.len().next_multiple_of(4), 0);
                    removed.extend(text(part));
                }
                stream.write_all(&signal("JobRemoved", "uoss", &removed)).unwrap();
            }
            _ => stream.write_all(&answer(2, serial, None, "", &[])).unwrap(),
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes(), text.as_bytes(), &[0]].concat()
}

/// A header field, padded.
fn field(fields: &mut Vec<u8>, code: u8, signature: &str, value: &[u8]) {
    fields.resize(fields.len().next_multiple_of(8), 0);
    fields.extend([code, signature.len() as u8]);
    fields.extend(signature.bytes());
    fields.push(0);
    fields.extend(value);
}

fn message(kind: u8, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![b'l', kind, 1, 1];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend((fields.len() as u32).to_le_bytes());
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

fn signature(fields: &mut Vec<u8>, signature: &str) {
    if !signature.is_empty() {
        let value = [&[signature.len() as u8], signature.as_bytes(), &[0]].concat();
        field(fields, 8, "g", &value);
    }
}

fn answer(kind: u8, to: u32, error: Option<&str>, kinds: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    field(&mut fields, 5, "u", &to.to_le_bytes());
    if let Some(error) = error {
        field(&mut fields, 4, "s", &text(error));
    }
    signature(&mut fields, kinds);
    message(kind, &fields, body)
}

fn signal(member: &str, kinds: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    field(&mut fields, 3, "s", &text(member));
    signature(&mut fields, kinds);
    message(4, &fields, body)
}

/// Where a property begins in the body of a call, after its name.
fn after<'m>(message: &'m Message, name: &str) -> Option<&'m [u8]> {
    let needle = text(name);
    let at = message.body.windows(needle.len()).position(|part| part == needle)?;
    Some(&message.body[at + needle.len()..])
}

fn number(message: &Message, name: &str) -> Option<u64> {
    let needle = text(name);
    let at = message.body.windows(needle.len()).position(|part| part == needle)? + needle.len();
    assert_eq!(&message.body[at..at + 3], b"\x01t\0", "{name} is a number of 64 bits");
    let at = (at + 3).next_multiple_of(8);
    Some(u64::from_le_bytes(message.body[at..at + 8].try_into().unwrap()))
}

fn pids(message: &Message) -> u32 {
    let needle = text("PIDs");
    let at = message.body.windows(needle.len()).position(|part| part == needle).unwrap() + needle.len();
    assert_eq!(&message.body[at..at + 4], b"\x02au\0");
    let at = (at + 4).next_multiple_of(4) + 4;
    u32::from_le_bytes(message.body[at..at + 4].try_into().unwrap())
}

fn bundle(env: &Env, name: &str) -> Bundle {
    env.bundle().args(&["sleep", "1000"]).edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("{}.slice:sk:{name}", env.tag()));
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
    })
}

/// The folders of the slice, which systemd would remove itself.
fn remove_slice(env: &Env) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()) {
        let _ = fs::remove_dir(hierarchy.join(format!("{}.slice", env.tag())));
    }
    let _ = fs::remove_dir(Path::new("/sys/fs/cgroup").join(format!("{}.slice", env.tag())));
}

#[test]
fn a_container_is_a_scope_from_create_to_delete() {
    needs_root!();
    let env = Env::new();
    let systemd = Systemd::start(&env);
    let id = env.id("scope");
    let bundle = bundle(&env, "web").edit(|config| {
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "3"});
    });
    systemd.create(&env, &bundle, &id).run().success();
    let calls = systemd.take_calls();
    assert_eq!(calls.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["StartTransientUnit"]);
    let start = &calls[0].1;
    assert_eq!(start.texts()[..2], ["sk-web.scope", "replace"]);
    assert_eq!(start.signature, "ssa(sv)a(sa(sv))");
    assert!(after(start, "Delegate").is_some_and(|rest| rest.starts_with(b"\x01b\0")));
    let memory = if support::cgroup::is_v2() { "MemoryMax" } else { "MemoryLimit" };
    assert_eq!(number(start, memory), Some(64 << 20));
    assert_eq!(number(start, "TasksMax"), Some(20));
    assert_eq!(number(start, "TimeoutStopUSec"), Some(3_000_000));

    // Born in it, limited, and nobody else is in it: the process that held it has ended.
    let pid = env.pid(&id);
    assert_eq!((limit(pid, "memory"), limit(pid, "pids")), ((64 << 20).to_string(), "20".to_owned()));
    let scope = mount().join(format!("{}.slice/sk-web.scope", env.tag()));
    assert_eq!(fs::read_to_string(scope.join("cgroup.procs")).unwrap(), format!("{pid}\n"));
    assert_ne!(i32::try_from(pids(start)).unwrap(), pid);
    let supervisor = fs::read_to_string(format!("/proc/{}/cgroup", env.supervisor(&id))).unwrap();
    assert!(!supervisor.contains(env.tag()), "the supervisor stays with its creator: {supervisor}");

    // Whoever comes later needs no flag: the sandbox knows what it is.
    let bus = systemd.address.as_str();
    env.cmd(["update", "--pids-limit=7", "--cpu-quota=50000", &id]).env("DBUS_SYSTEM_BUS_ADDRESS", bus).run().success();
    assert_eq!((limit(pid, "pids").as_str(), limit(pid, "quota").as_str()), ("7", "50000"));
    let calls = systemd.take_calls();
    assert_eq!(calls.len(), 1);
    let (name, set) = &calls[0];
    assert_eq!((name.as_str(), set.texts()[0].as_str()), ("SetUnitProperties", "sk-web.scope"));
    assert_eq!((number(set, "TasksMax"), number(set, "CPUQuotaPerSecUSec")), (Some(7), Some(500_000)));
    assert_eq!(number(set, memory), None, "not given");

    systemd.refuse(Some("SetUnitProperties"));
    let refused = env.cmd(["update", "--pids-limit=9", &id]).env("DBUS_SYSTEM_BUS_ADDRESS", bus).run();
    refused.fails("systemd refuses: not today");
    assert_eq!(limit(pid, "pids"), "7", "taken back");
    systemd.refuse(None);

    env.run(["start", &id]).success();
    env.cmd(["exec", &id, "true"]).run().success();
    systemd.take_calls();
    env.cmd(["delete", "--force", &id]).env("DBUS_SYSTEM_BUS_ADDRESS", bus).run().success();
    let calls = systemd.take_calls();
    assert_eq!(calls.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["StopUnit"]);
    assert_eq!(calls[0].1.texts(), ["sk-web.scope", "replace"]);
    assert!(!scope.exists());
    remove_slice(&env);
}

#[test]
fn what_systemd_refuses_or_cannot_be_leaves_nothing() {
    needs_root!();
    let env = Env::new();
    let systemd = Systemd::start(&env);
    let id = env.id("refused");
    systemd.refuse(Some("StartTransientUnit"));
    let refused = systemd.create(&env, &bundle(&env, "no"), &id).run();
    refused.fails_with(1, &["start the scope sk-no.scope", "systemd refuses: not today"]);
    systemd.refuse(None);
    systemd.take_calls();
    for (path, needle) in [("/a/b", "slice:prefix:name"), ("x.slice:p:a/b", "letters"), ("x.slice:p:y.slice", "slice")]
    {
        let bundle = bundle(&env, "no").edit(|config| config["linux"]["cgroupsPath"] = json!(path));
        systemd.create(&env, &bundle, &id).run().fails(needle);
    }
    assert!(systemd.take_calls().is_empty(), "refused before systemd is asked");
    let failing = bundle(&env, "late").args(&["/no/such/program"]);
    systemd.create(&env, &failing, &id).run().code(1);
    let names: Vec<String> = systemd.take_calls().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["StartTransientUnit", "StopUnit"], "taken back");
    if !Path::new("/run/systemd/private").exists() && !Path::new("/run/dbus/system_bus_socket").exists() {
        let nobody = env.cmd(["--systemd-cgroup", "create", "--bundle"]).arg(&bundle(&env, "no").dir).arg(&id);
        let nobody = nobody.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus").run();
        nobody.fails_with(1, &["no systemd can be reached", "--cgroup-manager systemd"]);
    }
    remove_slice(&env);
}

/// The name may be somebody else's by the time the sandbox is deleted, and systemd may be gone.
#[test]
fn a_scope_that_is_somebody_elses_by_now_is_left_alone_and_one_without_systemd_is_deleted_all_the_same() {
    needs_root!();
    let env = Env::new();
    let systemd = Systemd::start(&env);
    let (first, second) = (env.id("first"), env.id("second"));
    let bundle = bundle(&env, "shared");
    let bus = systemd.address.as_str();
    systemd.create(&env, &bundle, &first).run().success();
    env.run(["kill", &first, "KILL"]).success();
    env.wait(&first);
    systemd.create(&env, &bundle, &second).run().success();
    systemd.take_calls();
    env.cmd(["delete", &first]).env("DBUS_SYSTEM_BUS_ADDRESS", bus).run();
    assert!(systemd.take_calls().is_empty(), "it is the second's");
    assert_eq!(env.status(&second), "created");
    env.cmd(["delete", "--force", &second]).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus").run().code(0);
    env.run(["state", &second]).fails("does not exist");
    let _ = env.cmd(["delete", "--force", &first]).env("DBUS_SYSTEM_BUS_ADDRESS", bus).run();
    remove_slice(&env);
}

/// Where systemd is really there, as in the machine of `SANDKEEP_VM_INIT=systemd tests/vm/run`.
#[test]
fn with_the_machines_own_systemd_limits_are_properties_and_nothing_is_left() {
    needs_root!();
    if !Path::new("/run/systemd/private").exists() {
        support::skipped!("no systemd runs here");
    }
    let env = Env::new();
    let id = env.id("real");
    let unit = format!("sandkeep-{id}.scope");
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        // The init of a PID namespace does not hear SIGTERM: systemd kills after this.
        config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "1"});
    });
    let property = |name: &str| {
        let shown = Cmd::new("systemctl").args(["show", "--value", "-p", name, &unit]).run().code(0);
        shown.stdout.trim().to_owned()
    };
    let memory = if support::cgroup::is_v2() { "MemoryMax" } else { "MemoryLimit" };
    env.cmd(["--systemd-cgroup", "create", "--bundle"]).arg(&bundle.dir).arg(&id).run().success();
    env.run(["start", &id]).success();
    let pid = env.pid(&id);
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(cgroup.contains(&format!("/system.slice/{unit}")), "{cgroup}");
    assert_eq!((property("ActiveState").as_str(), property("Delegate").as_str()), ("active", "yes"));
    assert_eq!((property(memory), limit(pid, "memory")), ((64 << 20).to_string(), (64 << 20).to_string()));
    env.run(["update", "--memory=32m", "--pids-limit=9", &id]).success();
    assert_eq!((property(memory), property("TasksMax")), ((32 << 20).to_string(), "9".to_owned()));
    Cmd::new("systemctl").arg("daemon-reload").run().code(0);
    assert_eq!((limit(pid, "memory"), limit(pid, "pids")), ((32 << 20).to_string(), "9".to_owned()));
    env.run(["exec", &id, "true"]).success();
    env.run(["pause", &id]).success();
    env.run(["resume", &id]).success();
    env.run(["delete", "--force", &id]).success();
    assert_eq!(property("ActiveState"), "inactive");

    // systemd's own way of ending it.
    env.cmd(["--systemd-cgroup", "create", "--bundle"]).arg(&bundle.dir).arg(&id).run().success();
    env.run(["start", &id]).success();
    Cmd::new("systemctl").args(["stop", &unit]).run().code(0);
    env.wait(&id);
    env.run(["delete", &id]).success();
}
