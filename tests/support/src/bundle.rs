//! Bundles: a busybox rootfs with its applets, and a config.json that starts as `sandkeep spec` writes it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::command::{Cmd, binary};

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// A bundle on disk. Every edit is written at once.
pub struct Bundle {
    pub dir: PathBuf,
}

impl Bundle {
    /// A bundle whose rootfs holds busybox and nothing else; it runs `/bin/true`, without a terminal.
    pub fn busybox(dir: &Path) -> Bundle {
        let bundle = Bundle::empty(dir);
        busybox_rootfs(&bundle.rootfs());
        bundle.args(&["/bin/true"])
    }

    /// A bundle over a rootfs that lies elsewhere and is only borrowed.
    pub fn over(dir: &Path, rootfs: &Path) -> Bundle {
        let rootfs = rootfs.to_str().expect("a path in UTF-8");
        Bundle::empty(dir).edit(|config| config["root"]["path"] = json!(rootfs))
    }

    fn empty(dir: &Path) -> Bundle {
        fs::create_dir_all(dir.join("rootfs")).expect("a bundle");
        let bundle = Bundle { dir: dir.to_owned() };
        let mut config = written_config().clone();
        // Tests try what it refuses; it has tests of its own.
        config["linux"].as_object_mut().expect("linux").remove("seccomp");
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
        config["process"]["env"] = json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        bundle.write(&config);
        bundle
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    pub fn config_path(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    pub fn config(&self) -> Value {
        let text = fs::read_to_string(self.config_path()).expect("config.json");
        serde_json::from_str(&text).expect("config.json is JSON")
    }

    pub fn write(&self, config: &Value) {
        fs::write(self.config_path(), serde_json::to_vec_pretty(config).expect("JSON")).expect("config.json");
    }

    pub fn edit(self, change: impl FnOnce(&mut Value)) -> Bundle {
        let mut config = self.config();
        change(&mut config);
        self.write(&config);
        self
    }

    pub fn args(self, args: &[&str]) -> Bundle {
        self.edit(|config| config["process"]["args"] = json!(args))
    }

    /// `/bin/sh -c script`
    pub fn script(self, script: &str) -> Bundle {
        self.args(&["/bin/sh", "-c", script])
    }

    pub fn terminal(self) -> Bundle {
        self.edit(|config| config["process"]["terminal"] = json!(true))
    }

    /// One more bind mount, after those that are there.
    pub fn bind(self, source: &Path, destination: &str, options: &[&str]) -> Bundle {
        let mount = json!({"destination": destination, "type": "bind", "source": source, "options": options});
        self.mount(mount)
    }

    pub fn mount(self, mount: Value) -> Bundle {
        self.edit(|config| config["mounts"].as_array_mut().expect("mounts").push(mount))
    }

    /// The namespace of this kind is joined by path; None leaves it out of the spec, so that the caller's is used.
    pub fn namespace(self, kind: &str, path: Option<&str>) -> Bundle {
        self.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|namespace| namespace["type"] != kind);
            if let Some(path) = path {
                namespaces.push(json!({"type": kind, "path": path}));
            }
        })
    }

    /// These capabilities too, in every set that matters for root.
    pub fn capabilities(self, more: &[&str]) -> Bundle {
        self.edit(|config| {
            for set in ["bounding", "effective", "permitted"] {
                let have = config["process"]["capabilities"][set].as_array_mut().expect("a capability set");
                have.extend(more.iter().map(|capability| json!(capability)));
            }
        })
    }

    /// Under the seccomp profile that `sandkeep spec` writes.
    pub fn default_profile(self) -> Bundle {
        self.edit(|config| config["linux"]["seccomp"] = written_config()["linux"]["seccomp"].clone())
    }

    /// A file of the rootfs, executable.
    pub fn program(self, path: &str, text: &str) -> Bundle {
        let file = self.rootfs().join(path.trim_start_matches('/'));
        fs::write(&file, text).expect("a program of the rootfs");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        self
    }
}

/// Makes a root that holds busybox, its applets, two users and nothing else.
pub fn busybox_rootfs(rootfs: &Path) {
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(folder)).expect("a folder of the rootfs");
    }
    let busybox = BUSYBOX.iter().find(|path| Path::new(path).exists()).expect("install busybox-static");
    fs::copy(busybox, rootfs.join("bin/busybox")).expect("copy busybox");
    for applet in applets(busybox).iter().filter(|applet| *applet != "busybox") {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("a symlink for an applet");
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("etc/group");
}

/// What `sandkeep spec` writes, made once.
fn written_config() -> &'static Value {
    static CONFIG: OnceLock<Value> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder for the default spec");
        Cmd::new(binary()).args(["spec", "--bundle"]).arg(dir.path()).run().success();
        let text = fs::read_to_string(dir.path().join("config.json")).expect("spec writes config.json");
        serde_json::from_str(&text).expect("spec writes JSON")
    })
}

fn applets(busybox: &str) -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox).arg("--list").output().expect("busybox --list");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    })
}
