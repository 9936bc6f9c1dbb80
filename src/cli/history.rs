//! `history`: the journal of transitions, with times and durations; it outlives the sandboxes.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::format::Format;
use super::{kill, output, time};
use crate::engine::{self, Depth, Probe, Recorder};
use crate::host::mend::Mender;
use crate::host::probe::Prober;
use crate::model::record::{Actor, JournalEntry, Nanos, Snapshot};
use crate::model::{Id, Phase};
use crate::store::{Folder, Root};
use crate::sys::told;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Only of this sandbox
    id: Option<String>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let id = arguments.id.as_deref().map(Id::parse).transpose()?;
    let entries = match context.open_root()? {
        Some(root) => {
            // Before the store is asked, which takes it in.
            note_ends(context, &root, id.as_ref())?;
            let mut recorder = Recorder::new(&root);
            let mut entries = recorder.history(id.as_ref())?;
            for notice in recorder.take_notices() {
                context.log.warn(&notice);
            }
            let unrecorded = not_recorded_yet(&root, id.as_ref())?;
            // Somebody may have recorded it while we looked.
            let is_known = |one: &JournalEntry| {
                entries.iter().any(|entry| entry.incarnation == one.incarnation && entry.seq >= one.seq)
            };
            let unrecorded: Vec<_> =
                unrecorded.into_iter().flat_map(|(_, entries)| entries).filter(|one| !is_known(one)).collect();
            entries.extend(unrecorded);
            in_order(entries)
        }
        None => Vec::new(),
    };
    match arguments.format {
        Format::Json => println!("{}", json!(entries.iter().map(document).collect::<Vec<_>>())),
        Format::Table => print_table(&entries),
    }
    Ok(Done::Well)
}

/// Now that they are seen, they get the time that everybody is told from now on. Where that is not to be had they are shown
/// all the same.
fn note_ends(context: &Context, root: &Root, of: Option<&Id>) -> Result<(), Failure> {
    for (snapshot, _) in not_recorded_yet(root, of)? {
        let id = &snapshot.sandbox.id;
        let facts = |folder: &Folder, snapshot: &Snapshot| Prober.facts(folder, snapshot, Depth::Shallow);
        if let Err(error) = engine::note_ends(root, id, facts, &Mender, None) {
            context.log.debug(&format!(
                "the end of {:?} is not in the journal yet: {}",
                id.as_str(),
                told::on_one_line(&error)
            ));
        }
    }
    Ok(())
}

/// Ends that the machine shows and no command has recorded: they are history all the same.
fn not_recorded_yet(root: &Root, of: Option<&Id>) -> Result<Vec<(Snapshot, Vec<JournalEntry>)>, Failure> {
    let mut found = Vec::new();
    for folder in root.folders()? {
        // One that cannot be read, or is being deleted, is told of elsewhere.
        let Ok(Some(snapshot)) = folder.read_snapshot() else { continue };
        if of.is_some_and(|id| *id != snapshot.sandbox.id) || snapshot.state.sandbox.phase == Phase::Creating {
            continue;
        }
        let facts = Prober.facts(&folder, &snapshot, Depth::Shallow);
        let unrecorded = engine::unrecorded_entries(&snapshot, &facts);
        if !unrecorded.is_empty() && folder.is_current()? {
            found.push((snapshot, unrecorded));
        }
    }
    Ok(found)
}

/// By time, since an end may be recorded long after it; those of one sandbox as they were recorded, whatever its clock did.
fn in_order(entries: Vec<JournalEntry>) -> Vec<JournalEntry> {
    let mut latest: BTreeMap<String, Nanos> = BTreeMap::new();
    let mut placed: Vec<(Nanos, JournalEntry)> = Vec::new();
    for entry in entries {
        let before = latest.get(&entry.incarnation).copied().unwrap_or(Nanos::MIN);
        let at = before.max(entry.ended);
        latest.insert(entry.incarnation.clone(), at);
        placed.push((at, entry));
    }
    placed.sort_by_key(|(at, _)| *at);
    placed.into_iter().map(|(_, entry)| entry).collect()
}

fn document(entry: &JournalEntry) -> serde_json::Value {
    json!({
        "sandbox": entry.sandbox.as_str(),
        "incarnation": entry.incarnation,
        "container": entry.container.as_str(),
        "machine": entry.machine.name(),
        "seq": entry.seq,
        "from": entry.from.name(),
        "event": entry.event.name(),
        "to": entry.to.name(),
        "began": time::rfc3339(entry.began),
        "ended": time::rfc3339(entry.ended),
        "nanoseconds": entry.ended - entry.began,
        "exit": entry.exit.map(|exit| json!({
            "code": exit.code, "signal": exit.signal, "at": time::rfc3339(exit.at), "inferred": exit.inferred,
        })),
        "signal": entry.signal.as_ref().map(|asked| json!({
            "number": asked.number, "name": kill::name_of(asked.number), "uid": asked.uid, "caller": asked.caller,
            "program": asked.program,
        })),
        "by": by(entry),
    })
}

fn by(entry: &JournalEntry) -> &'static str {
    match entry.by {
        _ if entry.was_seen_by_supervisor() => "supervisor",
        Actor::Command => "command",
        Actor::Recovery => "recovery",
    }
}

/// For people: of a signal also which it was, and for whom.
fn who(entry: &JournalEntry) -> String {
    match &entry.signal {
        None => by(entry).to_owned(),
        Some(asked) => format!("{} by {} (uid {})", kill::name_of(asked.number), asked.program, asked.uid),
    }
}

fn print_table(entries: &[JournalEntry]) {
    let titles = ["TIME", "CONTAINER", "SEQ", "FROM", "EVENT", "TO", "TOOK", "EXIT", "BY"];
    let mut rows: Vec<Vec<String>> = vec![titles.iter().map(|title| (*title).to_owned()).collect()];
    for entry in entries {
        let exit = entry.exit.map_or(String::new(), |exit| match exit.inferred {
            true => format!("{} (inferred)", exit.code),
            false => exit.code.to_string(),
        });
        rows.push(vec![
            time::rfc3339(entry.ended),
            entry.container.to_string(),
            entry.seq.to_string(),
            entry.from.to_string(),
            entry.event.to_string(),
            entry.to.to_string(),
            time::duration(entry.ended - entry.began),
            exit,
            who(entry),
        ]);
    }
    print_columns(&rows);
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn print_columns(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| output::one_line(cell)).collect()).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        println!("{}", line.trim_end());
    }
}
