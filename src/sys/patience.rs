//! How long this program waits for others: every deadline, in one place, so that it can be seen what adds up.
//!
//! Each is the longest: what is waited for says itself when it is there (a descriptor, a lock, a pidfd). How often something
//! is looked at again that cannot say so stands where it is looked at. Read as `patience::A_CALL`.

use std::time::Duration;

// The store.
/// For whoever holds a folder of the root: nobody does for longer than one rename.
pub const A_RENAME: Duration = Duration::from_secs(2);
/// For whoever holds `pending`: nobody does for longer than one write.
pub const A_WRITE: Duration = Duration::from_secs(2);
/// For the store, before what a command has to say goes to `pending`.
pub const THE_STORE: Duration = Duration::from_secs(10);
/// For the store's own threads to let go of its files once it is closed.
pub const THREADS_OF_THE_STORE: Duration = Duration::from_secs(1);

// Locks.
/// For another command that holds the sandbox.
pub const ANOTHER_COMMAND: Duration = Duration::from_secs(30);
/// For one that a forced deletion kills then.
pub const A_COMMAND_TO_KILL: Duration = Duration::from_secs(10);
/// For one that holds what `recover` would look at: it is in good hands.
pub const GOOD_HANDS: Duration = Duration::from_millis(200);
/// For one that holds what `recover` is to destroy after a poststart hook that failed.
pub const WHAT_RECOVER_DESTROYS: Duration = Duration::from_secs(10);
/// For one that is done in less, if nothing holds it up: an end that was only seen is put down at once or later.
pub const A_COMMAND_IN_PASSING: Duration = Duration::from_millis(100);

// A birth.
/// For a new supervisor to say that it is there; it does nothing that waits for anybody.
pub const A_SUPERVISOR_TO_BE_READY: Duration = Duration::from_secs(20);
/// For an init, for one step of its setup.
pub const A_STEP_OF_INIT: Duration = Duration::from_secs(60);
/// For a program that is about to be executed, once somebody wants us to end.
pub const A_START_WHEN_ENDING: Duration = Duration::from_secs(1);

// Whoever is asked for something.
/// For a supervisor, for one call.
pub const A_CALL: Duration = Duration::from_secs(10);
/// For a supervisor to say what it knows: a hung one must not stop anybody.
pub const A_WITNESS: Duration = Duration::from_millis(500);
/// For a freeze: processes in uninterruptible sleep freeze late.
pub const A_FREEZE: Duration = Duration::from_secs(10);
/// For a freeze to pass that only makes a signal to all exact.
pub const A_PASSING_FREEZE: Duration = Duration::from_millis(300);
/// For a freeze that only makes signalling exact.
pub const A_FREEZE_FOR_A_SIGNAL: Duration = Duration::from_secs(2);
/// For a freeze that takes the place of a door that cannot be closed.
pub const A_FREEZE_AS_A_DOOR: Duration = Duration::from_millis(200);
/// For systemd, for one call or one job: a busy machine starts many units at once.
pub const SYSTEMD: Duration = Duration::from_secs(25);
/// For a poststop hook without a timeout that outlived its command.
pub const AN_OLD_HOOK: Duration = Duration::from_secs(10);
/// For ps(1).
pub const PS: Duration = Duration::from_secs(20);

// Ends.
/// For a killed process to end. Never slept through: a pidfd says when.
pub const A_KILLED_PROCESS: Duration = Duration::from_secs(5);
/// For a child that was killed and may be in a frozen cgroup: it dies at the thaw, and nobody waits for that.
pub const A_CHILD_THAT_MAY_BE_FROZEN: Duration = Duration::from_secs(1);
/// For the kernel to let go of the cgroup of what has been seen to end: the last steps of an exit close what was open, and on
/// a small machine under load they were seen to take more than 5 s.
pub const LAST_STEPS_OF_AN_EXIT: Duration = Duration::from_secs(20);
/// For a supervisor to end after its root container has.
pub const A_SUPERVISOR_TO_END: Duration = Duration::from_secs(2);
/// For those to end that end with their supervisor.
pub const THOSE_WHO_END_TOGETHER: Duration = Duration::from_millis(500);
/// For a process that has hung up to end.
pub const WHOEVER_HUNG_UP: Duration = Duration::from_secs(2);
/// For somebody to reap a process that has ended, before its status is given up.
pub const A_REAPER: Duration = Duration::from_secs(10);
/// For a process that should have become the supervisor's child, while it is somebody else's zombie.
pub const AN_ADOPTION: Duration = Duration::from_secs(10);
/// For the last statuses of a sandbox that is ending.
pub const LAST_STATUSES: Duration = Duration::from_secs(1);

// Service managers.
/// For a service manager to see what a command has said just before its end.
pub const A_MANAGER: Duration = Duration::from_secs(5);
/// For the status of one that has ended: its caller may be who reaps it.
pub const A_STATUS: Duration = Duration::from_secs(1);
