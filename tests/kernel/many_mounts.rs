//! More mounts than the usual 1,024 descriptors, and limits of descriptors that are low.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use support::{Bundle, Cmd, Env, needs_root};

/// As the shell has it: soft, then hard.
const LIMITS: &str = "ulimit -Sn; ulimit -Hn";

fn bound(env: &Env, count: usize, options: &[&str]) -> Bundle {
    let source = env.dir().join("source");
    fs::write(&source, "").unwrap();
    let bundle = without_limits(env.bundle());
    let bind = |number: usize| json!({"destination": format!("/many/m{number}"), "type": "bind", "source": source, "options": options});
    more(bundle, (0..count).map(bind))
}

fn more(bundle: Bundle, mounts: impl Iterator<Item = Value>) -> Bundle {
    bundle.edit(|config| config["mounts"].as_array_mut().unwrap().extend(mounts))
}

fn without_limits(bundle: Bundle) -> Bundle {
    bundle.edit(|config| drop(config["process"].as_object_mut().unwrap().remove("rlimits")))
}

/// With these limits, and enough time for a loaded machine.
fn limited(cmd: Cmd, soft: u64, hard: u64) -> Cmd {
    let script = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" \"$@\"");
    cmd.behind("bash", &["-c", &script]).deadline(Duration::from_secs(120))
}

/// 4096 where the machine lets us have so many.
fn hard() -> Option<u64> {
    (getrlimit(Resource::RLIMIT_NOFILE).unwrap().1 >= 4096).then_some(4096)
}

#[test]
fn more_bind_mounts_than_the_soft_limit_are_made_and_nobody_notices() {
    needs_root!();
    support::needs_tool!("bash");
    let Some(hard) = hard() else { support::skipped!("the hard limit of descriptors is below 4096") };
    let env = Env::new();
    let seen = env.dir().join("hooks");
    let script = format!("({LIMITS}) | xargs >> {}", seen.display());
    let hook = |path: &str, script: &str| json!([{"path": path, "args": ["sh", "-c", script]}]);
    let bundle = bound(&env, 1500, &["bind", "ro"]).edit(|config| {
        config["hooks"] = json!({
            "createRuntime": hook("/bin/bash", &script),
            "createContainer": hook("/bin/bash", &script),
            "startContainer": hook("/bin/sh", &format!("({LIMITS}) | xargs > /tmp/started")),
            "poststart": hook("/bin/bash", &script),
            "poststop": hook("/bin/bash", &script),
        });
    });
    let bundle = bundle.script(&format!("{LIMITS}; grep -c ' /many/m' /proc/self/mounts; ls /proc/self/fd | wc -l"));
    let id = env.id("many");
    // The shell's own listing is one more.
    limited(env.run_bundle(&bundle, &id), 1024, hard).run().success().prints("1024\n4096\n1500\n4\n");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "1024 4096\n".repeat(4));
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/started")).unwrap(), "1024 4096\n");

    let bundle = bundle.script(LIMITS).edit(|config| {
        config.as_object_mut().unwrap().remove("hooks");
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    });
    limited(env.run_bundle(&bundle, &id), 512, hard).run().success().prints("100\n200\n");
}

#[test]
fn read_only_file_systems_that_wait_for_their_mount_points_are_as_many() {
    needs_root!();
    support::needs_tool!("bash");
    let Some(hard) = hard() else { support::skipped!("the hard limit of descriptors is below 4096") };
    let env = Env::new();
    let tmpfs = |number: usize| json!({"destination": format!("/many/m{number}"), "type": "tmpfs", "source": "tmpfs", "options": ["ro", "size=4k"]});
    let bundle = more(without_limits(env.bundle()), (0..400).map(tmpfs));
    let bundle = bundle.script(&format!("{LIMITS}; grep -c ' /many/m.* ro,' /proc/self/mounts"));
    limited(env.run_bundle(&bundle, &env.id("tmpfs")), 256, hard).run().success().prints("256\n4096\n400\n");
}

#[test]
fn a_hard_limit_that_is_too_low_is_told_with_what_it_takes() {
    needs_root!();
    support::needs_tool!("bash");
    let env = Env::new();
    let bundle = bound(&env, 300, &["bind"]);
    let id = env.id("hard");
    limited(env.run_bundle(&bundle, &id), 256, 256)
        .run()
        .fails_with(1, &["its mounts take up to", "may have 256", "LimitNOFILE"]);
    let bundle = bundle.edit(|config| config["mounts"].as_array_mut().unwrap().truncate(7));
    let refused = limited(env.run_bundle(&bundle, &id), 16, 16).run();
    refused.fails_with(1, &["too many open files (16 may be open", "ulimit -n"]);
    let bundle = bundle.script(LIMITS);
    limited(env.run_bundle(&bundle, &id), 40, 256).run().success().prints("40\n256\n");
    limited(env.run_bundle(&bundle, &id), 80, 80).run().success().prints("80\n80\n");
    env.run(["recover"]).success();
}

/// What a shell that opens nothing says of itself.
#[test]
fn a_soft_limit_next_to_nothing_is_no_hindrance_and_everybody_has_it_back() {
    needs_root!();
    support::needs_tool!("bash");
    let Some(hard) = hard() else { support::skipped!("the hard limit of descriptors is below 4096") };
    let env = Env::new();
    let seen = env.dir().join("hooks");
    let hook =
        |to: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("(ulimit -Sn; ulimit -Hn) >> {to}")]}]);
    let mut bundle = without_limits(env.bundle()).edit(|config| {
        let host = hook(seen.to_str().expect("UTF-8"));
        config["hooks"] = json!({
            "prestart": host, "createRuntime": host, "createContainer": host,
            "startContainer": hook("/tmp/started"), "poststart": host, "poststop": host,
        });
    });
    let id = env.id("low");
    for soft in [12, 16, 24, 32, 255] {
        let said = format!("{soft}\n{hard}\n");
        bundle = bundle.script(LIMITS);
        limited(env.run_bundle(&bundle, &id), soft, hard).run().success().prints(&said);
        assert_eq!(fs::read_to_string(&seen).unwrap(), said.repeat(5));
        assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/started")).unwrap(), said);
        bundle = bundle.args(&["sleep", "1000"]);
        limited(env.create(&bundle, &id), soft, hard).run().success();
        limited(env.cmd(["start", &id]), soft, hard).run().success();
        limited(env.cmd(["exec", &id, "sh", "-c", LIMITS]), soft, hard).run().success().prints(&said);
        limited(env.cmd(["recover"]), soft, hard).run().success();
        limited(env.cmd(["delete", "--force", &id]), soft, hard).run().success();
        fs::remove_file(&seen).unwrap();
        fs::remove_file(bundle.rootfs().join("tmp/started")).unwrap();
    }
    // What the configuration says of the limit goes before both.
    let bundle = bundle.script(LIMITS).edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    });
    limited(env.run_bundle(&bundle, &id), 16, hard).run().success().prints("100\n200\n");
    assert_eq!(fs::read_to_string(bundle.rootfs().join("tmp/started")).unwrap(), "100\n200\n");
}

#[test]
fn where_the_hard_limit_is_next_to_nothing_nothing_is_begun() {
    needs_root!();
    support::needs_tool!("bash");
    let env = Env::new();
    let bundle = env.bundle();
    let id = env.id("least");
    for hard in [12, 32, 40] {
        for command in ["run", "create"] {
            let cmd = env.cmd([command, "--bundle"]).arg(&bundle.dir).arg(&id);
            let refused = limited(cmd, hard, hard).run();
            refused.fails_with(
                1,
                &[&format!("too many open files ({hard} may be open, and a container takes"), "ulimit -n"],
            );
            env.run(["list", "--quiet"]).success().prints("");
        }
    }
}
