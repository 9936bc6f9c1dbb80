//! User namespaces: one that the container gets, and one that the runtime itself is called in, as rootless engines do.

mod common;

use common::{Cmd, Env, needs_root, needs_tool};
use serde_json::json;

#[test]
fn a_container_with_a_user_namespace_has_its_own_ids() {
    needs_root!();
    let env = Env::new();
    let id = env.id("mapped");
    let bundle =
        env.bundle().script("cat /proc/self/uid_map; id -u; touch /tmp/file; ls -ln /tmp/file; exec sleep 1000");
    let bundle = bundle.edit(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        let mapping = json!([{ "containerID": 0, "hostID": 100000, "size": 65536 }]);
        // Engines always set it; inside the namespace it could not be written any more.
        config["process"]["oomScoreAdj"] = json!(500);
        config["linux"]["uidMappings"] = mapping.clone();
        config["linux"]["gidMappings"] = mapping;
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmp" }));
    });
    env.started(&bundle, &id);
    let outside = std::fs::read_to_string(format!("/proc/{}/status", env.pid(&id))).unwrap();
    assert!(outside.contains("Uid:\t100000\t100000"), "{outside}");
    env.run(["exec", &id, "id", "-u"]).success().prints("0\n");
    env.run(["exec", "--user", "5:6", &id, "id", "-g"]).success().prints("6\n");
    env.run(["exec", &id, "cat", "/proc/self/oom_score_adj"]).success().prints("500\n");
    // A terminal of the container's own devpts, owned by its own root.
    let terminal = [
        "-q",
        "-e",
        "-c",
        &format!("{} --root {} exec -t {id} stat -c %u /dev/pts/0", env.binary().display(), env.root().display()),
        "/dev/null",
    ];
    Cmd::new("script").args(terminal).run().code(0).says("0");
    env.run(["delete", "--force", &id]).success();
    env.assert_clean();
}

#[test]
fn inside_a_user_namespace_of_somebody_else_the_whole_life_of_a_sandbox_works() {
    needs_root!();
    needs_tool!("unshare");
    let env = Env::new();
    let id = env.id("inner");
    // Of all groups only root's exists in there.
    let bundle = env.bundle().args(&["sleep", "1000"]).edit(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    let sandkeep = format!("{} --root {}", env.binary().display(), env.root().display());
    let script = format!(
        "set -e; {sandkeep} create --bundle {bundle} {id} </dev/null >/dev/null; {sandkeep} start {id}; \
         {sandkeep} exec {id} echo inside; {sandkeep} exec --detach {id} sleep 500; \
         {sandkeep} kill {id} KILL; {sandkeep} wait {id}; {sandkeep} delete {id}; {sandkeep} doctor",
        bundle = bundle.dir.display()
    );
    let unshare = Cmd::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    unshare.run().success().prints("inside\n137\neverything is in order\n");
    env.assert_clean();
}

#[test]
fn an_ordinary_user_is_told_what_to_do() {
    needs_root!();
    needs_tool!("setpriv");
    let env = Env::new();
    let bundle = env.bundle();
    let cmd = Cmd::new("setpriv").args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let cmd = cmd.arg(env.binary()).args(["--root", "/tmp/nobody-here", "run", "--bundle"]).arg(&bundle.dir).arg("x");
    cmd.run().fails("user namespace");
    assert!(!std::path::Path::new("/tmp/nobody-here").exists());
}
