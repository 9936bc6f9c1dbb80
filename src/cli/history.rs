//! `history`: the journal of transitions, with times and durations; it outlives the sandboxes.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::format::Format;
use super::{output, time};
use crate::engine::Recorder;
use crate::model::Id;
use crate::model::record::{Actor, JournalEntry};

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Only of this sandbox
    id: Option<String>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let id = arguments.id.as_deref().map(Id::parse).transpose()?;
    let entries = match context.open_root()? {
        Some(root) => {
            let mut recorder = Recorder::new(&root);
            let entries = recorder.history(id.as_ref())?;
            for notice in recorder.take_notices() {
                context.log.warn(&notice);
            }
            entries
        }
        None => Vec::new(),
    };
    match arguments.format {
        Format::Json => println!("{}", json!(entries.iter().map(document).collect::<Vec<_>>())),
        Format::Table => print_table(&entries),
    }
    Ok(0)
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
        "exit": entry.exit.map(|exit| json!({ "code": exit.code, "signal": exit.signal, "inferred": exit.inferred })),
        "by": by(entry.by),
    })
}

fn by(actor: Actor) -> &'static str {
    match actor {
        Actor::Command => "command",
        Actor::Recovery => "recovery",
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
            by(entry.by).to_owned(),
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
