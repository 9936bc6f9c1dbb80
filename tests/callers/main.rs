//! What real images and real users bring, through an engine: each module has the podman forms of one kind of fault.

#[path = "../common/mod.rs"]
mod common;
#[path = "../engines/mod.rs"]
mod engines;

mod extensions;
mod images;
mod notify;
mod stdio;

use std::sync::Arc;

use engines::{Podman, Shared};

/// One podman for all of them.
fn podman() -> Arc<Podman> {
    static PODMAN: Shared<Podman> = Shared::new();
    PODMAN.get_or_start(Podman::start)
}
