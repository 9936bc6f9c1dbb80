//! Where errors and notices go. Callers read the whole log file of a failed command: at the default level it holds one
//! line a failure and nothing else.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::failure::Failure;
use super::{output, time, typed};
use crate::engine;
use crate::host::tell::Tell;
use crate::sys::mountinfo::split_once;
use crate::sys::told;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    Error,
    #[value(alias = "warn")]
    Warning,
    Info,
    #[value(alias = "trace")]
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

pub struct Log {
    pub file: Option<PathBuf>,
    pub format: Format,
    pub level: Level,
}

impl Tell for Log {
    fn warn(&self, text: &str) {
        self.warn(text);
    }

    fn debug(&self, text: &str) {
        self.debug(text);
    }
}

impl Log {
    /// One line to stderr, and one to the log file if there is one.
    pub fn error(&self, failure: &Failure) {
        show(failure);
        self.append(Level::Error, &in_one_line(&failure.text));
    }

    /// Something the user must know of a command that goes on. Beside a log file it goes there, at its level.
    pub fn warn(&self, text: &str) {
        if self.file.is_none() {
            eprintln!("sandkeep: warning: {}", output::one_line(&text.replace('\n', " ")));
        } else if self.level >= Level::Warning {
            self.append(Level::Warning, text);
        }
    }

    pub fn debug(&self, text: &str) {
        if self.level < Level::Debug {
            return;
        }
        match self.file {
            None => eprintln!("{}", self.line(Level::Debug, text)),
            Some(_) => self.append(Level::Debug, text),
        }
    }

    /// The log file, if there is one: to be donated, and for every command to know that whoever reads it will be told.
    pub fn open(&self) -> Result<Option<File>, Failure> {
        let Some(path) = &self.file else { return Ok(None) };
        let opened = open_to_append(path);
        let text =
            |error| format!("cannot write the log {path:?}, which cannot be opened: {}", told::on_one_line(&error));
        opened.map(Some).map_err(|error| Failure::new(text(error)))
    }

    fn line(&self, level: Level, text: &str) -> String {
        let time = time::rfc3339(engine::now());
        match self.format {
            Format::Json => serde_json::json!({ "level": level.name(), "msg": text, "time": time }).to_string(),
            Format::Text => format!("time={time:?} level={} msg={text:?}", level.name()),
        }
    }

    fn append(&self, level: Level, text: &str) {
        let Some(path) = &self.file else { return };
        let line = self.line(level, text);
        let result = open_to_append(path).and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = result {
            let text = format!("cannot write the log {path:?}: {}", told::on_one_line(&error));
            show(&Failure::new(text));
        }
    }
}

/// One line to stderr alone. There are callers that look there for "error" and for nothing else (youki's contest), and every
/// peer's line has it.
pub fn show(failure: &Failure) {
    let text = in_one_line(&failure.text);
    match failure.is_of_program() {
        false => eprintln!("sandkeep: error: {text}"),
        true => eprintln!("sandkeep: {text}"),
    }
}

fn in_one_line(text: &str) -> String {
    output::one_line(&text.replace('\n', " ")).into_owned()
}

/// Anybody may have put a symbolic link where root is about to write: one of somebody else is not followed. One of ours
/// or of root's is, such as /dev/stderr. Nor is a pipe waited for that nobody reads.
fn open_to_append(path: &Path) -> io::Result<File> {
    let open = |flags| {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644).custom_flags(flags | libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
    };
    match open(libc::O_NOFOLLOW) {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            let link = path.symlink_metadata()?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let folder = folder.metadata()?;
            let believed = |about: &Metadata| [0, nix::unistd::geteuid().as_raw()].contains(&about.uid());
            // Otherwise it may be another link by now.
            let stays = believed(&folder) && (folder.mode() & 0o022 == 0 || folder.mode() & libc::S_ISVTX != 0);
            match believed(&link) && stays {
                true => open(0),
                false => {
                    Err(io::Error::other(format!("it is a symbolic link of uid {}, or may become one", link.uid())))
                }
            }
        }
        opened => opened,
    }
}

/// Arguments that are wrong as a whole: shown already, and callers read nothing but the log. It is the one that the
/// global flags before the command name. Of `text` the first line says what is wrong; the rest is how to use it.
pub fn record_misuse(args: &[OsString], text: &str) {
    let line = text.lines().next().unwrap_or_default();
    if let Some(log) = named_by(args) {
        log.append(Level::Error, line.strip_prefix("error: ").unwrap_or(line));
    }
}

fn named_by(args: &[OsString]) -> Option<Log> {
    let (mut file, mut format) = (None, Format::Text);
    let mut rest = args.iter().skip(1).map(|arg| arg.as_os_str()).take_while(|arg| *arg != "--");
    while let Some(arg) = rest.next().filter(|arg| arg.as_bytes().starts_with(b"--")) {
        let (name, value) = match split_once(arg.as_bytes(), b"=") {
            Some((name, value)) => (name, Some(OsStr::from_bytes(value))),
            None if typed::FLAGS_WITH_VALUE.iter().any(|flag| arg == *flag) => (arg.as_bytes(), rest.next()),
            None => continue,
        };
        match (name, value) {
            (b"--log", Some(value)) => file = Some(PathBuf::from(value)),
            (b"--log-format", Some(value)) if value == "json" => format = Format::Json,
            _ => {}
        }
    }
    file.map(|file| Log { file: Some(file), format, level: Level::Error })
}
