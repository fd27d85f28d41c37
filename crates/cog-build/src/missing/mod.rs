//! What to add to a project whose model, or a tool of its build, does not find something.

mod library;
mod module;

/// What to do about the library or module that `text`, the output of a model or a tool, says is missing.
pub fn advice(text: &str) -> Option<String> {
    library::advice(text).or_else(|| module::advice(text))
}
