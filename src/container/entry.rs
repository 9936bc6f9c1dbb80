//! The program itself: found the way a shell would, checked before the start, then executed.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use super::SetupError;
use crate::spec::plan::ProcessPlan;

/// What execve will be given.
pub struct Entry {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    program: String,
}

/// Looks the program up as the user and in the folder it will run in. Errors are those that callers parse.
pub fn find(plan: &ProcessPlan) -> Result<Entry, SetupError> {
    let program = plan.args[0].clone();
    let env = with_home(plan);
    let path = locate(&program, &env)?;
    let c_string =
        |text: &str| CString::new(text).map_err(|_| SetupError::Refused(format!("{text:?} holds a NUL byte")));
    Ok(Entry {
        path: c_string(&path.to_string_lossy())?,
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

fn locate(program: &str, env: &[String]) -> Result<PathBuf, SetupError> {
    let failed = |source| SetupError::Exec { program: program.to_owned(), source };
    if program.contains('/') {
        executable(Path::new(program)).map_err(failed)?;
        return Ok(PathBuf::from(program));
    }
    let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or("");
    let mut denied = None;
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = Path::new(folder).join(program);
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
fn with_home(plan: &ProcessPlan) -> Vec<String> {
    let mut env = plan.env.clone();
    let given = env.iter().any(|variable| variable.strip_prefix("HOME=").is_some_and(|home| !home.is_empty()));
    if !given {
        env.retain(|variable| !variable.starts_with("HOME="));
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        env.push(format!("HOME={}", home_of(plan.uid, &passwd)));
    }
    env
}

fn home_of(uid: u32, passwd: &str) -> &str {
    let uid = uid.to_string();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && fields[2] == uid)
        .map(|fields| fields[5])
        .filter(|home| !home.is_empty())
        .unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_containers_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:\n";
        assert_eq!(home_of(33, passwd), "/var/www");
        assert_eq!(home_of(7, passwd), "/");
    }

    #[test]
    fn a_missing_program_is_told_apart_from_one_that_may_not_run() {
        let env = vec!["PATH=/usr/bin:/bin".to_owned()];
        assert_eq!(locate("no-such-program", &env).unwrap_err().exit_code(), 127);
        assert_eq!(locate("/no/such", &env).unwrap_err().exit_code(), 127);
        assert_eq!(locate("/etc/passwd", &env).unwrap_err().exit_code(), 126);
        assert_eq!(locate("/", &env).unwrap_err().exit_code(), 126);
        assert!(locate("sh", &env).is_ok());
    }
}
