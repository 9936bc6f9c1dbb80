//! The engine on a machine that is only simulated, over a root that is real: what the engine writes is really written,
//! and whatever it does can fail or die at any step. Used by `engine_crash` and by the fuzz target `operations`.

pub mod effects;
pub mod machine;
pub mod sequence;
pub mod world;
