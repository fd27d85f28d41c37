//! Parameters: from annotation and default to a property of the Input component.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use crate::error::{ErrorKind, Result, SchemaError};
use crate::json::Json;
use crate::literal;
use crate::project::{File, ModelKind, Project, Resolved, alternatives};
use crate::syntax::{self, Class, Expr, ExprKind, Function, Parameter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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

    fn type_name(self) -> &'static str {
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

#[derive(Debug, Clone)]
enum Shape {
    One(Kind),
    List(Kind),
    Union(Vec<Shape>),
    /// `Literal[...]`.
    Choices(Vec<Value>, Kind),
}

#[derive(Debug, Clone)]
struct InputType {
    shape: Shape,
    nullable: bool,
}

/// What `Input(...)` or a plain default says.
#[derive(Debug, Clone, Default)]
struct Metadata {
    default: Option<Value>,
    description: Option<String>,
    ge: Option<f64>,
    le: Option<f64>,
    min_length: Option<f64>,
    max_length: Option<f64>,
    regex: Option<String>,
    choices: Option<Vec<Value>>,
    deprecated: bool,
    accept: Option<String>,
}

/// One parameter, ready for the document.
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) schema: Json,
    /// The component that holds its choices.
    pub(crate) choices: Option<Json>,
    pub(crate) required: bool,
}

pub(crate) struct Inputs<'project, 'tree> {
    pub(crate) project: &'project Project<'tree>,
    pub(crate) file: Rc<File>,
}

impl Inputs<'_, '_> {
    pub(crate) fn properties(&self, function: &Function) -> Result<Vec<Property>> {
        if function.typed_rest {
            return Err(SchemaError::new(
                ErrorKind::Other,
                "typed_parameter has no identifier",
            ));
        }
        let mut properties = Vec::new();
        for parameter in &function.parameters {
            match (&parameter.annotation, &parameter.default) {
                (Some(annotation), _) => {
                    properties.push(self.property(parameter, annotation, properties.len())?);
                }
                (None, Some(_)) => {
                    let message = format!(
                        "parameter '{}' on {} has no type annotation",
                        parameter.name, function.name
                    );
                    return Err(SchemaError::new(ErrorKind::MissingTypeAnnotation, message));
                }
                (None, None) => {}
            }
        }
        Ok(properties)
    }

    fn property(&self, parameter: &Parameter, annotation: &Expr, order: usize) -> Result<Property> {
        let name = &parameter.name;
        let mut input = self.input_type(annotation)?;
        let mut metadata = match &parameter.default {
            Some(default) => self.metadata(name, default)?,
            None => Metadata::default(),
        };
        check_constraints(name, &input, &metadata)?;
        let optional = input.nullable;
        if matches!(input.shape, Shape::One(Kind::Secret)) && metadata.default == Some(Value::Null)
        {
            input.nullable = true;
        }
        let default = metadata
            .default
            .take()
            .filter(|default| !default.is_null() || input.nullable);
        let is_union = matches!(input.shape, Shape::Union(_));
        let required = default.is_none() && (is_union || !optional);
        Ok(build_property(
            name, order, &input, &metadata, default, required,
        ))
    }

    // Annotations

    fn input_type(&self, annotation: &Expr) -> Result<InputType> {
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

    // Defaults

    fn metadata(&self, name: &str, default: &Expr) -> Result<Metadata> {
        match &default.kind {
            ExprKind::Call {
                callee,
                arguments,
                keywords,
            } => {
                if is_input(&self.file, callee) {
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
                "default" => metadata.default = Some(self.constant(value).unwrap_or(Value::Null)),
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
            Some(ExprKind::Call {
                callee, keywords, ..
            }) if is_input(&self.file, callee) => self.input_call(name, keywords).map(Some),
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
                } if is_input(&self.file, callee) => Some(keywords),
                _ => None,
            });
        let Some(made) = made else { return Ok(None) };
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

fn build_property(
    name: &str,
    order: usize,
    input: &InputType,
    metadata: &Metadata,
    default: Option<Value>,
    required: bool,
) -> Property {
    let mut fragment = Map::new();
    let choices = match (&input.shape, &metadata.choices) {
        (Shape::Choices(choices, kind), None) => Some((choices.clone(), *kind)),
        (Shape::One(kind) | Shape::List(kind) | Shape::Choices(_, kind), Some(choices)) => {
            Some((choices.clone(), *kind))
        }
        _ => None,
    };
    match (&choices, &input.shape) {
        (Some(_), _) => {
            fragment.insert(
                "allOf".into(),
                json!([{ "$ref": format!("#/components/schemas/{name}") }]),
            );
        }
        (None, shape) => {
            fragment.extend(shape_fragment(shape, input.nullable));
            fragment.insert("title".into(), title(name).into());
        }
    }
    fragment.insert("x-order".into(), order.into());
    let optional = [
        ("default", default),
        ("nullable", input.nullable.then_some(Value::Bool(true))),
        ("description", metadata.description.clone().map(Value::from)),
        ("minimum", metadata.ge.map(Value::from)),
        ("maximum", metadata.le.map(Value::from)),
        ("minLength", metadata.min_length.map(Value::from)),
        ("maxLength", metadata.max_length.map(Value::from)),
        ("pattern", metadata.regex.clone().map(Value::from)),
        (
            "deprecated",
            metadata.deprecated.then_some(Value::Bool(true)),
        ),
        ("x-cog-accept", metadata.accept.clone().map(Value::from)),
    ];
    fragment.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
    let component = choices.map(|(choices, kind)| {
        Json::Value(json!({
            "description": "An enumeration.", "enum": choices, "title": name, "type": kind.type_name(),
        }))
    });
    Property {
        name: name.to_owned(),
        schema: Json::Value(Value::Object(fragment)),
        choices: component,
        required,
    }
}

fn shape_fragment(shape: &Shape, nullable: bool) -> Map<String, Value> {
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

fn check_constraints(name: &str, input: &InputType, metadata: &Metadata) -> Result<()> {
    let constrained = metadata.ge.is_some()
        || metadata.le.is_some()
        || metadata.min_length.is_some()
        || metadata.max_length.is_some()
        || metadata.regex.is_some()
        || metadata.choices.is_some();
    if constrained && matches!(input.shape, Shape::Union(_)) {
        return Err(SchemaError::unsupported(
            "constraints and choices are not supported on union inputs",
        ));
    }
    let is_file = matches!(
        input.shape,
        Shape::One(Kind::Path | Kind::File) | Shape::List(Kind::Path | Kind::File)
    );
    if metadata.accept.is_some() && !is_file {
        let message = format!("accept is only valid on Path or File inputs (parameter '{name}')");
        return Err(SchemaError::new(ErrorKind::AcceptOnNonFileType, message));
    }
    Ok(())
}

fn is_input(file: &File, callee: &str) -> bool {
    callee == "Input" || Project::is_from(file, callee, &["cog"], "Input")
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

/// `segmented_image` as `Segmented Image`.
pub(crate) fn title(name: &str) -> String {
    let capital = |piece: &str| {
        let mut characters = piece.chars();
        characters
            .next()
            .map(|first| first.to_uppercase().chain(characters).collect::<String>())
            .unwrap_or_default()
    };
    name.split('_').map(capital).collect::<Vec<_>>().join(" ")
}
