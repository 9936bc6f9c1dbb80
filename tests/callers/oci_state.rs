//! One state document: whoever is told of a container, as a hook of any kind, as a seccomp agent or as the reader of
//! `state`, is told the same of it, but for what changes.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use serde_json::{Value, json};
use support::{Env, needs_root};

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// What the first who connects to the agent's socket sends. Its descriptor is not taken, and so nobody's.
fn document_of_agent(listener: UnixListener) -> Value {
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// What never changes of a state; what `state` adds to it is not the specification's.
fn lasting(mut state: Value) -> Value {
    let members = state.as_object_mut().unwrap();
    members.retain(|name, _| ["ociVersion", "id", "bundle", "annotations"].contains(&name.as_str()));
    state
}

fn read(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn hooks_of_every_kind_the_seccomp_agent_and_state_tell_the_same() {
    needs_root!();
    let env = Env::new();
    let id = env.id("told");
    let shared = env.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    let socket = env.dir().join("agent.sock");
    let agent = UnixListener::bind(&socket).unwrap();
    let told_to_agent = thread::spawn(move || document_of_agent(agent));
    let bundle = env.bundle().bind(&shared, "/shared", &["rbind", "rw"]).args(&["sleep", "1000"]).edit(|config| {
        // Neither ours nor that of any hook's library.
        config["ociVersion"] = json!("1.0.2");
        config["annotations"] = json!({"a.b": "c", "d": ""});
        for kind in KINDS {
            let to = if kind == "startContainer" { "/shared" } else { shared.to_str().unwrap() };
            let script = format!("cat > {to}/{kind}");
            config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        }
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        });
    });
    env.started(&bundle, &id);
    let state: Value = serde_json::from_str(&env.run(["state", &id]).success().stdout).unwrap();
    let listed: Value = serde_json::from_str(&env.run(["list", "--format", "json"]).success().stdout).unwrap();
    env.run(["delete", "--force", &id]).success();
    let expected = json!({
        // The version that the document complies with, not that of the bundle (runtime-spec, "State").
        "ociVersion": "1.3.0", "id": id, "bundle": fs::canonicalize(&bundle.dir).unwrap(),
        "annotations": {"a.b": "c", "d": ""},
    });
    let of_agent = told_to_agent.join().unwrap();
    assert_eq!(of_agent["ociVersion"], expected["ociVersion"]);
    for (who, told) in [("state", state), ("list", listed[0].clone()), ("agent", of_agent["state"].clone())]
        .into_iter()
        .chain(KINDS.map(|kind| (kind, read(&shared.join(kind)))))
    {
        assert!(told["status"].is_string() && told["pid"].is_i64(), "{who}: {told}");
        assert_eq!(lasting(told), expected, "{who}");
    }
}
