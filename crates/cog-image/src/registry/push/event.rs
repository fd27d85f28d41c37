//! What a push tells of itself.

use crate::digest::Digest;
use crate::registry::transport::Wait;

/// What a push tells of itself. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushEvent {
    /// It begins.
    Started {
        /// How many blobs the repository has to have in the end.
        blobs: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A blob has to be sent.
    Sending {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
    },
    /// `done` bytes of it are on their way; fewer than before if some did not arrive.
    Advanced {
        /// The blob.
        digest: Digest,
        /// Bytes so far.
        done: u64,
    },
    /// Something went wrong, and is tried again after a pause.
    Waiting(Wait),
    /// The repository has the blob.
    Arrived {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// How it came there.
        arrival: Arrival,
    },
    /// It has ended, whether well or not.
    Ended,
}

/// How a blob came into a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Present,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// Receives [`PushEvent`]s, possibly from several threads.
pub type PushFn<'a> = &'a (dyn Fn(PushEvent) + Send + Sync);
