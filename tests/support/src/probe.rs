//! The probe (`tests/probe`), built once: a static program that runs in any root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use fs2::FileExt;

pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build().unwrap_or_else(|why| panic!("build the probe: {why}")))
}

/// Where nothing can be compiled, whoever staged the tests has put it there.
fn build() -> Result<PathBuf, String> {
    let sources = crate::project().join("tests/probe");
    let cache = &crate::cache();
    fs::create_dir_all(cache).map_err(|error| error.to_string())?;
    let built = cache.join("probe");
    // Test files may run beside each other: one builds it, the others wait.
    let lock = File::create(cache.join("probe.lock")).map_err(|error| error.to_string())?;
    lock.lock_exclusive().map_err(|error| error.to_string())?;
    let compiler = compiler();
    let has_compiler = Command::new(&compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    if built.exists() && (!has_compiler || changed(&built) > newest(&sources)) {
        return Ok(built);
    }
    let unfinished = cache.join("probe.unfinished");
    let output = Command::new(sources.join("build")).arg(&unfinished).env("RUSTC", &compiler).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(&unfinished, &built).map_err(|error| error.to_string())?;
    Ok(built)
}

/// The one beside the cargo that runs us.
fn compiler() -> PathBuf {
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "rustc".into())
}

fn newest(folder: &Path) -> SystemTime {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|entry| changed(&entry.path())).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
