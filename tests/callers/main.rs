//! Who calls the runtime: engines, the images and users that come through them, what they parse, and the pages that users
//! read.

mod conformance;
mod containerd;
mod docker;
mod documents;
mod engines;
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
