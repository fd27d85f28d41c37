//! Defaults of parameters: what `Input(...)` or a plain value says, also when it is written once for several.

use serde_json::Value;

use super::Inputs;
use crate::error::{ErrorKind, Result, SchemaError};
use crate::literal;
use crate::project::{File, Project};
use crate::syntax::{Class, Expr, ExprKind, Import};

/// What the SDK's `Input` takes.
const KEYWORDS: [&str; 10] = [
    "default",
    "description",
    "ge",
    "le",
    "min_length",
    "max_length",
    "regex",
    "choices",
    "deprecated",
    "accept",
];

/// What `Input(...)` or a plain default says.
#[derive(Debug, Clone, Default)]
pub(super) struct Metadata {
    pub(super) default: Option<Value>,
    /// It is there, but what it is shows only when it runs.
    pub(super) computed_default: bool,
    pub(super) description: Option<String>,
    pub(super) ge: Option<f64>,
    pub(super) le: Option<f64>,
    pub(super) min_length: Option<f64>,
    pub(super) max_length: Option<f64>,
    pub(super) regex: Option<String>,
    pub(super) choices: Option<Vec<Value>>,
    pub(super) deprecated: bool,
    pub(super) accept: Option<String>,
}

impl Inputs<'_, '_> {
    pub(super) fn metadata(&self, name: &str, default: &Expr) -> Result<Metadata> {
        match &default.kind {
            ExprKind::Call {
                callee,
                arguments,
                keywords,
                ..
            } => {
                if is_input(&self.file, callee) {
                    self.check_call(name, &default.kind)?;
                    return self.input_call(name, keywords);
                }
                if let Some(metadata) = self.input_method(name, callee, arguments, keywords)? {
                    return Ok(metadata);
                }
            }
            ExprKind::Name(dotted) => {
                if let Some(metadata) = self.input_attribute(name, dotted)? {
                    return Ok(metadata);
                }
            }
            _ => {}
        }
        match self.constant(default) {
            Some(value) => Ok(Metadata {
                default: Some(value),
                ..Metadata::default()
            }),
            None => Err(SchemaError::new(
                ErrorKind::DefaultNotResolvable,
                format!(
                    "parameter '{name}': default `{}` cannot be statically resolved",
                    default.text
                ),
            )),
        }
    }

    /// A literal, or a module-level name that was last assigned one.
    fn constant(&self, expression: &Expr) -> Option<Value> {
        match &expression.kind {
            ExprKind::Name(name) => literal::value(self.assigned(name)?),
            _ => literal::value(expression),
        }
    }

    fn assigned(&self, name: &str) -> Option<&Expr> {
        self.file
            .module
            .assignments
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    fn input_call(&self, name: &str, keywords: &[(String, Expr)]) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        for (keyword, value) in keywords {
            let text = || match literal::value(value) {
                Some(Value::String(text)) => Some(text),
                _ => None,
            };
            match keyword.as_str() {
                "default" => {
                    let constant = self.constant(value);
                    metadata.computed_default = constant.is_none();
                    metadata.default = Some(constant.unwrap_or(Value::Null));
                }
                "default_factory" => {
                    return Err(SchemaError::new(
                        ErrorKind::DefaultFactoryNotSupported,
                        format!(
                            "parameter '{name}': default_factory is not supported in static schema generation"
                        ),
                    ));
                }
                "description" => {
                    metadata.description = match self.constant(value) {
                        Some(Value::String(text)) => Some(text),
                        _ => None,
                    };
                }
                "ge" => metadata.ge = literal::float(value),
                "le" => metadata.le = literal::float(value),
                "min_length" => metadata.min_length = literal::float(value),
                "max_length" => metadata.max_length = literal::float(value),
                "regex" => metadata.regex = text(),
                "accept" => metadata.accept = text(),
                "deprecated" => {
                    metadata.deprecated = literal::value(value) == Some(Value::Bool(true));
                }
                "choices" => metadata.choices = self.choices(name, value)?,
                _ => {}
            }
        }
        Ok(metadata)
    }

    /// Refuses a call that the SDK would refuse when the file is loaded. What is spread into it is not known.
    fn check_call(&self, name: &str, call: &ExprKind) -> Result<()> {
        let ExprKind::Call {
            callee,
            arguments,
            keywords,
            offset,
        } = call
        else {
            return Ok(());
        };
        if !is_input_of_sdk(&self.file, callee) {
            return Ok(());
        }
        let refuse = |what: &str| {
            let error =
                SchemaError::new(ErrorKind::InvalidConstraint, format!("{callee}() {what}"));
            let place = || self.file.place(*offset, format!("the input '{name}'"));
            Err(error.at(place))
        };
        let is_known = |keyword: &str| KEYWORDS.contains(&keyword) || keyword == "default_factory";
        if let Some((keyword, _)) = keywords.iter().find(|(keyword, _)| !is_known(keyword)) {
            return refuse(&format!(
                "takes no `{keyword}`; it takes `{}`",
                KEYWORDS.join("`, `")
            ));
        }
        if arguments
            .iter()
            .any(|argument| argument.text.starts_with('*'))
        {
            return Ok(());
        }
        match arguments.as_slice() {
            [_] if keywords.iter().any(|(keyword, _)| keyword == "default") => {
                refuse("is given its `default` twice: by its place and by its name")
            }
            [] | [_] => Ok(()),
            [_, second, ..] => refuse(&format!(
                "takes only its `default` by its place, and `{}` by its name, as `description={}`",
                KEYWORDS[1..].join("`, `"),
                second.text.lines().next().unwrap_or_default()
            )),
        }
    }

    /// `None` for `choices=None` and an empty list: no restriction.
    fn choices(&self, name: &str, expression: &Expr) -> Result<Option<Vec<Value>>> {
        if matches!(expression.kind, ExprKind::None) {
            return Ok(None);
        }
        let choices = self.choice_list(expression).ok_or_else(|| {
            let message =
                format!("parameter '{name}': choices expression cannot be statically resolved");
            SchemaError::new(ErrorKind::ChoicesNotResolvable, message)
        })?;
        Ok(Some(choices).filter(|choices| !choices.is_empty()))
    }

    fn choice_list(&self, expression: &Expr) -> Option<Vec<Value>> {
        match &expression.kind {
            ExprKind::List(items) => items.iter().map(literal::value).collect(),
            ExprKind::Add(left, right) => {
                let mut choices = self.choice_list(left)?;
                choices.extend(self.choice_list(right)?);
                Some(choices)
            }
            ExprKind::Name(name) => {
                let value = self.assigned(name)?;
                match &value.kind {
                    ExprKind::List(items) | ExprKind::Tuple(items) => {
                        items.iter().map(literal::value).collect()
                    }
                    _ => None,
                }
            }
            ExprKind::Call {
                callee, arguments, ..
            } if callee == "list" => match arguments.as_slice() {
                [
                    Expr {
                        kind: ExprKind::Call { callee, .. },
                        ..
                    },
                ] => self.dict_part(callee),
                _ => None,
            },
            _ => None,
        }
    }

    /// `D.keys` or `D.values`.
    fn dict_part(&self, callee: &str) -> Option<Vec<Value>> {
        let (name, part) = callee.rsplit_once('.')?;
        let ExprKind::Dict(pairs) = &self.assigned(name)?.kind else {
            return None;
        };
        match part {
            "keys" => pairs.iter().map(|(key, _)| literal::value(key)).collect(),
            "values" => pairs
                .iter()
                .map(|(_, value)| literal::value(value))
                .collect(),
            _ => None,
        }
    }

    // Inputs that are written once and used by several parameters

    fn holder(&self, dotted: &str) -> Option<(&Class, String)> {
        let (holder, member) = dotted.split_once('.')?;
        let class = self
            .file
            .module
            .classes
            .iter()
            .rev()
            .find(|class| class.name == holder)?;
        Some((class, member.to_owned()))
    }

    fn input_attribute(&self, name: &str, dotted: &str) -> Result<Option<Metadata>> {
        let Some((class, member)) = self.holder(dotted) else {
            return Ok(None);
        };
        let assigned = class
            .assignments
            .iter()
            .rev()
            .find(|(known, _)| *known == member)
            .map(|(_, value)| value);
        match assigned.map(|value| &value.kind) {
            Some(
                call @ ExprKind::Call {
                    callee, keywords, ..
                },
            ) if is_input(&self.file, callee) => {
                self.check_call(name, call)?;
                self.input_call(name, keywords).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn input_method(
        &self,
        name: &str,
        callee: &str,
        arguments: &[Expr],
        keywords: &[(String, Expr)],
    ) -> Result<Option<Metadata>> {
        const OVERRIDABLE: [&str; 4] = ["default", "description", "ge", "le"];
        let Some((class, member)) = self.holder(callee) else {
            return Ok(None);
        };
        let Some(method) = class
            .methods
            .iter()
            .rev()
            .find(|method| method.name == member)
        else {
            return Ok(None);
        };
        let made = method
            .returned
            .iter()
            .find_map(|returned| match &returned.kind {
                ExprKind::Call {
                    callee, keywords, ..
                } if is_input(&self.file, callee) => Some((&returned.kind, keywords)),
                _ => None,
            });
        let Some((call, made)) = made else {
            return Ok(None);
        };
        self.check_call(name, call)?;
        let named = method
            .parameters
            .iter()
            .map(|parameter| &parameter.name)
            .filter(|name| !["self", "cls"].contains(&name.as_str()));
        let positional = named.cloned().zip(arguments.iter().cloned());
        let mut combined = made.clone();
        for (keyword, value) in positional.chain(keywords.iter().cloned()) {
            if OVERRIDABLE.contains(&keyword.as_str()) {
                combined.retain(|(known, _)| *known != keyword);
                combined.push((keyword, value));
            }
        }
        self.input_call(name, &combined).map(Some)
    }
}

/// Whether it is the SDK's, and no other function that looks like it.
fn is_input_of_sdk(file: &File, callee: &str) -> bool {
    let module = &file.module;
    let is_redefined = module.functions.iter().any(|one| one.name == callee)
        || module.classes.iter().any(|one| one.name == callee)
        || module.assignments.iter().any(|(name, _)| name == callee);
    let is_star = |import: &Import| {
        import.level == 0 && import.module == "cog" && import.name.as_deref() == Some("*")
    };
    let by_star = callee == "Input" && module.imports.iter().any(is_star);
    !is_redefined && (by_star || Project::is_from(file, callee, &["cog"], "Input"))
}

fn is_input(file: &File, callee: &str) -> bool {
    callee == "Input" || Project::is_from(file, callee, &["cog"], "Input")
}

#[cfg(test)]
mod tests {
    use super::KEYWORDS;

    #[test]
    fn the_keywords_are_those_of_the_sdk() {
        let sdk = include_str!("../../../../python/cog/src/cog/input.py");
        let (_, rest) = sdk.split_once("_FIELDS = (\n").expect("it lists them");
        let (list, _) = rest.split_once("\n)").expect("the list ends");
        let words = list
            .lines()
            .map(|line| line.trim().trim_matches(['"', ',']));
        assert_eq!(words.collect::<Vec<_>>(), KEYWORDS);
    }
}
