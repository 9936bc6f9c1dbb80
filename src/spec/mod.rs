//! An OCI `config.json` becomes a [`plan::Plan`]: data, validated whole before anything is touched.

pub mod plan;
