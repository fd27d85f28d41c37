//! Why the server could not run at all.
//!
//! What goes wrong with one request or one prediction is not here: those are answers, not errors.

use std::net::SocketAddr;

/// A reason to exit with 1.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{variable} environment variable is not set. It names the model to serve, for example `predict.py:Predictor`"
    )]
    NoModel { variable: &'static str },
    #[error("`{value}` is no port number: set `PORT` to a number from 0 to 65535")]
    InvalidPort { value: String },
    #[error("`{host}` is no address to listen on")]
    InvalidHost {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "could not listen on {address}; if another process uses the port, set `PORT` to a free one"
    )]
    Bind {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("`{value}` in `{variable}` is not an open descriptor above 2")]
    InvalidDescriptor {
        variable: &'static str,
        value: String,
    },
    #[error("the descriptor in `COG_LISTEN_FD` is not a TCP socket that listens")]
    NotListening(#[source] std::io::Error),
    #[error("`{value}` in `{variable}` is not {expected}")]
    InvalidVariable {
        variable: &'static str,
        value: String,
        expected: String,
    },
    #[error("the value of `{variable}` is not UTF-8 text")]
    NotText { variable: String },
    #[error(
        "the value of `{variable}` cannot be sent in an HTTP header: remove line ends and control characters"
    )]
    NotForHeaders { variable: &'static str },
    #[error(
        "`{variable}` is empty or holds characters that a token cannot have: set a token, or unset the variable"
    )]
    InvalidAuthToken { variable: &'static str },
    #[error(
        "the workers need {needed} GPUs and `CUDA_VISIBLE_DEVICES` names {present}: lower `COG_WORKERS` or `COG_GPUS_PER_WORKER`"
    )]
    TooFewGpus { needed: usize, present: usize },
    #[error("could not start the event loop")]
    EventLoop(#[source] std::io::Error),
    #[error("could not create a directory for large values")]
    SpillDirectory(#[source] std::io::Error),
}
