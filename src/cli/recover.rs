//! `recover`: heals everything that crashes left behind, and says what it did.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done, Failure};
use super::format::Format;
use super::output;
use crate::model::Id;
use crate::recover::{self, Report};

#[derive(Args)]
pub struct Arguments {
    /// Only say what is out of order
    #[arg(long)]
    dry_run: bool,
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Only these sandboxes
    ids: Vec<String>,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let ids = arguments.ids.iter().map(|id| Id::parse(id)).collect::<Result<Vec<_>, _>>()?;
    let root = if arguments.dry_run { context.open_root() } else { context.open_root_to_mend() };
    let reports = match root? {
        Some(root) if arguments.dry_run => would_do(&root, &ids)?,
        Some(root) => recover::recover(&root, &ids)?,
        None if ids.is_empty() => Vec::new(),
        None => return Err(Failure::does_not_exist(&ids[0])),
    };
    match arguments.format {
        Format::Json => println!("{}", json!(reports.iter().map(document).collect::<Vec<_>>())),
        Format::Table => {
            for report in &reports {
                for action in &report.actions {
                    println!("{}", output::one_line(action));
                }
            }
        }
    }
    let failures: Vec<String> = reports.into_iter().filter_map(|report| report.failure).collect();
    if failures.is_empty() { Ok(Done::Well) } else { Err(Failure::new(failures.join("; "))) }
}

fn would_do(root: &crate::store::Root, ids: &[Id]) -> Result<Vec<Report>, Failure> {
    let wanted = |subject: &str| ids.is_empty() || ids.iter().any(|id| id.as_str() == subject);
    let findings = recover::examine(root)?.into_iter().filter(|finding| wanted(&finding.subject));
    let report = |finding: recover::Finding| Report {
        actions: vec![format!("{}: {}", finding.subject, finding.text)],
        subject: finding.subject,
        failure: None,
    };
    Ok(findings.map(report).collect())
}

fn document(report: &Report) -> serde_json::Value {
    json!({ "subject": report.subject, "actions": report.actions, "failure": report.failure })
}
