//! The image that the engines run: busybox from scratch, made on the spot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::bundle::busybox_rootfs;

/// What every engine calls it.
pub const NAME: &str = "localhost/busy:latest";

/// A folder to build from with `podman build`: the root, and a step that is run in it.
pub fn context(dir: &Path) -> PathBuf {
    let context = dir.join("context");
    busybox_rootfs(&context.join("rootfs"));
    let steps = "FROM scratch\nCOPY rootfs/ /\nRUN echo built by $(id -u) > /etc/built && chmod 1777 /tmp\n\
                 ENV PATH=/bin FROM_IMAGE=yes\nCMD [\"echo\", \"the image's own command\"]\n";
    fs::write(context.join("Containerfile"), steps).expect("a Containerfile");
    context
}

/// An archive as `docker save` writes it; docker and containerd load it.
pub fn archive(dir: &Path) -> PathBuf {
    let (rootfs, parts) = (dir.join("rootfs"), dir.join("image"));
    busybox_rootfs(&rootfs);
    fs::create_dir(&parts).expect("a folder for the image");
    tar(&rootfs, &["."], &parts.join("layer.tar"));
    let layer = fs::read(parts.join("layer.tar")).expect("the layer");
    let digest: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["echo", "the image's own command"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox from scratch"}],
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        fs::write(parts.join(name), document.to_string()).expect("a part of the image");
    }
    let archive = dir.join("image.tar");
    tar(&parts, &["manifest.json", "config.json", "layer.tar"], &archive);
    archive
}

fn tar(dir: &Path, names: &[&str], archive: &Path) {
    let owner = ["--owner=0", "--group=0", "--numeric-owner"];
    let status = Command::new("tar").arg("-C").arg(dir).arg("-cf").arg(archive).args(owner).args(names).status();
    assert!(status.expect("run tar").success(), "tar of {dir:?}");
}
