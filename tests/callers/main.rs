//! Who calls the runtime: engines, the images and users that come through them, what they parse, and the pages that users
//! read.

mod conformance;
mod containerd;
mod docker;
mod documents;
mod extensions;
mod features;
mod images;
mod interop_cli;
mod isolation_engines;
mod notify;
mod oci_state;
mod pages;
mod podman;
mod readme;
mod stdio;

use std::sync::Arc;

use support::engines::{Podman, Shared};

/// One podman for all of them.
fn podman() -> Arc<Podman> {
    static PODMAN: Shared<Podman> = Shared::new();
    PODMAN.get_or_start(Podman::start)
}
