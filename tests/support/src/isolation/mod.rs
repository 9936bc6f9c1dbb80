//! The parts of `tests/kernel/isolation.rs`: what is laid out for the probe to find, how it comes to be inside, what the host
//! looks like before and after, and what its lines amount to.

pub mod baits;
pub mod host;
pub mod verdict;
pub mod way;
