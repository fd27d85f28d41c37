//! A file's imports at its top level, and how they are changed.

use std::ops::Range;

use ruff_python_ast as ast;
use ruff_text_size::{Ranged, TextRange};

use super::File;
use super::edit::{self, Edit, bytes};

/// One name of an import statement.
#[derive(Clone, Copy)]
pub(super) struct Imported<'a> {
    pub(super) statement: &'a ast::Stmt,
    pub(super) alias: &'a ast::Alias,
    /// The module of `from module import …`; nothing for `import …`.
    pub(super) module: Option<&'a str>,
}

impl<'a> Imported<'a> {
    /// What it is called in this file.
    pub(super) fn local(&self) -> &'a str {
        let name = self.alias.asname.as_ref().unwrap_or(&self.alias.name);
        match self.module {
            Some(_) => name,
            // `import a.b` gives a meaning to `a`.
            None => name.split('.').next().unwrap_or_default(),
        }
    }

    /// Whether it is called otherwise than where it comes from.
    pub(super) fn is_renamed(&self) -> bool {
        self.local() != self.alias.name.as_str()
    }

    fn siblings(&self) -> &'a [ast::Alias] {
        match self.statement {
            ast::Stmt::Import(import) => &import.names,
            ast::Stmt::ImportFrom(import) => &import.names,
            _ => &[],
        }
    }
}

impl<'a> File<'a> {
    /// Names of `import …` and `from … import …`, in their order; without those of relative modules.
    pub(super) fn imported(&self) -> Vec<Imported<'a>> {
        let mut all = Vec::new();
        for statement in self.body {
            let (module, names) = match statement {
                ast::Stmt::Import(import) => (None, &import.names),
                ast::Stmt::ImportFrom(import) if import.level == 0 => (
                    import.module.as_ref().map(ast::Identifier::as_str),
                    &import.names,
                ),
                _ => continue,
            };
            all.extend(names.iter().map(|alias| Imported {
                statement,
                alias,
                module,
            }));
        }
        all
    }

    /// Takes imported names away, and statements of which none is left.
    pub(super) fn without(&self, gone: &[Imported<'_>]) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut seen: Vec<TextRange> = Vec::new();
        for one in gone {
            let statement = one.statement.range();
            if seen.contains(&statement) {
                continue;
            }
            seen.push(statement);
            let siblings = one.siblings();
            let goes = |index: usize| {
                let range = siblings[index].range();
                gone.iter().any(|gone| gone.alias.range() == range)
            };
            if (0..siblings.len()).all(goes) {
                edits.push(edit::without_statement(self.source, &bytes(statement)));
            } else {
                let items: Vec<Range<usize>> = siblings.iter().map(bytes).collect();
                edits.extend(edit::without_items(&items, goes));
            }
        }
        edits
    }

    /// Adds a name to an import from `module`, or an import of its own before `otherwise`.
    pub(super) fn with(
        &self,
        module: &str,
        name: &str,
        otherwise: &ast::Stmt,
        stays: impl Fn(&Imported<'a>) -> bool,
    ) -> Edit {
        let of_module = |one: &Imported<'a>| {
            one.module == Some(module) && one.alias.name.as_str() != "*" && stays(one)
        };
        let all = self.imported();
        let Some(last) = all.iter().rev().find(|one| of_module(one)) else {
            let start = bytes(otherwise).start;
            let end = edit::line_end(self.source);
            return Edit::insert(start, format!("from {module} import {name}{end}"));
        };
        let in_brackets = self.source[bytes(last.statement)].contains('(');
        let last = last.siblings().last().unwrap_or(last.alias);
        let after = bytes(last).end;
        let line_start = self.source[..bytes(last).start]
            .rfind('\n')
            .map_or(0, |at| at + 1);
        let indent = &self.source[line_start..bytes(last).start];
        let is_alone = !indent.is_empty() && indent.trim().is_empty();
        if in_brackets && is_alone {
            let end = edit::line_end(self.source);
            Edit::insert(after, format!(",{end}{indent}{name}"))
        } else {
            Edit::insert(after, format!(", {name}"))
        }
    }
}
