//! The program itself: found the way a shell would, checked before the start, then executed.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
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
    /// The application's environment.
    pub fn env(&self) -> &[CString] {
        &self.env
    }

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

/// A filter may be on us already: what it does not let us look at is left to execve(2), as long as one of the two looks has
/// seen the program. By stat(2), which profiles have that are older than statx(2).
fn executable(path: &Path) -> io::Result<()> {
    use nix::sys::stat::{SFlag, stat};
    let seen = match stat(path) {
        Err(errno) if is_a_filters(errno) => false,
        Err(errno) => return Err(errno.into()),
        Ok(found) if found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits() || found.st_mode & 0o111 == 0 => {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(_) => true,
    };
    match nix::unistd::access(path, nix::unistd::AccessFlags::X_OK) {
        Err(errno) if is_a_filters(errno) && seen => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

/// Neither call says so of a file.
fn is_a_filters(errno: nix::Error) -> bool {
    matches!(errno, nix::Error::EPERM | nix::Error::ENOSYS)
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
