//! The command line: one small file a command. Each parses, loads, makes one call to the engine or to the host, and prints.
//!
//! Owns what is typed and what is shown, and nothing else: a crash of a command is the engine's to heal.

#[macro_use]
mod output;

mod context;
mod create;
mod delete;
mod do_;
mod doctor;
mod events;
mod exec;
mod failure;
mod features;
mod format;
mod global;
mod history;
mod kill;
mod launch_flags;
mod list;
mod log;
mod machine;
mod pause;
mod ps;
mod recover;
mod run;
mod spec;
mod start;
mod state;
mod time;
mod typed;
mod unsupported;
mod update;
mod wait;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use context::Context;
use failure::{Answer, CodeOf, Done, Failure, exit_code};
use global::Global;
use typed::{asks_for_version, command_of};

use crate::host::descriptors;

#[derive(Parser)]
#[command(
    name = "sandkeep",
    about = "An OCI sandbox runtime that never loses track of what it runs",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a sandbox from a bundle; its application waits for start
    Create(create::Arguments),
    /// Start the application of a created sandbox
    Start(start::Arguments),
    /// Create, start, wait and delete
    Run(run::Arguments),
    /// Print the state of a sandbox as JSON
    State(state::Arguments),
    /// List all sandboxes
    List(list::Arguments),
    /// Send a signal to a sandbox's application
    Kill(kill::Arguments),
    /// Delete a stopped sandbox, or with --force any
    Delete(delete::Arguments),
    /// Run one more process in a sandbox
    Exec(Box<exec::Arguments>),
    /// Wait for the end of a sandbox and print its exit code
    Wait(wait::Arguments),
    /// List the processes of a sandbox
    Ps(ps::Arguments),
    /// Freeze every process of a sandbox
    Pause(pause::Arguments),
    /// Let a paused sandbox go on
    Resume(pause::Arguments),
    /// Print what a sandbox uses, and when it runs out of memory, as JSON
    Events(events::Arguments),
    /// Change the limits of a sandbox
    Update(Box<update::Arguments>),
    /// Write a config.json to start from
    Spec(spec::Arguments),
    /// Print what this runtime can do, as JSON
    Features,
    /// Run a command that need not be trusted, in a throw-away sandbox over a view of the host
    Do(do_::Arguments),
    /// Print the table of transitions
    Machine(machine::Arguments),
    /// Print the journal of transitions
    History(history::Arguments),
    /// Finish or undo what crashes left behind
    Recover(recover::Arguments),
    /// Look for anything out of order; exits 1 if there is
    Doctor(doctor::Arguments),
    /// Not supported
    #[command(hide = true)]
    Checkpoint(unsupported::Arguments),
    /// Not supported
    #[command(hide = true)]
    Restore(unsupported::Arguments),
    /// Not supported
    #[command(hide = true)]
    Mounts(unsupported::Arguments),
}

impl Command {
    fn code_of(&self) -> CodeOf {
        match self {
            Command::Create(_) => CodeOf::Command,
            Command::Exec(_) => CodeOf::Exec,
            _ => CodeOf::Application,
        }
    }
}

/// Everything `main` does: from arguments to an exit code.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    descriptors::raise_to_floor();
    let args: Vec<OsString> = args.collect();
    if asks_for_version(&args) {
        return print_version();
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => {
            let text = format!(
                "{} is not UTF-8, which only paths, programs, their arguments and variables may be",
                misspelt(&args)
            );
            let failure = Failure::new(text.as_str());
            log::show(&failure);
            log::record_misuse(&args, &text);
            let exec = command_of(&args).is_some_and(|name| name == "exec");
            return exit_code(&Err(failure), if exec { CodeOf::Exec } else { CodeOf::Command }).into();
        }
        Err(error) => {
            let outcome = if error.use_stderr() {
                eprintln!("{}", error.render().to_string().trim_end());
                log::record_misuse(&args, &error.to_string());
                Err(Failure::misuse(error.to_string()))
            } else {
                let _ = error.print();
                Ok(Done::Well)
            };
            return exit_code(&outcome, CodeOf::Command).into();
        }
    };
    crate::sys::signals::default_for_children();
    let context = Context::new(&cli.global);
    if let Err(failure) = context.log.open() {
        // Whoever reads nothing but the log would never learn of anything.
        log::show(&failure);
        return exit_code(&Err(failure), CodeOf::Command).into();
    }
    let began = Instant::now();
    context.log.debug(&format!("sandkeep {}, root {:?}: {:?}", env!("CARGO_PKG_VERSION"), context.root, &args[1..]));
    let code_of = cli.command.code_of();
    let outcome = run(&context, cli.command).and_then(|done| output::finish().map(|()| done));
    if let Err(failure) = &outcome {
        context.log.error(failure);
    }
    let code = exit_code(&outcome, code_of);
    context.log.debug(&format!("exit code {code} after {}", time::duration(began.elapsed().as_nanos() as i64)));
    ExitCode::from(code)
}

fn run(context: &Context, command: Command) -> Answer {
    if matches!(command, Command::Create(_) | Command::Run(_) | Command::Do(_)) {
        descriptors::check_for_container()?;
    }
    match command {
        Command::Create(arguments) => create::run(context, &arguments),
        Command::Start(arguments) => start::run(context, &arguments),
        Command::Run(arguments) => run::run(context, &arguments),
        Command::State(arguments) => state::run(context, &arguments),
        Command::List(arguments) => list::run(context, &arguments),
        Command::Kill(arguments) => kill::run(context, &arguments),
        Command::Delete(arguments) => delete::run(context, &arguments),
        Command::Exec(arguments) => exec::run(context, &arguments),
        Command::Wait(arguments) => wait::run(context, &arguments),
        Command::Ps(arguments) => ps::run(context, &arguments),
        Command::Pause(arguments) => pause::pause(context, &arguments),
        Command::Resume(arguments) => pause::resume(context, &arguments),
        Command::Events(arguments) => events::run(context, &arguments),
        Command::Update(arguments) => update::run(context, &arguments),
        Command::Spec(arguments) => spec::run(&arguments),
        Command::Features => features::run(),
        Command::Do(arguments) => do_::run(context, &arguments),
        Command::Machine(arguments) => machine::run(&arguments),
        Command::History(arguments) => history::run(context, &arguments),
        Command::Recover(arguments) => recover::run(context, &arguments),
        Command::Doctor(arguments) => doctor::run(context, &arguments),
        Command::Checkpoint(arguments) => arguments.refuse("checkpoint", unsupported::NO_SAVING),
        Command::Restore(arguments) => arguments.refuse("restore", unsupported::NO_SAVING),
        Command::Mounts(arguments) => arguments.refuse("mounts", unsupported::NO_LATER_MOUNTS),
    }
}

/// Of arguments that may not be what they are: which. A path may be anything, so it need not be the first that is no text.
fn misspelt(args: &[OsString]) -> String {
    let mut mended = args.to_vec();
    for (index, odd) in args.iter().enumerate().skip(1).filter(|(_, arg)| arg.to_str().is_none()) {
        mended[index] = odd.to_string_lossy().into_owned().into();
        if Cli::try_parse_from(&mended).is_err_and(|error| error.kind() == ErrorKind::InvalidUtf8) {
            continue;
        }
        let before = args[index - 1].to_str().filter(|flag| flag.starts_with('-') && !flag.contains('='));
        let after = before.map_or(String::new(), |flag| format!(" (after {flag})"));
        return format!("argument {index}, {odd:?}{after},");
    }
    "an argument".into()
}

/// containerd and podman read the first line; `commit:` and `spec:` as runc prints them.
fn print_version() -> ExitCode {
    println!("sandkeep version {}", env!("CARGO_PKG_VERSION"));
    println!("commit: {}", option_env!("SANDKEEP_COMMIT").unwrap_or("unknown"));
    println!("spec: {}", crate::spec::OCI_VERSION);
    ExitCode::SUCCESS
}
