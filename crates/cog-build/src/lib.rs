//! Project to image: build plan, steps, step cache.
