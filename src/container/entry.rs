//! The program itself: found the way a shell would, checked before the start, then executed.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{SetupError, home};
use crate::spec::plan::ProcessPlan;

/// What execve will be given.
pub struct Entry {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    program: OsString,
}

/// Looks the program up as the user and in the folder it will run in. Errors are those that callers parse.
pub fn find(plan: &ProcessPlan) -> Result<Entry, SetupError> {
    let Some(program) = plan.args.first().cloned() else {
        return Err(SetupError::Refused("there is no program to run".into()));
    };
    let env = with_home(plan);
    let path = locate(&program, &env)?;
    let c_string = |text: &OsStr| {
        CString::new(text.as_bytes()).map_err(|_| SetupError::Refused(format!("{text:?} holds a NUL byte")))
    };
    Ok(Entry {
        path: c_string(path.as_os_str())?,
        args: plan.args.iter().map(|arg| c_string(arg)).collect::<Result<_, _>>()?,
        env: env.iter().map(|variable| c_string(variable)).collect::<Result<_, _>>()?,
        program,
    })
}

impl Entry {
    /// Returns only on failure.
    pub fn execute(&self) -> SetupError {
        let Err(errno) = nix::unistd::execve(&self.path, &self.args, &self.env);
        SetupError::Exec { program: self.program.clone(), source: errno.into() }
    }
}

fn locate(program: &OsStr, env: &[OsString]) -> Result<PathBuf, SetupError> {
    let failed = |source| SetupError::Exec { program: program.to_owned(), source };
    if program.as_bytes().contains(&b'/') {
        executable(Path::new(program)).map_err(failed)?;
        return Ok(PathBuf::from(program));
    }
    let path = env.iter().rev().find_map(|variable| variable.as_bytes().strip_prefix(b"PATH=")).unwrap_or(b"");
    let mut denied = None;
    for folder in path.split(|byte| *byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let candidate = Path::new(OsStr::from_bytes(folder)).join(program);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    match denied {
        Some(error) => Err(failed(error)),
        None => Err(SetupError::NotInPath { program: program.to_owned() }),
    }
}

fn executable(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).map_err(io::Error::from)
}

/// The environment as given, and HOME from the container's own /etc/passwd where it is missing.
fn with_home(plan: &ProcessPlan) -> Vec<OsString> {
    let mut env = plan.env.clone();
    let value = |variable: &OsString| variable.as_bytes().strip_prefix(b"HOME=").map(|home| !home.is_empty());
    if !env.iter().any(|variable| value(variable) == Some(true)) {
        env.retain(|variable| value(variable).is_none());
        let mut variable = OsString::from("HOME=");
        variable.push(home::of(plan.uid));
        env.push(variable);
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_apart_from_one_that_may_not_run() {
        let env = vec![OsString::from("PATH=/usr/bin:/bin")];
        let locate = |program: &str, env| locate(program.as_ref(), env);
        assert_eq!(locate("no-such-program", &env).unwrap_err().exit_code(), 127);
        assert_eq!(locate("/no/such", &env).unwrap_err().exit_code(), 127);
        assert_eq!(locate("/etc/passwd", &env).unwrap_err().exit_code(), 126);
        assert_eq!(locate("/", &env).unwrap_err().exit_code(), 126);
        assert!(locate("sh", &env).is_ok());
    }
}
