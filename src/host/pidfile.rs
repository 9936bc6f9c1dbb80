//! The pid file: complete or absent, never half-written.

use std::io::Write;
use std::path::Path;

use super::{HostError, Trying};

/// Written last, when everything the caller may rely on is true. The temporary name is ours alone.
pub fn write(path: &Path, pid: i32) -> Result<(), HostError> {
    let what = || format!("write the pid file {path:?}");
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput)).trying(what)?;
    let temporary = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let result = std::fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result.trying(what)
}
