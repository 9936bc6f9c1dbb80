//! Annotations and options that engines and users know from crun.
