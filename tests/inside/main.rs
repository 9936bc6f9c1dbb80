//! What only the inside can be asked: the model as a whole, the engine on a simulated machine, the supervisor's loop; and
//! rules that the code and its files keep.

#[path = "../engine_support/mod.rs"]
mod engine_support;

mod by_descriptor;
mod code;
mod dependencies;
mod engine_crash;
mod imports;
mod layers;
mod model_properties;
mod state_schema;
mod supervisor;
