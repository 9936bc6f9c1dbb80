//! A Debian root, made once by debootstrap and kept below the target folder.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use fs2::FileExt;

/// The folder of a minimal Debian 12, or why there is none. Shared by all tests: whoever writes into it cleans up.
pub fn root() -> Result<PathBuf, String> {
    let cache = &crate::cache();
    fs::create_dir_all(cache).map_err(|error| error.to_string())?;
    let (root, unfinished) = (cache.join("debian-root"), cache.join("debian-root.unfinished"));
    // Test files may run beside each other: one makes it, the others wait for the lock.
    let lock = File::create(cache.join("debian-root.lock")).map_err(|error| error.to_string())?;
    lock.lock_exclusive().map_err(|error| error.to_string())?;
    if root.is_dir() {
        return Ok(root);
    }
    let _ = fs::remove_dir_all(&unfinished);
    let mut debootstrap = Command::new("debootstrap");
    let output = debootstrap.args(["--variant=minbase", "bookworm"]).arg(&unfinished).output();
    let output = output.map_err(|error| format!("debootstrap: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let tail: Vec<&str> = text.lines().rev().take(5).collect();
        return Err(format!("debootstrap: {}: {tail:?}", output.status));
    }
    fs::rename(&unfinished, &root).map_err(|error| error.to_string())?;
    Ok(root)
}
