//! The table as text: for people, for programs, and for the drawings in the documentation.

use std::fmt::Write;

use serde::Serialize;

use super::table::{TABLE, Transition};
use super::{Machine, Phase, Undo};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    /// Graphviz.
    Dot,
    Mermaid,
}

/// The whole table, ending in a newline.
pub fn render(format: Format) -> String {
    match format {
        Format::Table => columns(),
        Format::Json => json(),
        Format::Dot => dot(),
        Format::Mermaid => mermaid(),
    }
}

#[derive(Serialize)]
struct Row {
    machine: &'static str,
    from: &'static str,
    event: &'static str,
    observation: bool,
    to: &'static str,
    effects: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    effect: &'static str,
    undo: &'static str,
}

fn json() -> String {
    let rows: Vec<Row> = TABLE
        .iter()
        .map(|row| Row {
            machine: row.machine.name(),
            from: row.from.name(),
            event: row.event.name(),
            observation: row.event.is_observation(),
            to: row.to.name(),
            effects: row
                .effects
                .iter()
                .map(|effect| Step { effect: effect.name(), undo: undo_name(effect.undo()) })
                .collect(),
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&rows).expect("names are always JSON");
    text.push('\n');
    text
}

fn undo_name(undo: Undo) -> &'static str {
    match undo {
        Undo::By(effect) => effect.name(),
        Undo::Irreversible => "irreversible",
        Undo::Nothing => "nothing",
    }
}

fn columns() -> String {
    let mut text = String::new();
    let mut line = |machine: &str, from: &str, event: &str, to: &str, effects: &str| {
        let whole = format!("{machine:<10} {from:<9} {event:<28} {to:<9} {effects}");
        text.push_str(whole.trim_end());
        text.push('\n');
    };
    line("MACHINE", "FROM", "EVENT", "TO", "EFFECTS");
    for row in TABLE {
        let effects = row.effects.iter().map(|effect| effect.name()).collect::<Vec<_>>().join(", ");
        line(row.machine.name(), row.from.name(), row.event.name(), row.to.name(), &effects);
    }
    text
}

/// One arrow for all events that lead from a phase to the same other one. What keeps a phase is left out of drawings.
fn arrows(machine: Machine) -> Vec<(Phase, Phase, Vec<&'static Transition>)> {
    let mut arrows: Vec<(Phase, Phase, Vec<&Transition>)> = Vec::new();
    for row in TABLE.iter().filter(|row| row.machine == machine && row.from != row.to) {
        match arrows.iter_mut().find(|(from, to, _)| (*from, *to) == (row.from, row.to)) {
            Some((_, _, rows)) => rows.push(row),
            None => arrows.push((row.from, row.to, vec![row])),
        }
    }
    arrows
}

fn events(rows: &[&Transition], separator: &str) -> String {
    rows.iter().map(|row| row.event.name()).collect::<Vec<_>>().join(separator)
}

fn dot() -> String {
    let mut text = String::from("digraph sandkeep {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for machine in Machine::ALL {
        let name = machine.name();
        let _ = writeln!(text, "  subgraph cluster_{name} {{\n    label=\"{name}\";");
        for phase in Phase::ALL {
            let _ = writeln!(text, "    {name}_{phase} [label=\"{phase}\"];");
        }
        for (from, to, rows) in arrows(machine) {
            let _ = writeln!(text, "    {name}_{from} -> {name}_{to} [label=\"{}\"];", events(&rows, "\\n"));
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

fn mermaid() -> String {
    let mut text = String::from("stateDiagram-v2\n");
    for machine in Machine::ALL {
        let name = machine.name();
        let _ = writeln!(text, "  state {name} {{");
        // Absent is both ends of the drawing.
        let end = |phase: Phase| match phase {
            Phase::Absent => "[*]".to_owned(),
            other => format!("{name}_{other}"),
        };
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Absent) {
            let _ = writeln!(text, "    state \"{phase}\" as {name}_{phase}");
        }
        for (from, to, rows) in arrows(machine) {
            let _ = writeln!(text, "    {} --> {}: {}", end(from), end(to), events(&rows, ", "));
        }
        text.push_str("  }\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_table_has_one_line_for_every_row() {
        assert_eq!(render(Format::Table).lines().count(), TABLE.len() + 1);
        let rows: serde_json::Value = serde_json::from_str(&render(Format::Json)).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), TABLE.len());
    }

    #[test]
    fn the_drawings_show_every_change_of_phase() {
        for format in [Format::Dot, Format::Mermaid] {
            let drawing = render(format);
            for row in TABLE.iter().filter(|row| row.from != row.to) {
                assert!(drawing.contains(row.event.name()), "{row:?} is missing");
            }
        }
    }
}
