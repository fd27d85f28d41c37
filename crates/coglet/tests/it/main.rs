//! The server as its users see it: the real binary, real Python models, real sockets.
//!
//! Tests whose names begin with a number check the conformance case of that number.
#![expect(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "tests are written for reading, and may panic"
)]

mod access_log;
mod auth;
mod bad_input;
mod bounds;
mod cancel;
mod clients;
mod concurrency;
mod crash;
mod cut_off;
mod events;
mod files;
mod generations;
mod healthcheck;
mod http;
mod lifecycle;
mod logs;
mod metrics;
mod modules;
mod playground;
mod private_urls;
mod probes;
mod queue;
mod receiver;
mod reference;
mod reload;
mod requests;
mod scratch;
mod secrets;
mod server;
mod setup;
mod shutdown;
mod status;
mod timeouts;
mod tracing;
mod uploads;
mod webhooks;
mod workers;
