//! Runs workloads: in containers of our own, or on the host.
