//! What a configuration does not say, or says of other systems.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::{Value, json};
use support::{Env, needs_root, until};

fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

#[test]
fn a_umask_that_nobody_gave_is_022_whatever_the_callers_is() {
    needs_root!();
    let env = Env::new();
    for mask in ["000", "077"] {
        let behind = ["-c", &format!("umask {mask}; exec \"$0\" \"$@\"")];
        let bundle = env.bundle().script("umask");
        env.run_bundle(&bundle, &env.id("run")).behind("sh", &behind).run().success().prints("0022\n");

        let id = env.id("created");
        let bundle = bundle.script("umask > /tmp/said; sleep 100");
        env.create(&bundle, &id).behind("sh", &behind).run().success();
        env.cmd(["start", &id]).behind("sh", &behind).run().success();
        env.cmd(["exec", &id, "sh", "-c", "umask"]).behind("sh", &behind).run().success().prints("0022\n");
        let file = env.dir().join("process.json");
        fs::write(&file, json!({"args": ["/bin/sh", "-c", "umask"], "cwd": "/"}).to_string()).unwrap();
        let exec = env.cmd(["exec", "--process"]).arg(&file).arg(&id).behind("sh", &behind);
        exec.run().success().prints("0022\n");
        let said = bundle.rootfs().join("tmp/said");
        until(std::time::Duration::from_secs(30), "umask of the container", || {
            fs::read_to_string(&said).is_ok_and(|text| text == "0022\n")
        });
        fs::remove_file(&said).unwrap();
        env.run(["delete", "--force", &id]).success();
    }
}

#[test]
fn a_command_of_do_has_the_umask_of_whoever_typed_it() {
    needs_root!();
    let env = Env::new();
    let typed = env.cmd(["do", "--", "sh", "-c", "umask"]).current_dir(std::path::Path::new("/"));
    typed.behind("sh", &["-c", "umask 0027; exec \"$0\" \"$@\""]).run().success().prints("0027\n");
}

#[test]
fn a_tmpfs_without_a_mode_has_that_of_the_folder_of_the_image() {
    needs_root!();
    let env = Env::new();
    let script = "stat -c '%n %a %u' /plain /sticky /copied /missing /given /both /owned /linked /plain/below";
    let bundle = env.bundle().script(script);
    let folder = |name: &str, mode: u32| {
        let path = bundle.rootfs().join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(12), Some(34)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [
        ("plain", 0o751),
        ("sticky", 0o3770),
        ("copied", 0o750),
        ("given", 0o755),
        ("both", 0o755),
        ("owned", 0o705),
        ("behind", 0o710),
    ] {
        folder(name, mode);
    }
    fs::write(bundle.rootfs().join("copied/file"), "").unwrap();
    std::os::unix::fs::symlink("behind", bundle.rootfs().join("linked")).unwrap();
    let bundle = [
        tmpfs("/plain", &[]),
        tmpfs("/sticky", &["nosuid"]),
        tmpfs("/copied", &["tmpcopyup"]),
        tmpfs("/missing", &[]),
        tmpfs("/given", &["mode=700"]),
        tmpfs("/both", &["mode=711", "tmpcopyup"]),
        tmpfs("/owned", &["uid=5"]),
        tmpfs("/linked", &[]),
        // In a folder of the tmpfs above, which holds no such folder.
        tmpfs("/plain/below", &[]),
    ]
    .into_iter()
    .fold(bundle, |bundle, mount| bundle.mount(mount));
    let expected = "/plain 751 0\n/sticky 3770 0\n/copied 750 0\n/missing 1777 0\n/given 700 0\n/both 711 0\n\
                    /owned 705 5\n/linked 777 0\n/plain/below 1777 0\n";
    env.run_bundle(&bundle, &env.id("modes")).run().success().prints(expected);
    let script = "stat -c %a /behind";
    env.run_bundle(&bundle.script(script), &env.id("behind")).run().success().prints("710\n");
}

#[test]
fn the_halves_of_other_systems_are_ignored_whatever_is_in_them() {
    needs_root!();
    let env = Env::new();
    let bundle = env.bundle().script("echo ran").edit(|config| {
        config["vm"] = json!({});
        config["windows"] = json!({"layerFolders": 7});
        config["solaris"] = json!([[], {}]);
        config["zos"] = json!(null);
        config["freebsd"] = json!({"jail": {"host": 3}});
        config["linux"]["future"] = json!([{"a": []}]);
    });
    env.run_bundle(&bundle, &env.id("halves")).run().success().prints("ran\n");
}
