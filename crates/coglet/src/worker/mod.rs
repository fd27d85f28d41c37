//! The Python process that runs the model.
//!
//! [`supervise`] decides when one is started and what its death means; a [`session`] is the life of
//! one process; a [`Worker`] is the handle that the rest of the server sends predictions through, and the
//! [`Pool`] holds those that can take some.
//! What is said on the wire is in [`protocol`].

mod capture;
mod codec;
mod directories;
mod exit;
mod handle;
mod last_words;
mod pipes;
mod pool;
pub(crate) mod protocol;
mod session;
mod spawn;
mod supervise;

pub(crate) use handle::Worker;
pub(crate) use pool::Pool;
pub(crate) use supervise::{Stop, Supervisor};
