//! What is old in a model's Python file, and the same file with that made new: for `cog doctor`.
//!
//! Each part finds something and gives the text that fixes it, or why it cannot. What is not part of a fix keeps its
//! letters: formatting, comments, line ends. Nothing here reads or writes files, and no Python is run.

mod edit;
mod imports;
mod models;
mod names;
mod removed;
mod runner;
mod survey;

use ruff_python_ast as ast;

pub use models::{PydanticModel, pydantic_models, with_cog_models};
pub use removed::{ExpiredImport, expired_imports, without_expired_imports};
pub use runner::{importers, old_runner, to_runner};
pub use survey::{Survey, survey};

use crate::error::Result;
use crate::syntax;

/// Why a file cannot be changed by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A file with its tree, for as long as that is looked at.
struct File<'a> {
    path: &'a str,
    source: &'a str,
    body: &'a [ast::Stmt],
}

impl File<'_> {
    /// The line, counted from 1, of a place in the file.
    fn line(&self, at: impl ruff_text_size::Ranged) -> usize {
        let before = self.source.get(..at.start().to_usize()).unwrap_or_default();
        before.matches('\n').count() + 1
    }

    fn refuse<T>(
        &self,
        at: impl ruff_text_size::Ranged,
        why: &str,
    ) -> std::result::Result<T, Refused> {
        Err(Refused::new(format!(
            "{why} ({}:{})",
            self.path,
            self.line(at)
        )))
    }
}

/// What can be recognised in a file, whether it is all Python or not.
fn look<T: Send>(source: &str, path: &str, work: impl FnOnce(&File<'_>) -> T + Send) -> Result<T> {
    syntax::parsed(source, path, |parsed| {
        work(&File {
            path,
            source,
            body: &parsed.syntax().body,
        })
    })
}

/// The file's new text. One that Python cannot read stays as it is.
fn change(
    source: &str,
    path: &str,
    work: impl FnOnce(&File<'_>) -> std::result::Result<Vec<edit::Edit>, Refused> + Send,
) -> std::result::Result<String, Refused> {
    let edits = syntax::parsed(source, path, |parsed| {
        if let Some(error) = syntax::syntax_error(source, path, parsed.errors()) {
            return Err(Refused::new(error.message));
        }
        work(&File {
            path,
            source,
            body: &parsed.syntax().body,
        })
    });
    let edits = edits.map_err(|error| Refused::new(error.message))??;
    let changed = edit::applied(source, edits);
    match syntax::parsed(&changed, path, |parsed| parsed.errors().is_empty()) {
        Ok(true) => Ok(changed),
        // Whatever went wrong, a broken file is worse than an old one.
        Ok(false) | Err(_) => Err(Refused::new(format!("{path} has to be changed by hand"))),
    }
}

#[cfg(test)]
mod tests;
