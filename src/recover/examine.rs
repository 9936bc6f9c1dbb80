//! Looking for anything out of order, changing nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::cgroup::{self, Hierarchies};
use crate::control::ControlError;
use crate::engine::{self, Depth, Facts, Probe, Recorder};
use crate::host::probe::{self, Prober};
use crate::host::{kept, poststart, supervisor};
use crate::model::record::{CgroupRecord, Snapshot};
use crate::model::{Id, Phase};
use crate::store::{Folder, Root, StoreError};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::procfs;

/// A cgroup that is younger may be one that some create, in whatever root, has just made and not joined yet.
const SETTLED: Duration = Duration::from_secs(10);

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// An id, a folder or a process.
    pub subject: String,
    /// What is wrong with it, in a sentence for the user.
    pub text: String,
}

/// Looks, and changes nothing. What cannot be looked at is a finding, too; an error only if the root itself cannot be
/// read.
pub fn examine(root: &Root) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    let mut snapshots = Vec::new();
    for folder in root.folders()? {
        let mut found = Vec::new();
        examine_sandbox(&folder, &mut found, &mut snapshots);
        // What is seen of one that is deleted meanwhile means nothing.
        if !matches!(folder.is_current(), Ok(false)) {
            findings.append(&mut found);
        }
    }
    for folder in root.leftovers()? {
        // One that somebody holds is being made or removed right now.
        if matches!(folder.try_lock(), Ok(Some(_))) {
            let text = "a left-over folder of a command that died".to_owned();
            findings.push(Finding { subject: folder.name().to_owned(), text });
        }
    }
    let mut recorder = Recorder::new(root);
    for disagreement in disagreements(root, &mut recorder)? {
        findings.push(Finding { subject: disagreement.id.to_string(), text: disagreement.text });
    }
    examine_supervisors(root, &snapshots, &mut findings);
    let orphans = orphaned_cgroups(root, &snapshots, &mut recorder)?;
    for folder in orphans.found {
        let text = "an empty cgroup of a sandbox that is gone".to_owned();
        findings.push(Finding { subject: folder.display().to_string(), text });
    }
    if let Some(error) = orphans.unseen {
        findings.push(Finding { subject: "cgroups".to_owned(), text: crate::sys::told::on_one_line(&error) });
    }
    examine_mounts(root, &mut findings);
    Ok(findings)
}

fn examine_sandbox(folder: &Folder, findings: &mut Vec<Finding>, snapshots: &mut Vec<Snapshot>) {
    let mut found = |subject: &str, text: String| findings.push(Finding { subject: subject.to_owned(), text });
    if let Err(error) = folder.check_lock() {
        found(folder.name(), crate::sys::told::on_one_line(&error));
    }
    let intent = match folder.intent_unlocked() {
        Ok(intent) => intent,
        // Told already.
        Err(_) => return,
    };
    let in_progress = intent.as_ref().is_some_and(|intent| procfs::is_alive(&intent.holder, &intent.boot));
    if let Some(intent) = intent.as_ref().filter(|_| !in_progress) {
        found(
            intent.container.as_str(),
            format!("{} was cut short: its process {} is dead", intent.event, intent.holder.pid),
        );
    }
    let snapshot = match folder.read_snapshot() {
        Ok(Some(snapshot)) => snapshot,
        Ok(None) if intent.is_some() => return,
        Ok(None) => return found(folder.name(), "its snapshot sandbox.json is missing".to_owned()),
        Err(error) => return found(folder.name(), crate::sys::told::on_one_line(&error)),
    };
    if !in_progress {
        if let Err(error) = kept::check(folder, &snapshot) {
            found(snapshot.sandbox.id.as_str(), crate::sys::told::on_one_line(&error));
        }
        if snapshot.state.sandbox.phase == Phase::Stopped {
            match still_running(&snapshot) {
                Ok(0) => {}
                Ok(left) => {
                    let text =
                        format!("is stopped, and {left} process(es) run on in its cgroup: delete it to end them");
                    found(snapshot.sandbox.id.as_str(), text);
                }
                Err(error) => {
                    let why = crate::sys::told::on_one_line(&error);
                    found(snapshot.sandbox.id.as_str(), format!("nobody can say what runs in its cgroup: {why}"));
                }
            }
        }
        let facts = Prober.facts(folder, &snapshot, Depth::Cgroups);
        if snapshot.state.sandbox.phase == Phase::Running && facts.frozen.values().any(|frozen| *frozen) {
            found(snapshot.sandbox.id.as_str(), "is frozen, and recorded as running".to_owned());
        }
        if engine::is_orphaned(&snapshot, &facts) {
            let text = "runs on without its supervisor, which is dead: `recover` gives it another".to_owned();
            found(snapshot.sandbox.id.as_str(), text);
        }
        if let Some(text) = deaf_supervisor(folder, &snapshot, &facts) {
            found(snapshot.sandbox.id.as_str(), text);
        }
        let seen = engine::observe(&snapshot, &facts, engine::now());
        if seen.state.sandbox.phase != snapshot.state.sandbox.phase {
            let (recorded, actual) = (snapshot.state.sandbox.phase, seen.state.sandbox.phase);
            // An end that nobody has recorded yet is normal; one whose supervisor did not live to see it is not.
            if seen.state.sandbox.exit.is_some_and(|exit| exit.inferred) {
                found(
                    snapshot.sandbox.id.as_str(),
                    format!("is {actual}, and recorded as {recorded}: its supervisor died first"),
                );
            }
        } else if poststart_is_due(folder, &snapshot) {
            let text = "runs, and its start died before all of its poststart hooks had run".to_owned();
            found(snapshot.sandbox.id.as_str(), text);
        }
    }
    snapshots.push(snapshot);
}

/// What to say of a supervisor that lives and does not answer.
fn deaf_supervisor(folder: &Folder, snapshot: &Snapshot, facts: &Facts) -> Option<String> {
    if !facts.supervisor_alive || !snapshot.state.sandbox.phase.is_alive() {
        return None;
    }
    let pid = snapshot.sandbox.supervisor.pid;
    let error = probe::ask_state(folder).err()?;
    // One that has ended meanwhile had nothing more to keep.
    if !procfs::is_alive(&snapshot.sandbox.supervisor, &snapshot.sandbox.boot) {
        return None;
    }
    let state = procfs::stat(pid).ok().flatten().map_or('?', |stat| stat.state);
    Some(match error {
        ControlError::Timeout { .. } => format!("its supervisor, process {pid}, does not answer (state {state})"),
        other => format!("its supervisor, process {pid} (state {state}): {}", crate::sys::told::on_one_line(&other)),
    })
}

fn poststart_is_due(folder: &Folder, snapshot: &Snapshot) -> bool {
    if !matches!(folder.hook_log(), Ok(Some(_))) {
        return false;
    }
    let Ok(Some(ledger)) = kept::ledger_of(folder, snapshot) else { return false };
    poststart::is_due(&ledger, snapshot).unwrap_or(false)
}

/// Processes in the cgroups of its containers. Those that are ending do not count.
fn still_running(snapshot: &Snapshot) -> Result<usize, cgroup::Error> {
    let mut pids = BTreeSet::new();
    for container in snapshot.containers.values() {
        pids.extend(cgroup::processes(&container.cgroup)?);
    }
    let runs = |pid: &i32| procfs::stat(*pid).map_or(true, |stat| stat.is_some_and(|stat| !stat.is_gone()));
    Ok(pids.into_iter().filter(runs).count())
}

/// A state that the store and the published snapshot tell differently.
pub(super) struct Disagreement {
    pub id: Id,
    /// What was published; None: there is no such sandbox any more.
    pub published: Option<Snapshot>,
    pub text: String,
}

pub(super) fn disagreements(root: &Root, recorder: &mut Recorder<'_>) -> Result<Vec<Disagreement>, StoreError> {
    let found = compare(root, recorder)?;
    if found.is_empty() {
        return Ok(found);
    }
    // While we had the store, others could not write to it: what they left in `pending` is taken in when it is opened.
    recorder.close();
    compare(root, recorder)
}

fn compare(root: &Root, recorder: &mut Recorder<'_>) -> Result<Vec<Disagreement>, StoreError> {
    let stored = recorder.snapshots()?;
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for folder in root.folders()? {
        // One that is being changed right now may well be ahead.
        let Ok(Some(_guard)) = folder.try_lock() else { continue };
        let Ok(Some(published)) = folder.read_snapshot() else { continue };
        let id = published.sandbox.id.clone();
        seen.insert(id.to_string());
        let same = |other: &Snapshot| other.sandbox.incarnation == published.sandbox.incarnation;
        match stored.iter().find(|stored| stored.sandbox.id == id) {
            Some(stored) if same(stored) && stored.state.seq >= published.state.seq => {}
            Some(stored) => found.push(Disagreement {
                text: format!(
                    "has seq {} of {:?}, published is {}",
                    stored.state.seq,
                    id.as_str(),
                    published.state.seq
                ),
                id,
                published: Some(published),
            }),
            None if published.state.seq > 1 => found.push(Disagreement {
                text: format!("does not know {:?}, which is published", id.as_str()),
                id,
                published: Some(published),
            }),
            None => {}
        }
    }
    for stored in stored {
        let id = stored.sandbox.id.clone();
        if !seen.contains(id.as_str()) && root.find(&id)?.is_none() {
            let text = format!("knows {:?}, whose folder is gone", id.as_str());
            found.push(Disagreement { id, published: None, text });
        }
    }
    Ok(found)
}

/// Supervisors that keep their exit records in this root, and that no sandbox of it names.
fn examine_supervisors(root: &Root, snapshots: &[Snapshot], findings: &mut Vec<Finding>) {
    let known: BTreeSet<i32> = snapshots.iter().map(|snapshot| snapshot.sandbox.supervisor.pid).collect();
    let sandboxes = root.path_of_sandboxes();
    for pid in procfs::pids().into_iter().filter(|pid| supervisor::is_one(*pid)) {
        let ours = descriptors(pid).find(|target| target.starts_with(&sandboxes));
        let Some(folder) = ours.as_deref().and_then(Path::parent) else { continue };
        // One that was made or is being deleted while we looked is not: in this order, for it may have been finished
        // just now.
        if known.contains(&pid) || being_made(root, folder) || is_named(root, folder, pid) || !supervisor::is_one(pid) {
            continue;
        }
        let text = format!("a supervisor of {folder:?} that no sandbox knows: killing it ends what it keeps");
        findings.push(Finding { subject: format!("process {pid}"), text });
    }
}

fn being_made(root: &Root, folder: &Path) -> bool {
    let folders = root.folders().into_iter().flatten().chain(root.leftovers().into_iter().flatten());
    folders
        .filter(|found| Some(found.name()) == name_of(folder))
        .any(|folder| !matches!(folder.try_lock(), Ok(Some(_))))
}

/// Whether the sandbox in this folder says now that it is its supervisor. One that cannot be read may well say so.
fn is_named(root: &Root, folder: &Path, pid: i32) -> bool {
    let mut folders = root.folders().into_iter().flatten().filter(|found| Some(found.name()) == name_of(folder));
    folders.any(|folder| match folder.read_snapshot() {
        Ok(Some(found)) => found.sandbox.supervisor.pid == pid,
        Ok(None) => false,
        Err(_) => true,
    })
}

fn name_of(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()
}

fn descriptors(pid: i32) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| std::fs::read_link(entry.path()).ok())
}

/// Empty cgroups of sandboxes that this root once had. Cgroups know no root: all others may belong to a sandbox of
/// another one, running or stopped.
#[derive(Default)]
pub(super) struct Orphans {
    pub found: Vec<PathBuf>,
    /// Why some could not be looked at, or none.
    pub unseen: Option<cgroup::Error>,
}

pub(super) fn orphaned_cgroups(
    root: &Root,
    snapshots: &[Snapshot],
    recorder: &mut Recorder<'_>,
) -> Result<Orphans, StoreError> {
    let folders = match Hierarchies::read().and_then(|hierarchies| cgroup::orphans(&hierarchies)) {
        Ok(folders) if folders.is_empty() => return Ok(Orphans::default()),
        Ok(folders) => folders,
        Err(cgroup::Error::NoHierarchy) => return Ok(Orphans::default()),
        Err(error) => return Ok(Orphans { unseen: Some(error), ..Orphans::default() }),
    };
    let past: BTreeSet<String> = recorder.history(None)?.iter().map(|entry| entry.sandbox.to_string()).collect();
    let containers = snapshots.iter().flat_map(|s| s.containers.values().map(|container| &container.cgroup));
    let supervisors = snapshots.iter().map(|snapshot| &snapshot.sandbox.supervisor_cgroup);
    let mut named: BTreeSet<PathBuf> = containers.chain(supervisors).flat_map(|c| &c.folders).cloned().collect();
    // Those that are about to be made.
    for folder in root.folders()? {
        // What one that cannot be read has, or is about to make, is not known: then nothing is called orphaned.
        let (Ok(intent), Ok(_)) = (folder.intent_unlocked(), folder.read_snapshot()) else {
            return Ok(Orphans::default());
        };
        named.extend(intent.into_iter().flat_map(|intent| intent.cgroups));
    }
    let is_orphaned = |folder: &PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let settled = std::fs::metadata(folder).is_ok_and(|metadata| {
            let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().max(0) as u64);
            changed.elapsed().is_ok_and(|age| age > SETTLED)
        });
        let record = CgroupRecord { folders: vec![folder.clone()], ..CgroupRecord::default() };
        let is_empty = || cgroup::processes(&record).is_ok_and(|pids| pids.is_empty());
        let ours = past.contains(cgroup::container_of(&name));
        ours && settled && !named.contains(folder) && is_empty()
    };
    Ok(Orphans { found: folders.into_iter().filter(is_orphaned).collect(), unseen: None })
}

/// Everything is mounted in the containers' own namespaces: nothing of a root may show on the host.
fn examine_mounts(root: &Root, findings: &mut Vec<Finding>) {
    let sandboxes = root.path_of_sandboxes();
    for Mount { at, .. } in mountinfo::ours().unwrap_or_default() {
        if at.starts_with(&sandboxes) {
            findings.push(Finding { subject: at.display().to_string(), text: "a mount inside the root".into() });
        }
    }
}
