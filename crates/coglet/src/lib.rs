//! The in-image server: HTTP, predictions, supervised Python workers.
