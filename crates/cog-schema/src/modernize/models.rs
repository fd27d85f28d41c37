//! Models of pydantic that only are so to hold any type: cog's own `BaseModel` does that.

use std::ops::Range;

use ruff_python_ast as ast;
use ruff_text_size::{Ranged, TextRange};

use super::edit::{self, Edit, bytes};
use super::imports::Imported;
use super::names::{Names, is_name};
use super::{File, Refused, change, look};
use crate::error::Result;

const PYDANTIC: &str = "pydantic";
const COG: &str = "cog";
const BASE_MODEL: &str = "BaseModel";
/// Beside pydantic's.
const COG_BASE_MODEL: &str = "CogBaseModel";
const CONFIG_DICT: &str = "ConfigDict";
const MODEL_CONFIG: &str = "model_config";
const ANY_TYPE: &str = "arbitrary_types_allowed";

/// A class that should be a model of cog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PydanticModel {
    /// Its name.
    pub class: String,
    /// Where it begins.
    pub line: usize,
}

/// The models of pydantic that allow any type.
pub fn pydantic_models(source: &str, path: &str) -> Result<Vec<PydanticModel>> {
    look(source, path, |file| {
        let found = file.pydantic_models();
        let models = found.iter().map(|model| PydanticModel {
            class: model.class.name.to_string(),
            line: file.line(&model.class.name),
        });
        models.collect()
    })
}

/// The file with these classes as models of cog.
pub fn with_cog_models(source: &str, path: &str) -> std::result::Result<String, Refused> {
    change(source, path, |file| {
        let models = file.pydantic_models();
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let names = Names::of(file.body);
        let mut edits = Vec::new();
        // What is taken away, or becomes another name.
        let mut gone: Vec<TextRange> = models.iter().map(|model| model.base.range()).collect();
        for model in &models {
            gone.push(model.configured(file, &mut edits));
        }
        let (name, import) = file.cog_base_model(&names, &gone);
        edits.extend(import);
        edits.extend(
            models
                .iter()
                .map(|model| Edit::replace(model.base, name.clone())),
        );
        let imported = file.imported();
        let unused: Vec<Imported<'_>> = imported
            .into_iter()
            .filter(|one| one.is_of_pydantic() && !names.is_used_outside(one.local(), &gone))
            .filter(|one| {
                gone.iter()
                    .any(|place| names.uses(one.local()).any(|at| place.contains_range(at)))
            })
            .collect();
        edits.extend(file.without(&unused));
        Ok(edits)
    })
}

/// A class, its base, and the setting that makes it one of these.
struct Model<'a> {
    class: &'a ast::StmtClassDef,
    base: &'a ast::Expr,
    statement: &'a ast::Stmt,
    config: &'a ast::ExprCall,
}

impl Imported<'_> {
    fn is_of_pydantic(&self) -> bool {
        match self.module {
            Some(module) => module == PYDANTIC,
            None => self.alias.name.as_str() == PYDANTIC,
        }
    }
}

impl<'a> File<'a> {
    fn pydantic_models(&self) -> Vec<Model<'a>> {
        let imported = self.imported();
        let classes = self.body.iter().filter_map(ast::Stmt::as_class_def_stmt);
        let model = |class: &'a ast::StmtClassDef| {
            let base = class
                .bases()
                .iter()
                .find(|base| is_of_pydantic(base, BASE_MODEL, &imported))?;
            let (statement, config) = class.body.iter().find_map(|statement| {
                let call = config(statement)?;
                is_of_pydantic(&call.func, CONFIG_DICT, &imported).then_some((statement, call))
            })?;
            let allows = config.arguments.keywords.iter().any(is_any_type);
            allows.then_some(Model {
                class,
                base,
                statement,
                config,
            })
        };
        classes.filter_map(model).collect()
    }

    /// What cog's model is called in this file, and the import that brings it, if it is not there.
    fn cog_base_model(&self, names: &Names<'a>, gone: &[TextRange]) -> (String, Option<Edit>) {
        let imported = self.imported();
        let of = |one: &&Imported<'a>, module: &str| {
            one.module == Some(module) && one.alias.name.as_str() == BASE_MODEL
        };
        if let Some(present) = imported.iter().find(|one| of(one, COG)) {
            return (present.local().to_owned(), None);
        }
        let of_pydantic = imported
            .iter()
            .find(|one| of(one, PYDANTIC) && !one.is_renamed());
        let own = of_pydantic.map(|one| one.alias.range());
        let is_taken = names.bindings(BASE_MODEL).any(|at| Some(at) != own)
            || own.is_some() && names.is_used_outside(BASE_MODEL, gone);
        let (local, wanted) = if is_taken {
            (COG_BASE_MODEL, format!("{BASE_MODEL} as {COG_BASE_MODEL}"))
        } else {
            (BASE_MODEL, BASE_MODEL.to_owned())
        };
        let before = imported.iter().find(|one| one.is_of_pydantic());
        let before = before.map_or(&self.body[0], |one| one.statement);
        (
            local.to_owned(),
            Some(self.with(COG, &wanted, before, |_| true)),
        )
    }
}

impl Model<'_> {
    /// Takes the setting away; returns the place of what goes.
    fn configured(&self, file: &File<'_>, edits: &mut Vec<Edit>) -> TextRange {
        let arguments = &self.config.arguments;
        let others = arguments.args.len()
            + arguments
                .keywords
                .iter()
                .filter(|keyword| !is_any_type(keyword))
                .count();
        if others > 0 {
            let args = arguments
                .args
                .iter()
                .map(|argument| (bytes(argument), false));
            let keywords = arguments
                .keywords
                .iter()
                .map(|keyword| (bytes(keyword), is_any_type(keyword)));
            let mut items: Vec<(Range<usize>, bool)> = args.chain(keywords).collect();
            items.sort_by_key(|(range, _)| range.start);
            let ranges: Vec<Range<usize>> = items.iter().map(|(range, _)| range.clone()).collect();
            edits.extend(edit::without_items(&ranges, |index| items[index].1));
            let gone = arguments
                .keywords
                .iter()
                .find(|keyword| is_any_type(keyword));
            return gone.map_or(self.base.range(), Ranged::range);
        }
        let statement = bytes(self.statement);
        edits.push(if self.class.body.len() == 1 {
            Edit::replace(self.statement, "pass")
        } else {
            edit::without_statement(file.source, &statement)
        });
        self.statement.range()
    }
}

/// `model_config = …(…)`
fn config(statement: &ast::Stmt) -> Option<&ast::ExprCall> {
    let (target, value) = match statement {
        ast::Stmt::Assign(assign) => match assign.targets.as_slice() {
            [target] => (target, Some(&assign.value)),
            _ => return None,
        },
        ast::Stmt::AnnAssign(assign) => (&*assign.target, assign.value.as_ref()),
        _ => return None,
    };
    if !is_name(target, MODEL_CONFIG) {
        return None;
    }
    value?.as_call_expr()
}

fn is_any_type(keyword: &ast::Keyword) -> bool {
    let named = keyword
        .arg
        .as_ref()
        .is_some_and(|name| name.as_str() == ANY_TYPE);
    named && matches!(&keyword.value, ast::Expr::BooleanLiteral(value) if value.value)
}

/// Whether an expression is this name of pydantic's, however it was imported.
fn is_of_pydantic(expression: &ast::Expr, name: &str, imported: &[Imported<'_>]) -> bool {
    let is_the_module = |value: &ast::Expr| {
        imported
            .iter()
            .any(|one| one.module.is_none() && one.is_of_pydantic() && is_name(value, one.local()))
    };
    match expression {
        ast::Expr::Name(local) => imported.iter().any(|one| {
            one.module == Some(PYDANTIC)
                && one.alias.name.as_str() == name
                && one.local() == local.id.as_str()
        }),
        ast::Expr::Attribute(attribute) => {
            attribute.attr.as_str() == name && is_the_module(&attribute.value)
        }
        _ => false,
    }
}
