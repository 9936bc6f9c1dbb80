//! NOTIFY_SOCKET: a service that says when it is ready.
