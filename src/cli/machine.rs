//! `machine`: the table of transitions, for people and for tools.

use clap::{Args, ValueEnum};

use super::failure::{Answer, Done};
use crate::model::machine;

#[derive(Args)]
pub struct Arguments {
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
    Dot,
    Mermaid,
}

pub fn run(arguments: &Arguments) -> Answer {
    let format = match arguments.format {
        Format::Table => machine::Format::Table,
        Format::Json => machine::Format::Json,
        Format::Dot => machine::Format::Dot,
        Format::Mermaid => machine::Format::Mermaid,
    };
    print!("{}", machine::render(format));
    Ok(Done::Well)
}
