//! Locking, in one place.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data stays valid at every step, so that a panic elsewhere while it was held
/// is no reason to fail as well.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
