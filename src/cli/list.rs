//! `list`: every sandbox. One that cannot be read is told beside the others.

#![allow(clippy::disallowed_macros)] // Texts and numbers only.

use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::{Answer, Done};
use super::format::Format;
use super::state;
use crate::host::kept::root_container;
use crate::host::look;
use crate::spec::OciState;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(context: &Context, arguments: &Arguments) -> Answer {
    let seen = match context.open_root()? {
        Some(root) => look::all(&root)?,
        None => Vec::new(),
    };
    let mut documents = Vec::new();
    let mut unreadable = 0;
    for sandbox in seen {
        match sandbox {
            Ok(look::Seen { snapshot: Some(snapshot), .. }) => {
                let mut document = state::document(&snapshot);
                if let Some(container) = root_container(&snapshot) {
                    document["owner"] = json!(state::owner_name(container.owner));
                }
                documents.push(document);
            }
            Ok(seen) => {
                documents.push(OciState::of_unborn(seen.folder.name()).document(seen.phase(), 0));
            }
            Err(error) => {
                unreadable += 1;
                context.log.error(&error.into());
            }
        }
    }
    documents.sort_by_key(|document| document["id"].as_str().unwrap_or_default().to_owned());
    if arguments.quiet {
        for document in &documents {
            println!("{}", document["id"].as_str().unwrap_or_default());
        }
    } else if arguments.format == Format::Json {
        let in_order: Vec<_> = documents.iter().map(state::InOrder).collect();
        println!("{}", serde_json::to_string(&in_order).unwrap_or_default());
    } else {
        print_table(&documents);
    }
    Ok(if unreadable == 0 { Done::Well } else { Done::FoundWanting })
}

fn print_table(documents: &[serde_json::Value]) {
    const COLUMNS: [(&str, &str); 6] = [
        ("ID", "id"),
        ("PID", "pid"),
        ("STATUS", "status"),
        ("BUNDLE", "bundle"),
        ("CREATED", "created"),
        ("OWNER", "owner"),
    ];
    let mut rows: Vec<Vec<String>> = vec![COLUMNS.iter().map(|(title, _)| (*title).to_owned()).collect()];
    for document in documents {
        let cell = |key: &str| match &document[key] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        rows.push(COLUMNS.iter().map(|(_, key)| cell(key)).collect());
    }
    super::history::print_columns(&rows);
}
