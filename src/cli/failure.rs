//! How a command ends: for the user one line of what failed, for its caller an exit code.

use crate::cgroup;
use crate::engine::EngineError;
use crate::host::{HostError, rootless};
use crate::model::Id;
use crate::sys::interrupt::{self, Interrupts};
use crate::sys::privilege::descriptor_limits;
use crate::sys::told;

pub type Answer = Result<Done, Failure>;

/// What was asked for was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    Well,
    /// And what was looked at is not as it should be, as was told.
    FoundWanting,
    /// The application's exit code, or 128 and the signal that ended it.
    Application(u8),
}

pub struct Failure {
    pub text: String,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Plain,
    /// What was typed is no command.
    Misuse,
    /// The program that was to be run cannot be: not found, or not executable. What a shell exits with.
    Program(u8),
    /// By a signal to us: that is the exit code, whatever was under way.
    Interrupted(i32),
    /// The application had been ended, like this, before that was seen.
    ApplicationEnded(u8),
    TimeUp,
}

/// What the callers of a command take its exit code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOf {
    /// `create`: there is no application yet whose code could be meant. Callers expect 1.
    Command,
    /// `exec`: its failure can be told from the code of its process, as with runc.
    Exec,
    /// All others: `run` and `do` end as a shell that runs the application.
    Application,
}

/// The one place where exit codes are made.
pub fn exit_code(answer: &Answer, of: CodeOf) -> u8 {
    let failure = match answer {
        Ok(Done::Well) => return 0,
        Ok(Done::FoundWanting) => return 1,
        Ok(Done::Application(code)) => return *code,
        Err(failure) => failure,
    };
    match (failure.why, of) {
        (Why::Interrupted(signal), _) => 128 + signal as u8,
        (Why::Misuse, _) | (_, CodeOf::Command) => 1,
        (_, CodeOf::Exec) => 255,
        (Why::Plain, CodeOf::Application) => 1,
        (Why::Program(code) | Why::ApplicationEnded(code), CodeOf::Application) => code,
        // That of timeout(1).
        (Why::TimeUp, CodeOf::Application) => 124,
    }
}

impl Failure {
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), why: Why::Plain }
    }

    pub fn does_not_exist(id: &Id) -> Failure {
        HostError::Absent { id: id.clone() }.into()
    }

    pub fn misuse(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), why: Why::Misuse }
    }

    /// Somebody has ended us, and what we waited for was not to be taken back.
    pub fn interrupted(text: impl Into<String>, signal: i32) -> Failure {
        Failure { text: text.into(), why: Why::Interrupted(signal) }
    }

    pub fn time_up(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), why: Why::TimeUp }
    }

    /// A signal that goes to a whole process group, as a key does, may have ended what we were making before we looked: that
    /// is then the reason.
    pub fn or_interrupted(self) -> Failure {
        match interrupt::current().and_then(Interrupts::ending) {
            Some(signal) => self.because(Why::Interrupted(signal)),
            None => self,
        }
    }

    /// The application had run, and was ended with this code.
    pub fn after_application(self, code: u8) -> Failure {
        self.because(Why::ApplicationEnded(code))
    }

    fn because(self, why: Why) -> Failure {
        match self.why {
            Why::Interrupted(_) => self,
            _ => Failure { why, ..self },
        }
    }

    /// It is told as a shell tells it, and callers make their own sentence of it.
    pub fn is_of_program(&self) -> bool {
        matches!(self.why, Why::Program(_))
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Failure {
        let why = match (error.signal(), error.exit_code()) {
            (Some(signal), _) => Why::Interrupted(signal),
            (None, code @ (126 | 127)) => Why::Program(code),
            (None, _) => Why::Plain,
        };
        let mut text = told(&error);
        if matches!(error, HostError::Cgroup(cgroup::Error::NoController { .. }))
            && (rootless::inside() || rootless::needed())
        {
            text.push_str(": that takes root, or a cgroup that is delegated to this user");
        }
        Failure { text, why }
    }
}

impl From<EngineError<HostError>> for Failure {
    fn from(error: EngineError<HostError>) -> Failure {
        match error {
            EngineError::Effect(error) => error.into(),
            other => Failure::new(told(&other)),
        }
    }
}

/// With what to do about a limit that is in the way, wherever it was met.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let text = told::on_one_line(error);
    match descriptor_limits() {
        Ok((soft, hard)) if text.ends_with("too many open files") => {
            format!(
                "{text} ({soft} may be open, at most {hard}: raise that, with ulimit -n or LimitNOFILE= of a service)"
            )
        }
        _ => text,
    }
}

macro_rules! plain {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::new(told(&error))
            }
        }
    )*};
}

plain!(
    crate::model::id::IdError,
    crate::model::Denial,
    crate::spec::SpecError,
    crate::store::StoreError,
    crate::store::LockError,
    crate::cgroup::Error,
    crate::host::LookError,
    crate::control::ControlError,
    crate::container::seccomp::CompileError,
    std::io::Error
);

#[cfg(test)]
mod tests {
    use super::*;

    fn code(why: Why, of: CodeOf) -> u8 {
        exit_code(&Err(Failure { text: String::new(), why }), of)
    }

    #[test]
    fn every_outcome_has_its_exit_code() {
        use CodeOf::*;
        for (why, of_command, of_exec, of_application) in [
            (Why::Plain, 1, 255, 1),
            (Why::Misuse, 1, 1, 1),
            (Why::Program(127), 1, 255, 127),
            (Why::Interrupted(15), 143, 143, 143),
            (Why::ApplicationEnded(137), 1, 255, 137),
            (Why::TimeUp, 1, 255, 124),
        ] {
            let codes = [Command, Exec, Application].map(|of| code(why, of));
            assert_eq!(codes, [of_command, of_exec, of_application], "{why:?}");
        }
        let done = |done| exit_code(&Ok(done), Exec);
        assert_eq!([Done::Well, Done::FoundWanting, Done::Application(255)].map(done), [0, 1, 255]);
    }

    #[test]
    fn whoever_ended_us_is_the_reason_whatever_else_is_found() {
        let failure = Failure::interrupted("", 2).after_application(137);
        assert_eq!(exit_code(&Err(failure), CodeOf::Application), 130);
        let failure = Failure::new("").after_application(137);
        assert_eq!(exit_code(&Err(failure), CodeOf::Application), 137);
    }
}
