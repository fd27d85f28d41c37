//! Annotations of parameters: from expression to type, and from type to a schema fragment.

use serde_json::{Map, Value};

use super::Inputs;
use crate::error::{ErrorKind, Result, SchemaError};
use crate::literal;
use crate::project::{File, ModelKind, Project, Resolved, alternatives};
use crate::syntax::{self, Expr, ExprKind};

#[derive(Debug, Clone)]
pub(super) struct InputType {
    pub(super) shape: Shape,
    pub(super) nullable: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    One(Kind),
    List(Kind),
    Union(Vec<Shape>),
    /// `Literal[...]`.
    Choices(Vec<Value>, Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Path,
    File,
    Secret,
    Object,
}

impl Kind {
    fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "str" => Self::String,
            "int" => Self::Integer,
            "float" => Self::Number,
            "bool" => Self::Boolean,
            "Path" => Self::Path,
            "File" => Self::File,
            "Secret" => Self::Secret,
            "Any" | "dict" | "Dict" => Self::Object,
            _ => return None,
        })
    }

    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::String | Self::Path | Self::File | Self::Secret => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
        }
    }

    fn fragment(self) -> Map<String, Value> {
        let mut fragment = Map::new();
        fragment.insert("type".into(), self.type_name().into());
        match self {
            Self::Path | Self::File => {
                fragment.insert("format".into(), "uri".into());
            }
            Self::Secret => {
                fragment.insert("format".into(), "password".into());
                fragment.insert("writeOnly".into(), true.into());
                fragment.insert("x-cog-secret".into(), true.into());
            }
            _ => {}
        }
        fragment
    }
}

impl Inputs<'_, '_> {
    pub(super) fn input_type(&self, annotation: &Expr) -> Result<InputType> {
        match &annotation.kind {
            ExprKind::String(text) => match syntax::read_annotation(text) {
                Some(unquoted) if !matches!(unquoted.kind, ExprKind::String(_)) => {
                    self.input_type(&unquoted)
                }
                _ => Err(SchemaError::unsupported(text)),
            },
            ExprKind::Or(..) => self.union(&alternatives(annotation)),
            ExprKind::Name(name) => Ok(InputType {
                shape: self.named(name)?,
                nullable: false,
            }),
            ExprKind::Subscript(name, arguments) => self.generic(name, arguments),
            ExprKind::None => Err(self.unresolvable("None")),
            _ => Err(SchemaError::unsupported(&annotation.text)),
        }
    }

    fn named(&self, name: &str) -> Result<Shape> {
        if let Resolved::Class(found) = self.project.resolve(&self.file, name) {
            return match found.model(self.project) {
                Some(ModelKind::TypedDict) => Ok(Shape::One(Kind::Object)),
                _ => match Kind::by_name(name) {
                    Some(kind) => Ok(Shape::One(kind)),
                    None => Err(SchemaError::unsupported(name)),
                },
            };
        }
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        Kind::by_name(short)
            .map(Shape::One)
            .ok_or_else(|| self.unresolvable(name))
    }

    fn generic(&self, name: &str, arguments: &[Expr]) -> Result<InputType> {
        let plain = |shape| {
            Ok(InputType {
                shape,
                nullable: false,
            })
        };
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        match (short, arguments) {
            ("dict" | "Dict", _) => plain(Shape::One(Kind::Object)),
            ("list" | "List", [item]) => self.list(item),
            ("list" | "List", _) => Err(arity("List", arguments.len())),
            ("Optional", [inner]) => self.union(&[inner, &none()]),
            ("Optional", _) => Err(arity("Optional", arguments.len())),
            ("Union", members) => {
                self.union(&members.iter().flat_map(alternatives).collect::<Vec<_>>())
            }
            ("Annotated", [inner, metadata @ ..]) => self.annotated(inner, metadata),
            ("Literal", values) => Self::literal(values).and_then(plain),
            _ => Err(SchemaError::unsupported(format!(
                "{name}[...] is not a supported input type"
            ))),
        }
    }

    fn list(&self, item: &Expr) -> Result<InputType> {
        let nested =
            || SchemaError::unsupported("nested generics like List[Optional[X]] are not supported");
        let inner = match self.input_type(item) {
            Err(error) if error.message.contains("is not supported in union inputs") => {
                return Err(error);
            }
            inner => inner?,
        };
        match inner.shape {
            Shape::One(kind) if !inner.nullable => Ok(InputType {
                shape: Shape::List(kind),
                nullable: false,
            }),
            _ => Err(nested()),
        }
    }

    fn union(&self, members: &[&Expr]) -> Result<InputType> {
        let is_none = |member: &&Expr| {
            matches!(&member.kind, ExprKind::None)
                || matches!(&member.kind, ExprKind::Name(name) if name == "None")
        };
        let nullable = members.iter().any(&is_none);
        let members: Vec<&Expr> = members
            .iter()
            .filter(|member| !is_none(member))
            .copied()
            .collect();
        match members.as_slice() {
            [] => Err(SchemaError::unsupported(
                "union inputs must include at least one non-None type",
            )),
            [one] => {
                let inner = self.input_type(one)?;
                Ok(InputType {
                    shape: inner.shape,
                    nullable: nullable || inner.nullable,
                })
            }
            several => {
                let shapes = several
                    .iter()
                    .map(|member| self.member(member))
                    .collect::<Result<_>>()?;
                Ok(InputType {
                    shape: Shape::Union(shapes),
                    nullable,
                })
            }
        }
    }

    fn member(&self, member: &Expr) -> Result<Shape> {
        let inner = self.input_type(member)?;
        if inner.nullable {
            return Err(SchemaError::unsupported(
                "nested nullable variants are not supported in union inputs",
            ));
        }
        match inner.shape {
            Shape::Union(_) => Err(SchemaError::unsupported(
                "nested union inputs are not supported",
            )),
            Shape::One(kind @ (Kind::Path | Kind::File | Kind::Secret))
            | Shape::List(kind @ (Kind::Path | Kind::File | Kind::Secret)) => Err(
                SchemaError::unsupported(format!("{kind:?} is not supported in union inputs")),
            ),
            shape => Ok(shape),
        }
    }

    fn annotated(&self, inner: &Expr, metadata: &[Expr]) -> Result<InputType> {
        let opaque = metadata
            .iter()
            .any(|item| matches!(&item.kind, ExprKind::Name(name) if is_opaque(&self.file, name)));
        if !opaque {
            return self.input_type(inner);
        }
        Ok(opaque_shape(inner))
    }

    fn literal(values: &[Expr]) -> Result<Shape> {
        let unsupported = || SchemaError::unsupported("Literal[...] is not a supported input type");
        let choices: Vec<Value> = values
            .iter()
            .map(literal::value)
            .collect::<Option<_>>()
            .ok_or_else(unsupported)?;
        let kind = choices.first().and_then(kind_of).ok_or_else(unsupported)?;
        if choices.iter().any(|choice| kind_of(choice) != Some(kind)) {
            return Err(unsupported());
        }
        Ok(Shape::Choices(choices, kind))
    }

    fn unresolvable(&self, name: &str) -> SchemaError {
        match self.project.resolve(&self.file, name) {
            Resolved::External(module) => external_type(name, &module),
            _ => match Project::origin(&self.file, name) {
                Some(module) => external_type(name, &module),
                None => SchemaError::unsupported(name),
            },
        }
    }
}

pub(super) fn shape_fragment(shape: &Shape, nullable: bool) -> Map<String, Value> {
    match shape {
        Shape::One(kind) | Shape::Choices(_, kind) => kind.fragment(),
        Shape::List(kind) => {
            let mut fragment = Map::new();
            fragment.insert("items".into(), kind.fragment().into());
            fragment.insert("type".into(), "array".into());
            fragment
        }
        Shape::Union(members) => {
            let variants: Vec<Value> = members
                .iter()
                .map(|member| {
                    let mut fragment = shape_fragment(member, false);
                    if nullable {
                        fragment.insert("nullable".into(), true.into());
                    }
                    Value::Object(fragment)
                })
                .collect();
            Map::from_iter([("anyOf".to_owned(), Value::Array(variants))])
        }
    }
}

pub(crate) fn is_opaque(file: &File, name: &str) -> bool {
    Project::is_from(file, name, &["cog"], "Opaque")
}

/// Only the container of an opaque type is looked at.
fn opaque_shape(inner: &Expr) -> InputType {
    let short = |name: &str| {
        name.split_once('.')
            .map_or(name, |(_, rest)| rest)
            .to_owned()
    };
    let members = alternatives(inner);
    let is_none = |member: &&&Expr| matches!(member.kind, ExprKind::None);
    if members.len() > 1 {
        let rest: Vec<_> = members.iter().filter(|member| !is_none(member)).collect();
        let nullable = rest.len() < members.len();
        let shape = if rest.len() == 1 {
            opaque_shape(rest[0]).shape
        } else {
            Shape::One(Kind::Object)
        };
        return InputType { shape, nullable };
    }
    match &inner.kind {
        ExprKind::Name(name) if ["list", "List"].contains(&short(name).as_str()) => InputType {
            shape: Shape::List(Kind::Object),
            nullable: false,
        },
        ExprKind::Subscript(name, arguments) => {
            match (short(name).as_str(), arguments.as_slice()) {
                ("list" | "List", _) => InputType {
                    shape: Shape::List(Kind::Object),
                    nullable: false,
                },
                ("Optional", [inner]) => InputType {
                    nullable: true,
                    ..opaque_shape(inner)
                },
                ("Union", members)
                    if members
                        .iter()
                        .any(|member| matches!(member.kind, ExprKind::None)) =>
                {
                    InputType {
                        shape: Shape::One(Kind::Object),
                        nullable: true,
                    }
                }
                _ => InputType {
                    shape: Shape::One(Kind::Object),
                    nullable: false,
                },
            }
        }
        _ => InputType {
            shape: Shape::One(Kind::Object),
            nullable: false,
        },
    }
}

fn kind_of(value: &Value) -> Option<Kind> {
    match value {
        Value::String(_) => Some(Kind::String),
        Value::Bool(_) => Some(Kind::Boolean),
        Value::Number(number) if number.is_f64() => Some(Kind::Number),
        Value::Number(_) => Some(Kind::Integer),
        _ => None,
    }
}

fn none() -> Expr {
    Expr {
        kind: ExprKind::None,
        text: "None".into(),
    }
}

fn arity(name: &str, got: usize) -> SchemaError {
    SchemaError::unsupported(format!("{name} expects exactly 1 type argument, got {got}"))
}

pub(crate) fn external_type(name: &str, module: &str) -> SchemaError {
    let message = format!(
        "cannot resolve type '{name}' (imported from '{module}') - external types cannot be statically analyzed. If \
         this is a JSON-shaped third-party type, mark it opaque with `from typing import Annotated`, `from cog import \
         Opaque`, and `field: Annotated[{name}, Opaque]`. Otherwise define it as a BaseModel subclass in your predict \
         file, or provide a .pyi stub"
    );
    SchemaError::new(ErrorKind::UnresolvableType, message)
}
