//! Python source to OpenAPI document; no Python is run.
