//! The systemd driver: a container's cgroup is a transient scope that systemd makes and we fill.
//!
//! ```text
//!  Scope::of ──▶ Systemd::connect ──▶ Layout::of_scope ──▶ start (with a placeholder in it) ──▶ limits, init, placeholder ends
//!                                        update: set      delete, recovery: stop
//! ```
//!
//! systemd makes no scope without a process, so one of ours that does nothing is in it until the container's init has been
//! born there. `Delegate=yes` makes everything below the scope ours. Limits are properties of the unit where systemd has
//! such properties (else it would undo them at its next reload), and are written by us as well: what it lacks, and at once.
//!
//! What a crash leaves: a scope whose processes have ended, which systemd collects by itself, or one whose name is in the
//! sandbox's folder, which recovery stops.

mod bus;
mod error;
mod properties;
pub mod wire;

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

pub use bus::Bus;
pub use error::BusError;
pub use properties::Names;
pub use wire::Value;

use self::bus::Connection;
use self::wire::Body;
use super::{Error, Hierarchies, Result, Setup};
use crate::model::Id;
use crate::spec::plan::CgroupPlan;

/// The longest name of a unit (systemd.unit(5)).
const LONGEST_UNIT: usize = 255;

/// Which unit a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Whose systemd knows it.
    pub bus: Bus,
    /// `machine.slice`; `-.slice` is the top.
    pub slice: String,
    /// `libpod-web.scope`
    pub unit: String,
    description: String,
    /// From annotations, in their order.
    more: Vec<(String, Value)>,
}

impl Scope {
    /// `cgroupsPath` is `slice:prefix:name`. None or empty: `system.slice` (`user.slice` of a user), `sandkeep`, the id.
    pub fn of(plan: &CgroupPlan, id: &Id, annotations: &[(String, String)], bus: Bus) -> Result<Scope> {
        let bad = |path: &str, why| Err(Error::BadPath { path: path.chars().take(256).collect(), why });
        let default_slice = if bus == Bus::System { "system.slice" } else { "user.slice" };
        let path = plan.path.as_deref().unwrap_or_default();
        let (slice, prefix, name) = match path.split(':').collect::<Vec<_>>()[..] {
            [""] => (default_slice, "sandkeep", id.as_str()),
            [slice, prefix, name] => (if slice.is_empty() { default_slice } else { slice }, prefix, name),
            // runc's words, which its callers look for.
            _ => return bad(path, "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"),
        };
        if name.ends_with(".slice") {
            return bad(path, "a container is a scope, and cannot be a slice of its own");
        }
        if !is_slice(slice) {
            return bad(path, "its first part is no slice, such as machine.slice or a-b.slice");
        }
        let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        if name.is_empty() || !unit.chars().all(is_unit_char) {
            return bad(path, "prefix and name may hold letters, digits and :-_.\\ only");
        }
        if unit.len() > LONGEST_UNIT {
            return bad(path, "prefix and name make a unit's name of over 255 bytes");
        }
        let more = properties::from_annotations(annotations)?;
        let description = format!("sandkeep container {}", id.as_str());
        Ok(Scope { bus, slice: slice.to_owned(), unit, description, more })
    }

    /// Below the cgroup of the manager: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
    pub fn path(&self) -> PathBuf {
        let mut path = PathBuf::new();
        let stem = self.slice.trim_end_matches(".slice");
        let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
        path.extend(ends.filter(|end| *end > 0 && stem != "-").map(|end| format!("{}.slice", &stem[..end])));
        path.join(&self.unit)
    }
}

fn is_slice(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".slice") else { return false };
    let parts_named = stem.split('-').all(|part| !part.is_empty());
    name.len() <= LONGEST_UNIT && name.chars().all(is_unit_char) && (stem == "-" || parts_named)
}

fn is_unit_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\".contains(c)
}

/// A systemd that answers.
pub struct Systemd {
    connection: Connection,
}

impl Systemd {
    /// By the private socket, or else by the bus. systemd may take 25 s for each answer.
    pub fn connect(bus: Bus) -> Result<Systemd> {
        let connection = Connection::open(bus).map_err(|source| failed("reach systemd", source))?;
        Ok(Systemd { connection })
    }

    /// The cgroup that all its units are below, relative to a hierarchy's mount.
    pub fn top(&mut self) -> Result<PathBuf> {
        let top =
            self.connection.property("ControlGroup").map_err(|source| failed("ask systemd for its cgroup", source))?;
        // As pid 1 systemd lives in a scope of its own below it.
        Ok(PathBuf::from(top.trim_end_matches("/init.scope").trim_start_matches('/')))
    }

    /// Returns when the scope is there, with the process `pid` in it.
    pub fn start(&mut self, scope: &Scope, pid: i32, resources: Option<&LinuxResources>, names: Names) -> Result<()> {
        let mut properties = vec![
            ("Description".to_owned(), Value::Text(scope.description.clone())),
            ("Slice".to_owned(), Value::Text(scope.slice.clone())),
            ("PIDs".to_owned(), Value::U32s(vec![pid as u32])),
            ("Delegate".to_owned(), Value::Bool(true)),
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
            // Nothing of it is to stay when its last process has ended, however that was.
            ("CollectMode".to_owned(), Value::Text("inactive-or-failed".to_owned())),
            ("MemoryAccounting".to_owned(), Value::Bool(true)),
            ("CPUAccounting".to_owned(), Value::Bool(true)),
            ("TasksAccounting".to_owned(), Value::Bool(true)),
        ];
        let io = if names == Names::V2 { "IOAccounting" } else { "BlockIOAccounting" };
        properties.push((io.to_owned(), Value::Bool(true)));
        if let Some(resources) = resources {
            properties.extend(properties::of(resources, names)?);
        }
        properties.retain(|(name, _)| !scope.more.iter().any(|(other, _)| other == name));
        properties.extend(scope.more.iter().cloned());
        let body = || Body::default().text(&scope.unit).text("replace").properties(&properties).no_others();
        let started = match self.connection.call("StartTransientUnit", body()) {
            // One of the same name that failed and was kept: it holds nothing any more.
            Err(error) if error.is_unit_exists() => {
                let _ = self.connection.call("ResetFailedUnit", Body::default().text(&scope.unit));
                self.connection.call("StartTransientUnit", body())
            }
            other => other,
        };
        let job = started.and_then(|job| self.connection.finish_job(&job, &scope.unit));
        job.map_err(|source| failed(&format!("start the scope {}", scope.unit), source))
    }

    /// Other limits for a scope that runs, until the next boot.
    pub fn set(&mut self, unit: &str, resources: &LinuxResources, names: Names) -> Result<()> {
        let properties = properties::of(resources, names)?;
        if properties.is_empty() {
            return Ok(());
        }
        let body = Body::default().text(unit).boolean(true).properties(&properties);
        let set = self.connection.call("SetUnitProperties", body);
        set.map(drop).map_err(|source| failed(&format!("set limits of the scope {unit}"), source))
    }

    /// Ends whatever is in it, and returns when systemd has let go of it. One that is gone is a success.
    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let stopped = self.connection.call("StopUnit", Body::default().text(unit).text("replace"));
        match stopped.and_then(|job| self.connection.finish_job(&job, unit)) {
            Err(error) if error.is_unknown_unit() => Ok(()),
            other => other.map_err(|source| failed(&format!("stop the scope {unit}"), source)),
        }
    }
}

/// A hybrid machine's are v1's: that is where its controllers are.
pub fn names_of(hierarchies: &Hierarchies) -> Names {
    if hierarchies.setup() == Setup::V2 { Names::V2 } else { Names::V1 }
}

fn failed(what: &str, source: BusError) -> Error {
    Error::Systemd { what: what.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(path: Option<&str>) -> Result<Scope> {
        let plan = CgroupPlan { path: path.map(str::to_owned), resources: None };
        Scope::of(&plan, &Id::parse("web").unwrap(), &[], Bus::System)
    }

    #[test]
    fn a_path_of_three_parts_names_slice_and_unit() {
        let found = scope(Some("machine.slice:libpod:abc")).unwrap();
        assert_eq!((found.slice.as_str(), found.unit.as_str()), ("machine.slice", "libpod-abc.scope"));
        assert_eq!(found.path(), PathBuf::from("machine.slice/libpod-abc.scope"));
        let nested = scope(Some("a-b-c.slice::x")).unwrap();
        assert_eq!(nested.path(), PathBuf::from("a.slice/a-b.slice/a-b-c.slice/x.scope"));
        assert_eq!(scope(Some("-.slice:p:x")).unwrap().path(), PathBuf::from("p-x.scope"));
        for path in [None, Some("")] {
            assert_eq!(scope(path).unwrap().path(), PathBuf::from("system.slice/sandkeep-web.scope"));
        }
    }

    #[test]
    fn what_names_no_scope_is_refused_and_says_what_is_expected() {
        for (path, why) in [
            ("/a/b", "slice:prefix:name"),
            ("a:b", "slice:prefix:name"),
            ("a:b:c:d", "slice:prefix:name"),
            ("machine:p:n", "no slice"),
            ("a--b.slice:p:n", "no slice"),
            (".slice:p:n", "no slice"),
            ("../x.slice:p:n", "no slice"),
            ("machine.slice:p:x.slice", "cannot be a slice"),
            ("machine.slice:p:", "letters, digits"),
            ("machine.slice:p:a/b", "letters, digits"),
            (&format!("machine.slice:p:{}", "x".repeat(250)), "over 255 bytes"),
        ] {
            let message = scope(Some(path)).unwrap_err().to_string();
            assert!(message.contains(why), "{path}: {message}");
        }
    }
}
