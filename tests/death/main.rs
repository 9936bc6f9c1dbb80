//! Deaths and damage: of a command at any system call, of the supervisor, of the container, of what lies on disk; and races.
//! Nothing that runs is forgotten, and nothing is left.

mod crash;
mod crowded;
mod damage;
mod hooks_crash;
mod host_pid;
mod interrupt;
mod leftovers;
mod moments;
mod orphaned;
mod races;
mod soak;
mod store_loss;
mod supervisor_death;
mod traps;
