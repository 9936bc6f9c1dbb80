//! A random sequence of operations on the real engine, over a real root and a simulated machine: effects fail, commands
//! and supervisors die, containers end. Whatever happens, healing leads to what was before or what comes after, all that
//! is remembered agrees with all that is, and deletion leaves nothing.
#![no_main]

#[allow(dead_code)] // The ordinary tests use the rest.
#[path = "../../tests/engine_support/mod.rs"]
mod engine_support;

use engine_support::sequence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sequence::run(data));
