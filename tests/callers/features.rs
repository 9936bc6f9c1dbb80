//! The features document says what is true: each word in it is taken by a configuration that is run.

use serde_json::{Value, json};
use support::{Bundle, Cmd, Env, needs_root};

fn features(env: &Env) -> Value {
    env.run(["features"]).success().json()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array()
        .unwrap_or_else(|| panic!("{list} is no list"))
        .iter()
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

fn runs(env: &Env, bundle: &Bundle, name: &str) {
    env.run_bundle(bundle, &env.id(name)).run().success();
}

#[test]
fn it_has_the_specifications_shape_and_our_version_of_it() {
    let env = Env::new();
    let document = features(&env);
    let typed: oci_spec::runtime::Features = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(typed.oci_version_min(), "1.0.0");
    let version = Cmd::new(env.binary()).arg("--version").run().success().stdout;
    assert!(version.contains(&format!("spec: {}\n", typed.oci_version_max())), "{version}");
    let linux = &document["linux"];
    assert_eq!(linux["namespaces"], json!(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]));
    let cgroup = linux["cgroup"].as_object().unwrap();
    assert_eq!(cgroup.keys().collect::<Vec<_>>(), ["rdma", "systemd", "systemdUser", "v1", "v2"]);
    assert!(cgroup.values().all(Value::is_boolean));
    for module in ["apparmor", "selinux", "intelRdt", "netDevices"] {
        assert_eq!(linux[module]["enabled"], true, "{module}");
    }
    assert_eq!(linux["mountExtensions"]["idmap"]["enabled"], true);
    assert!(words(&linux["capabilities"]).contains(&"CAP_SYS_ADMIN".to_owned()));
    for list in ["/mountOptions", "/linux/seccomp/actions", "/linux/seccomp/archs", "/linux/seccomp/operators"] {
        let words = words(document.pointer(list).unwrap());
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{list} is sorted: {words:?}");
    }
}

#[test]
fn a_profile_with_every_seccomp_word_is_taken() {
    needs_root!();
    let env = Env::new();
    let seccomp = features(&env)["linux"]["seccomp"].clone();
    assert_eq!(seccomp["enabled"], true);
    let supported = words(&seccomp["supportedFlags"]);
    assert!(supported.iter().all(|flag| words(&seccomp["knownFlags"]).contains(flag)), "{seccomp}");
    assert!(supported.contains(&"SECCOMP_FILTER_FLAG_LOG".to_owned()), "{seccomp}");
    let archs = words(&seccomp["archs"]);
    assert!(archs.contains(&format!("SCMP_ARCH_{}", std::env::consts::ARCH.to_uppercase())), "{archs:?}");
    // Each of these calls is made by nobody here; one that is notified of needs a listener, which is another test's.
    let calls = ["swapon", "swapoff", "reboot", "acct", "settimeofday", "syslog", "vhangup", "sethostname"];
    let actions = words(&seccomp["actions"]).into_iter().filter(|action| action != "SCMP_ACT_NOTIFY");
    let mut rules: Vec<Value> =
        actions.zip(calls).map(|(action, call)| json!({"names": [call], "action": action})).collect();
    assert_eq!(rules.len(), 8);
    for operator in words(&seccomp["operators"]) {
        let arg = json!({"index": 0, "value": 1, "valueTwo": 1, "op": operator});
        rules.push(json!({"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO", "args": [arg]}));
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "flags": supported, "syscalls": rules,
    });
    let bundle = env.bundle().edit(|config| config["linux"]["seccomp"] = profile);
    runs(&env, &bundle, "seccomp");
}

#[test]
fn every_mount_option_is_one_and_not_data_for_the_file_system() {
    needs_root!();
    let env = Env::new();
    let options = words(&features(&env)["mountOptions"]);
    assert!(options.len() > 50, "{options:?}");
    let dir = env.dir().join("source");
    std::fs::create_dir(&dir).unwrap();
    // What is not about a bind mount is refused for tmpfs if the kernel does not know it.
    let of_filesystem =
        ["acl", "noacl", "mand", "nomand", "iversion", "async", "sync", "dirsync", "lazytime", "nolazytime"];
    let elsewhere = ["bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "src-nofollow", "dest-nofollow"];
    for (at, chunk) in options.chunks(12).enumerate() {
        let mut bundle = env.bundle();
        for (mount, option) in chunk.iter().filter(|option| !elsewhere.contains(&option.as_str())).enumerate() {
            let destination = format!("/mnt{mount}");
            if !of_filesystem.contains(&option.as_str()) {
                bundle = bundle.bind(&dir, &destination, &["rbind", option]);
            }
        }
        runs(&env, &bundle, &format!("options{at}"));
    }
}

#[test]
fn every_memory_policy_and_every_hook_is_taken() {
    needs_root!();
    let env = Env::new();
    let document = features(&env);
    let policy = &document["linux"]["memoryPolicy"];
    for mode in words(&policy["modes"]) {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str()) { "" } else { "0" };
        let given = json!({"mode": mode, "nodes": nodes});
        let bundle = env.bundle().edit(|config| config["linux"]["memoryPolicy"] = given);
        let outcome = env.run_bundle(&bundle, &env.id(&mode.to_lowercase())).run();
        if mode == "MPOL_WEIGHTED_INTERLEAVE" && !outcome.status.success() {
            eprintln!("skipped: this kernel has no {mode} (Linux 6.9)");
            outcome.fails("linux.memoryPolicy");
        } else {
            outcome.success();
        }
    }
    for flag in words(&policy["flags"]) {
        let given = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]});
        let bundle = env.bundle().edit(|config| config["linux"]["memoryPolicy"] = given);
        runs(&env, &bundle, &flag.to_lowercase());
    }
    let hooks: serde_json::Map<String, Value> =
        words(&document["hooks"]).into_iter().map(|kind| (kind, json!([{"path": "/bin/true"}]))).collect();
    assert_eq!(hooks.len(), 6);
    let bundle = env.bundle().edit(|config| config["hooks"] = hooks.into());
    runs(&env, &bundle, "hooks");
}
