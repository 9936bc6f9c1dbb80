//! What a field of `linux.resources` asks for: a value for a file of a controller.

use std::borrow::Cow;

use crate::cgroup::{Error, Result};

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub controller: Cow<'static, str>,
    /// As in the spec, e.g. `memory.limit`.
    pub field: String,
    /// The first of these that exists is written.
    pub files: Vec<String>,
    pub value: String,
    pub need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    /// A refinement that older kernels do not have.
    IfThere,
}

impl Setting {
    pub(super) fn new(controller: &'static str, field: &str, file: &str, value: impl ToString) -> Setting {
        Setting {
            controller: controller.into(),
            field: field.to_owned(),
            files: vec![file.to_owned()],
            value: value.to_string(),
            need: Need::Must,
        }
    }
}

pub(super) fn bad<T>(field: &str, value: impl ToString, why: &'static str) -> Result<T> {
    Err(Error::BadLimit { field: field.to_owned(), value: value.to_string(), why })
}
