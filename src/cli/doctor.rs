//! `doctor`: only looks; exits 1 with a list when something is out of order.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done};
use super::format::Format;
use super::output;
use crate::recover;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let findings = match context.open_root()? {
        Some(root) => recover::examine(&root)?,
        None => Vec::new(),
    };
    match arguments.format {
        Format::Json => {
            let list: Vec<_> = findings.iter().map(|f| json!({ "subject": f.subject, "text": f.text })).collect();
            println!("{}", json!(list));
        }
        Format::Table if findings.is_empty() => println!("everything is in order"),
        Format::Table => {
            for finding in &findings {
                println!("{}: {}", output::one_line(&finding.subject), output::one_line(&finding.text));
            }
            println!("`sandkeep recover` finishes or undoes what was cut short");
        }
    }
    Ok(if findings.is_empty() { Done::Well } else { Done::FoundWanting })
}
