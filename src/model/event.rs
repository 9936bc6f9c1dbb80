//! What can happen: requests of a caller, and observations of the machine. Both go through the same `step`.

use std::fmt;

/// What a row of the table is for. The names are stored, and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A caller asked for a new sandbox or container.
    CreateRequested,
    /// The id is ours: make and launch it.
    LaunchRequested,
    /// `start`: execute the application.
    StartRequested,
    /// `pause`.
    PauseRequested,
    /// `resume`.
    ResumeRequested,
    /// `kill`: send a signal.
    SignalRequested,
    /// `exec`: one more process.
    ExecRequested,
    /// `exec --ignore-paused`.
    ExecWhilePausedRequested,
    /// `update`: other limits.
    UpdateRequested,
    /// `delete`: of one that has stopped.
    DeleteRequested,
    /// `delete --force`: whatever it is doing.
    ForceDeleteRequested,
    /// Observed: the process that was creating it failed or died before it was done.
    CreatorGone,
    /// Observed: the container's init is dead.
    InitExited,
    /// Observed: the supervisor is dead, and with it every process of the sandbox.
    SupervisorGone,
    /// Observed: the supervisor is dead, and what it kept runs on: in a foreign PID namespace nobody ends it.
    SupervisorLost,
}

/// What a caller may ask of a sandbox that exists and goes on. Every row of these is about the room [`super::Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeRequest {
    /// Execute the application.
    Start,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Set other limits.
    Update,
}

/// What a caller may ask that leaves nothing. Every row of these is about the room [`super::End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndRequest {
    /// One that has stopped.
    Delete,
    /// Whatever it is doing.
    ForceDelete,
}

impl From<ChangeRequest> for Event {
    fn from(request: ChangeRequest) -> Event {
        match request {
            ChangeRequest::Start => Event::StartRequested,
            ChangeRequest::Pause => Event::PauseRequested,
            ChangeRequest::Resume => Event::ResumeRequested,
            ChangeRequest::Update => Event::UpdateRequested,
        }
    }
}

impl From<EndRequest> for Event {
    fn from(request: EndRequest) -> Event {
        match request {
            EndRequest::Delete => Event::DeleteRequested,
            EndRequest::ForceDelete => Event::ForceDeleteRequested,
        }
    }
}

impl Event {
    /// Each of them once.
    pub const ALL: [Event; 15] = [
        Event::CreateRequested,
        Event::LaunchRequested,
        Event::StartRequested,
        Event::PauseRequested,
        Event::ResumeRequested,
        Event::SignalRequested,
        Event::ExecRequested,
        Event::ExecWhilePausedRequested,
        Event::UpdateRequested,
        Event::DeleteRequested,
        Event::ForceDeleteRequested,
        Event::CreatorGone,
        Event::InitExited,
        Event::SupervisorGone,
        Event::SupervisorLost,
    ];

    /// The name in the table, the intents and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Event::CreateRequested => "create-requested",
            Event::LaunchRequested => "launch-requested",
            Event::StartRequested => "start-requested",
            Event::PauseRequested => "pause-requested",
            Event::ResumeRequested => "resume-requested",
            Event::SignalRequested => "signal-requested",
            Event::ExecRequested => "exec-requested",
            Event::ExecWhilePausedRequested => "exec-while-paused-requested",
            Event::UpdateRequested => "update-requested",
            Event::DeleteRequested => "delete-requested",
            Event::ForceDeleteRequested => "force-delete-requested",
            Event::CreatorGone => "creator-gone",
            Event::InitExited => "init-exited",
            Event::SupervisorGone => "supervisor-gone",
            Event::SupervisorLost => "supervisor-lost",
        }
    }

    /// What a caller would say it asked for, in a denial: "cannot pause …".
    pub fn verb(self) -> &'static str {
        match self {
            Event::CreateRequested | Event::LaunchRequested => "create",
            Event::StartRequested => "start",
            Event::PauseRequested => "pause",
            Event::ResumeRequested => "resume",
            Event::SignalRequested => "signal",
            Event::ExecRequested | Event::ExecWhilePausedRequested => "exec in",
            Event::UpdateRequested => "update",
            Event::DeleteRequested => "delete",
            Event::ForceDeleteRequested => "force-delete",
            Event::CreatorGone | Event::InitExited | Event::SupervisorGone => "record the end of",
            Event::SupervisorLost => "give a new supervisor to",
        }
    }

    /// Whether nobody asked for it.
    pub fn is_observation(self) -> bool {
        match self {
            Event::CreatorGone | Event::InitExited | Event::SupervisorGone | Event::SupervisorLost => true,
            Event::CreateRequested
            | Event::LaunchRequested
            | Event::StartRequested
            | Event::PauseRequested
            | Event::ResumeRequested
            | Event::SignalRequested
            | Event::ExecRequested
            | Event::ExecWhilePausedRequested
            | Event::UpdateRequested
            | Event::DeleteRequested
            | Event::ForceDeleteRequested => false,
        }
    }

    /// The event of this [`Event::name`].
    pub fn parse(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
