//! The supervisor's command line, written and read:
//!
//! ```text
//! sandkeep-sandbox [--log-fd=N] [--debug-log-fd=N] boot --bundle=PATH --controller-fd=N --spec-fd=N --start-sync-fd=N
//!     --exits-fd=N --creator-fd=N [--notices-fd=N --manager-fd=N] [--attached] --pid-namespace=own|foreign
//!     [--cgroup-fd=N]... ID
//! ```

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::model::Id;
use crate::model::id::IdError;
use crate::model::record::PidNamespace;

/// What `argv[0]` is called when this is the program, and, as far as the kernel keeps it, what its process is.
pub const NAME: &str = "sandkeep-sandbox";

/// What was said. The numbers are not descriptors yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub log: Option<RawFd>,
    pub debug_log: Option<RawFd>,
    pub bundle: PathBuf,
    pub controller: RawFd,
    pub spec: RawFd,
    pub start_sync: RawFd,
    pub exits: RawFd,
    pub creator: RawFd,
    /// Where the container speaks to the service manager, and where that hears it.
    pub notices: Option<(RawFd, RawFd)>,
    pub cgroups: Vec<RawFd>,
    pub attached: bool,
    pub pid_namespace: PidNamespace,
    pub id: Id,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    #[error("the supervisor was given an unknown argument {0:?}")]
    Unknown(OsString),
    #[error("the supervisor was given {0} twice")]
    Twice(String),
    #[error("the supervisor was not given {0}")]
    Missing(&'static str),
    #[error("the supervisor was given {value:?} for {name}")]
    BadValue { name: String, value: OsString },
    #[error("the supervisor was given the descriptor {0} for two things")]
    Shared(RawFd),
    #[error(transparent)]
    BadId(#[from] IdError),
}

impl Args {
    /// Global flags, `boot`, flags, and the id last.
    pub fn parse(args: &[OsString]) -> Result<Args, ArgsError> {
        let mut flags = Flags::default();
        let boot = args.iter().position(|arg| arg == "boot").ok_or(ArgsError::Missing("boot"))?;
        for arg in &args[..boot] {
            match split(arg) {
                (name @ ("--log-fd" | "--debug-log-fd"), Some(value)) => flags.set(name, value, arg)?,
                _ => return Err(ArgsError::Unknown(arg.clone())),
            }
        }
        let (id, rest) = args[boot + 1..].split_last().ok_or(ArgsError::Missing("an id"))?;
        for arg in rest {
            match split(arg) {
                ("--bundle", Some(_)) if flags.bundle.is_some() => return Err(ArgsError::Twice("--bundle".to_owned())),
                ("--bundle", Some(_)) => {
                    flags.bundle =
                        Some(PathBuf::from(std::ffi::OsStr::from_bytes(&arg.as_bytes()["--bundle=".len()..])))
                }
                ("--attached", None) => flags.attached = true,
                ("--pid-namespace", Some(value)) => {
                    flags.pid_namespace = Some(match value {
                        "own" => PidNamespace::Own,
                        "foreign" => PidNamespace::Foreign,
                        _ => return Err(bad_value("--pid-namespace", value)),
                    })
                }
                ("--cgroup-fd", Some(value)) => flags.cgroups.push(number("--cgroup-fd", value)?),
                (name, Some(value)) => flags.set(name, value, arg)?,
                _ => return Err(ArgsError::Unknown(arg.clone())),
            }
        }
        let id = id.to_str().ok_or_else(|| bad_value("the id", &id.to_string_lossy()))?;
        let args = flags.finish(Id::parse(id)?)?;
        let mut numbers: Vec<RawFd> = args.numbers().into_iter().map(|(number, _)| number).collect();
        numbers.sort_unstable();
        match numbers.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ArgsError::Shared(pair[0])),
            None => Ok(args),
        }
    }

    /// The words of the command line, without the program's name. What [`Args::parse`] reads.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut number = |flag: &str, number: RawFd| words.push(OsString::from(format!("{flag}={number}")));
        self.log.into_iter().for_each(|log| number("--log-fd", log));
        self.debug_log.into_iter().for_each(|log| number("--debug-log-fd", log));
        words.push("boot".into());
        let mut bundle = OsString::from("--bundle=");
        bundle.push(&self.bundle);
        words.push(bundle);
        let mut number = |flag: &str, number: RawFd| words.push(OsString::from(format!("{flag}={number}")));
        number("--controller-fd", self.controller);
        number("--spec-fd", self.spec);
        number("--start-sync-fd", self.start_sync);
        number("--exits-fd", self.exits);
        number("--creator-fd", self.creator);
        if let Some((from, to)) = self.notices {
            number("--notices-fd", from);
            number("--manager-fd", to);
        }
        self.cgroups.iter().for_each(|&cgroup| number("--cgroup-fd", cgroup));
        if self.attached {
            words.push("--attached".into());
        }
        let namespace = match self.pid_namespace {
            PidNamespace::Own => "own",
            PidNamespace::Foreign => "foreign",
        };
        words.push(format!("--pid-namespace={namespace}").into());
        words.push(self.id.as_str().into());
        words
    }

    /// Every descriptor, by number and name.
    pub fn numbers(&self) -> Vec<(RawFd, &'static str)> {
        let mut numbers = vec![
            (self.controller, "controller"),
            (self.spec, "spec"),
            (self.start_sync, "start-sync"),
            (self.exits, "exits"),
            (self.creator, "creator"),
        ];
        numbers.extend(self.notices.iter().flat_map(|&(from, to)| [(from, "notices"), (to, "manager")]));
        numbers.extend(self.log.map(|number| (number, "log")));
        numbers.extend(self.debug_log.map(|number| (number, "debug-log")));
        numbers.extend(self.cgroups.iter().map(|&number| (number, "cgroup")));
        numbers
    }
}

#[derive(Default)]
struct Flags {
    log: Option<RawFd>,
    debug_log: Option<RawFd>,
    bundle: Option<PathBuf>,
    controller: Option<RawFd>,
    spec: Option<RawFd>,
    start_sync: Option<RawFd>,
    exits: Option<RawFd>,
    creator: Option<RawFd>,
    notices: Option<RawFd>,
    manager: Option<RawFd>,
    cgroups: Vec<RawFd>,
    attached: bool,
    pid_namespace: Option<PidNamespace>,
}

impl Flags {
    /// The flags whose value is one descriptor.
    fn set(&mut self, name: &str, value: &str, arg: &OsString) -> Result<(), ArgsError> {
        let place = match name {
            "--log-fd" => &mut self.log,
            "--debug-log-fd" => &mut self.debug_log,
            "--controller-fd" => &mut self.controller,
            "--spec-fd" => &mut self.spec,
            "--start-sync-fd" => &mut self.start_sync,
            "--exits-fd" => &mut self.exits,
            "--creator-fd" => &mut self.creator,
            "--notices-fd" => &mut self.notices,
            "--manager-fd" => &mut self.manager,
            _ => return Err(ArgsError::Unknown(arg.clone())),
        };
        match place.replace(number(name, value)?) {
            Some(_) => Err(ArgsError::Twice(name.to_owned())),
            None => Ok(()),
        }
    }

    fn finish(self, id: Id) -> Result<Args, ArgsError> {
        Ok(Args {
            log: self.log,
            debug_log: self.debug_log,
            bundle: self.bundle.ok_or(ArgsError::Missing("--bundle"))?,
            controller: self.controller.ok_or(ArgsError::Missing("--controller-fd"))?,
            spec: self.spec.ok_or(ArgsError::Missing("--spec-fd"))?,
            start_sync: self.start_sync.ok_or(ArgsError::Missing("--start-sync-fd"))?,
            exits: self.exits.ok_or(ArgsError::Missing("--exits-fd"))?,
            creator: self.creator.ok_or(ArgsError::Missing("--creator-fd"))?,
            notices: match (self.notices, self.manager) {
                (Some(from), Some(to)) => Some((from, to)),
                (None, None) => None,
                (None, Some(_)) => return Err(ArgsError::Missing("--notices-fd")),
                (Some(_), None) => return Err(ArgsError::Missing("--manager-fd")),
            },
            cgroups: self.cgroups,
            attached: self.attached,
            pid_namespace: self.pid_namespace.ok_or(ArgsError::Missing("--pid-namespace"))?,
            id,
        })
    }
}

/// Name and value. Only a bundle may be anything but UTF-8, and its value is taken from the bytes.
fn split(arg: &OsString) -> (&str, Option<&str>) {
    let bytes = arg.as_bytes();
    let (name, value) = match bytes.iter().position(|&byte| byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    (str::from_utf8(name).unwrap_or(""), value.map(|value| str::from_utf8(value).unwrap_or("")))
}

fn number(name: &str, value: &str) -> Result<RawFd, ArgsError> {
    value.parse().ok().filter(|&number| number > 2).ok_or_else(|| bad_value(name, value))
}

fn bad_value(name: &str, value: &str) -> ArgsError {
    ArgsError::BadValue { name: name.to_owned(), value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "--log-fd=3 boot --bundle=/b --controller-fd=4 --spec-fd=5 --start-sync-fd=6 --exits-fd=7 \
                        --creator-fd=8 --pid-namespace=own --cgroup-fd=9 --cgroup-fd=10 web";

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_the_launcher_writes_is_understood() {
        let args = parse(GOOD).unwrap();
        assert_eq!((args.log, args.debug_log, args.controller, args.creator), (Some(3), None, 4, 8));
        assert_eq!((args.cgroups, args.attached, args.id.as_str()), (vec![9, 10], false, "web"));
        assert!(parse(&GOOD.replace("--pid-namespace=own", "--attached --pid-namespace=foreign")).unwrap().attached);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let both = GOOD.replace("--pid-namespace", "--notices-fd=11 --manager-fd=12 --pid-namespace");
        let debug = both.replace("--log-fd=3", "--log-fd=3 --debug-log-fd=13");
        for line in [GOOD, &both, &debug, &debug.replace("--pid-namespace=own", "--attached --pid-namespace=foreign")] {
            let args = parse(line).unwrap();
            assert_eq!(Args::parse(&args.words()), Ok(args));
        }
        let named = Args { bundle: "/b=c d".into(), id: Id::parse("--attached").unwrap(), ..parse(GOOD).unwrap() };
        assert_eq!(Args::parse(&named.words()), Ok(named));
    }

    #[test]
    fn a_service_manager_is_two_descriptors_or_none() {
        let both = GOOD.replace("--pid-namespace", "--notices-fd=11 --manager-fd=12 --pid-namespace");
        assert_eq!(parse(&both).unwrap().notices, Some((11, 12)));
        assert_eq!(parse(GOOD).unwrap().notices, None);
        assert_eq!(parse(&both.replace("--notices-fd=11", "")), Err(ArgsError::Missing("--notices-fd")));
        assert_eq!(parse(&both.replace("--manager-fd=12", "")), Err(ArgsError::Missing("--manager-fd")));
    }

    #[test]
    fn an_id_or_a_bundle_may_look_like_anything() {
        assert_eq!(parse(&GOOD.replace(" web", " --attached")).unwrap().id.as_str(), "--attached");
        assert_eq!(parse(&GOOD.replace("=/b", "=/b=c")).unwrap().bundle, PathBuf::from("/b=c"));
    }

    #[test]
    fn what_is_missing_doubled_or_unknown_is_named() {
        assert_eq!(parse(&GOOD.replace("--exits-fd=7", "")), Err(ArgsError::Missing("--exits-fd")));
        assert_eq!(parse(&GOOD.replace("--exits-fd=7", "--exits-fd=4")), Err(ArgsError::Shared(4)));
        assert_eq!(
            parse(&GOOD.replace("--spec-fd=5", "--exits-fd=5")).unwrap_err(),
            ArgsError::Twice("--exits-fd".into())
        );
        assert!(matches!(parse(&GOOD.replace("--spec-fd=5", "--spec=5")), Err(ArgsError::Unknown(_))));
        assert!(matches!(parse(&GOOD.replace("--spec-fd=5", "--spec-fd=2")), Err(ArgsError::BadValue { .. })));
        assert!(matches!(parse(&GOOD.replace(" web", " ../web")), Err(ArgsError::BadId(_))));
        assert_eq!(parse("boot"), Err(ArgsError::Missing("an id")));
        assert_eq!(parse(""), Err(ArgsError::Missing("boot")));
    }
}
