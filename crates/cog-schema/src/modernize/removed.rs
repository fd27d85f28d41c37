//! An import that fails in newer versions of the SDK.

use ruff_python_ast as ast;
use ruff_text_size::{Ranged, TextRange};

use super::edit::{self, Edit, bytes};
use super::imports::Imported;
use super::names::Names;
use super::{File, Refused, change, look};
use crate::error::Result;

const MODULE: &str = "cog.types";
const NAME: &str = "ExperimentalFeatureWarning";

/// Such an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredImport {
    /// What is imported.
    pub name: &'static str,
    /// Where.
    pub line: usize,
}

/// The imports of what is no longer there.
pub fn expired_imports(source: &str, path: &str) -> Result<Vec<ExpiredImport>> {
    look(source, path, |file| {
        let expired = file.expired();
        let found = expired.iter().map(|one| ExpiredImport {
            name: NAME,
            line: file.line(one.statement),
        });
        found.collect()
    })
}

/// The file without these imports and what uses them.
pub fn without_expired_imports(source: &str, path: &str) -> std::result::Result<String, Refused> {
    change(source, path, |file| {
        let expired = file.expired();
        let names = Names::of(file.body);
        let mut gone: Vec<TextRange> = Vec::new();
        for one in &expired {
            for place in names.uses(one.local()) {
                gone.push(file.statement_around(place)?);
            }
        }
        gone.sort_by_key(Ranged::start);
        gone.dedup();
        let mut edits: Vec<Edit> = gone
            .iter()
            .map(|place| edit::without_statement(file.source, &bytes(place)))
            .collect();
        let only_there = |one: &Imported<'_>| {
            one.module.is_none()
                && !names.is_used_outside(one.local(), &gone)
                && names.uses(one.local()).next().is_some()
        };
        let imported = file.imported();
        let unused = imported.into_iter().filter(only_there);
        let all: Vec<Imported<'_>> = expired.iter().copied().chain(unused).collect();
        edits.extend(file.without(&all));
        Ok(edits)
    })
}

impl<'a> File<'a> {
    fn expired(&self) -> Vec<Imported<'a>> {
        let mut all = self.imported();
        all.retain(|one| one.module == Some(MODULE) && one.alias.name.as_str() == NAME);
        all
    }

    /// The statement at the top level that a use is part of, if it is one that can go with it: one that only does
    /// something, and gives no name a meaning.
    fn statement_around(&self, place: TextRange) -> std::result::Result<TextRange, Refused> {
        let mut statements = self.body.iter();
        match statements.find(|statement| statement.range().contains_range(place)) {
            Some(statement @ ast::Stmt::Expr(_)) => Ok(statement.range()),
            _ => self.refuse(
                place,
                "ExperimentalFeatureWarning is used in a way that has to be changed by hand",
            ),
        }
    }
}
