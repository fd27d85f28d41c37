//! How many descriptors there are, and who may have them; and those that were handed in.
//!
//! A connection is a descriptor, and clients open as many as they like. If they had all of them, the
//! server could neither start a new worker nor fetch a file, so each kind of use has a share.

use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::OnceLock;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Error;

/// The limit as the server found it. The worker gets it back: programs that close, or select among, all
/// possible descriptors become slow, or wrong, under a high one.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// More than this is of no use: by then memory is what is short.
const ENOUGH: u64 = 1 << 20;

/// What is there for clients and for calls to others; the rest, an eighth, is for the server itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) connections: usize,
    pub(crate) calls: usize,
}

/// Raises the limit as far as allowed, which container engines leave far higher than they set it.
pub(crate) fn raise_limit() {
    let limit = *INHERITED.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: Some(limit.maximum.unwrap_or(ENOUGH).min(ENOUGH)),
        ..limit
    };
    let could_be_higher = limit
        .current
        .is_some_and(|now| raised.current.is_some_and(|then| now < then));
    if could_be_higher {
        // If that is refused, the shares are made of what there is.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// Restores the limit in a child process. Only makes a system call.
pub(crate) fn restore_limit() {
    if let Some(limit) = INHERITED.get() {
        // It is not above the limit that is in force, so it cannot be refused.
        let _ = setrlimit(Resource::Nofile, *limit);
    }
}

/// The shares of the limit that is in force.
pub(crate) fn shares() -> Shares {
    Shares::of(getrlimit(Resource::Nofile).current.unwrap_or(ENOUGH))
}

impl Shares {
    fn of(limit: u64) -> Self {
        let limit = usize::try_from(limit.min(ENOUGH)).unwrap_or(usize::MAX);
        Self {
            connections: (limit / 4 * 3).max(1),
            calls: (limit / 8).clamp(1, 512),
        }
    }
}

/// Takes over a descriptor by the number that this variable has. The worker will not have it.
pub(crate) fn inherited(variable: &'static str, number: RawFd) -> Result<OwnedFd, Error> {
    // SAFETY: only asks about the number; the call fails if nothing is open there.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(descriptor, FdFlags::CLOEXEC).map_err(|_| Error::InvalidDescriptor {
        variable,
        value: number.to_string(),
    })?;
    // SAFETY: it is open, and whoever passed its number to this process meant us to own it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_something() {
        for limit in [64, 1024, 20_000, ENOUGH, u64::MAX] {
            let shares = Shares::of(limit);
            let used = u64::try_from(shares.connections + shares.calls).unwrap();
            assert!(used <= limit - limit.min(ENOUGH) / 8, "{limit}");
        }
        let common = Shares {
            connections: 768,
            calls: 128,
        };
        assert_eq!(Shares::of(1024), common);
    }
}
