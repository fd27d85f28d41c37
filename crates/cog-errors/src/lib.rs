//! Renders error chains with hints, and redacts secrets.
