//! The standard descriptors belong to the application's user.
