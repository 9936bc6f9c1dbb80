//! sandkeep: an OCI sandbox runtime that never loses track of what it runs.
//!
//! The layers, from the bottom up; a layer imports only layers above it in this list
//! (`tests/inside/layers.rs` reads the code and holds this):
//!
//! | layer | owns |
//! |---|---|
//! | [`model`] | the states, the one transition table, `step`, the records: pure, no I/O, no clock |
//! | [`sys`] | the kernel edge, and the only `unsafe` |
//! | [`spec`] | an OCI `config.json` becomes a plan: data, validated before anything is touched |
//! | [`store`] | what is on disk: sled, snapshots, intents, locks |
//! | [`engine`] | lock, heal, step, intent, effects, commit, publish |
//! | [`control`] | the protocol between the CLI and a supervisor: frames, methods, client |
//! | [`cgroup`], [`container`] | apply a plan |
//! | [`boot`] | the supervisor, which serves the protocol: pid 1 of a sandbox |
//! | [`host`] | the engine's effects, for real |
//! | [`recover`] | what a crash left behind: found, finished or undone |
//! | [`cli`] | one file a command |

#![deny(unsafe_code, missing_docs)]
#![deny(rustdoc::broken_intra_doc_links, rustdoc::private_intra_doc_links)]
// Tests may take names for text; see clippy.toml.
#![warn(clippy::disallowed_macros, clippy::disallowed_methods)]
#![cfg_attr(test, allow(clippy::disallowed_macros, clippy::disallowed_methods))]

pub mod boot;
pub mod cgroup;
pub mod cli;
pub mod container;
pub mod control;
pub mod engine;
pub mod host;
pub mod model;
pub mod recover;
pub mod spec;
pub mod store;
pub mod sys;
