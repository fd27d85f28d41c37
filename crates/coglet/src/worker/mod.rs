//! The Python process that runs the model.
//!
//! [`supervise`] decides when one is started and what its death means; a [`session`] is the life of
//! one process; a [`Worker`] is the handle that the rest of the server sends predictions through, and the
//! [`Pool`] holds those that can take some.
//! Whom they tell what happens is an [`Owner`], so nothing here knows what becomes of it.
//! What is said on the wire is in [`crate::protocol`].

mod capture;
mod directories;
mod exit;
mod handle;
mod last_words;
mod owner;
mod pipes;
mod pool;
mod session;
mod spawn;
mod supervise;

pub(crate) use handle::Worker;
pub(crate) use owner::{GivenUp, Owner};
pub(crate) use pool::Pool;
pub(crate) use supervise::{Stop, Supervisor, Wish};
