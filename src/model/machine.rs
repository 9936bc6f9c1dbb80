//! The table as text: for people, for programs, and for the drawings in the documentation.

use std::fmt::Write;

use serde::Serialize;

use super::effect::{Effect, IdStep, Undo, Work};
use super::table::{Transition, transitions};
use super::{Machine, Phase};

/// How the table is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns, for people.
    Table,
    /// One array of rows.
    Json,
    /// Graphviz.
    Dot,
    /// A state diagram, as documentation pages draw it.
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
    let row = |row: Transition| Row {
        machine: row.machine.name(),
        from: row.from.name(),
        event: row.event.name(),
        observation: row.event.is_observation(),
        to: row.to.name(),
        effects: steps(&row),
    };
    let rows: Vec<Row> = transitions().map(row).collect();
    let mut text = serde_json::to_string_pretty(&rows).expect("names are always JSON");
    text.push('\n');
    text
}

/// Everything that a transition does, the engine's own part in its place.
fn steps(row: &Transition) -> Vec<Step> {
    fn of<X: Effect>(effects: &[X]) -> Vec<Step> {
        let undo = |undo: Undo<X::Back>| match undo {
            Undo::By(effect) => effect.name(),
            Undo::Irreversible => "irreversible",
            Undo::Nothing => "nothing",
        };
        effects.iter().map(|effect| Step { effect: effect.name(), undo: undo(effect.undo()) }).collect()
    }
    let mut steps = match row.work {
        Work::Nothing => Vec::new(),
        Work::Make(effects) => of(effects),
        Work::Renew(effects) => of(effects),
        Work::Change(effects) => of(effects),
        Work::End(effects) => of(effects),
    };
    match row.id {
        IdStep::Keeps => {}
        IdStep::Claims => steps.insert(0, Step { effect: "claim-id", undo: "release-id" }),
        IdStep::GivesBack => steps.push(Step { effect: "release-id", undo: "irreversible" }),
    }
    steps
}

fn columns() -> String {
    let mut text = String::new();
    let mut line = |machine: &str, from: &str, event: &str, to: &str, effects: &str| {
        let whole = format!("{machine:<10} {from:<9} {event:<28} {to:<9} {effects}");
        text.push_str(whole.trim_end());
        text.push('\n');
    };
    line("MACHINE", "FROM", "EVENT", "TO", "EFFECTS");
    for row in transitions() {
        let effects = steps(&row).iter().map(|step| step.effect).collect::<Vec<_>>().join(", ");
        line(row.machine.name(), row.from.name(), row.event.name(), row.to.name(), &effects);
    }
    text
}

/// One arrow for all events that lead from a phase to the same other one. What keeps a phase is left out of drawings.
fn arrows(machine: Machine) -> Vec<(Phase, Phase, Vec<Transition>)> {
    let mut arrows: Vec<(Phase, Phase, Vec<Transition>)> = Vec::new();
    for row in transitions().filter(|row| row.machine == machine && row.from != row.to) {
        match arrows.iter_mut().find(|(from, to, _)| (*from, *to) == (row.from, row.to)) {
            Some((_, _, rows)) => rows.push(row),
            None => arrows.push((row.from, row.to, vec![row])),
        }
    }
    arrows
}

fn events(rows: &[Transition], separator: &str) -> String {
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
        assert_eq!(render(Format::Table).lines().count(), transitions().count() + 1);
        let rows: serde_json::Value = serde_json::from_str(&render(Format::Json)).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), transitions().count());
    }

    #[test]
    fn the_drawings_show_every_change_of_phase() {
        for format in [Format::Dot, Format::Mermaid] {
            let drawing = render(format);
            for row in transitions().filter(|row| row.from != row.to) {
                assert!(drawing.contains(row.event.name()), "{row:?} is missing");
            }
        }
    }
}
