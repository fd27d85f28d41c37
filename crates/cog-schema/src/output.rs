//! Return annotations: from type to the Output component.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::error::{ErrorKind, Result, SchemaError};
use crate::input::{external_type, is_opaque, title};
use crate::json::Json;
use crate::literal;
use crate::project::{File, Found, ModelKind, Project, Resolved, alternatives};
use crate::syntax::{self, Expr, ExprKind, Field};

const TYPING: [&str; 2] = ["typing", "typing_extensions"];

pub(crate) struct Outputs<'project, 'tree> {
    pub(crate) project: &'project Project<'tree>,
}

/// An output, and whether its items come one by one.
pub(crate) struct Output {
    pub(crate) schema: Json,
    pub(crate) is_iterator: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Within,
    /// In a model, where a value may be missing.
    Field,
}

struct Typed {
    schema: Json,
    nullable: bool,
}

/// The models that a type is part of, so that one that holds itself ends.
type Path = Vec<(String, String)>;

impl Outputs<'_, '_> {
    pub(crate) fn output(&self, file: &Rc<File>, annotation: &Expr) -> Result<Output> {
        let typed = self.typed(file, annotation, Place::Top, &mut Vec::new())?;
        let mut schema = typed.schema.with("title", Json::text("Output"));
        let is_iterator = schema.member_mut("x-cog-array-type").is_some();
        Ok(Output {
            schema,
            is_iterator,
        })
    }

    fn typed(
        &self,
        file: &Rc<File>,
        annotation: &Expr,
        place: Place,
        path: &mut Path,
    ) -> Result<Typed> {
        let plain = |schema| {
            Ok(Typed {
                schema,
                nullable: false,
            })
        };
        match &annotation.kind {
            ExprKind::String(text) => match syntax::read_annotation(text) {
                Some(unquoted) if !matches!(unquoted.kind, ExprKind::String(_)) => {
                    self.typed(file, &unquoted, place, path)
                }
                _ => Err(SchemaError::unsupported(text)),
            },
            ExprKind::None => Err(external_type("None", "builtins")),
            ExprKind::Or(..) => self.union(file, &alternatives(annotation), place, path),
            ExprKind::Name(name) => self.named(file, name, path).and_then(plain),
            ExprKind::Subscript(name, arguments) => {
                self.generic(file, name, arguments, place, path)
            }
            _ => Err(SchemaError::unsupported(&annotation.text)),
        }
    }

    fn named(&self, file: &Rc<File>, name: &str, path: &mut Path) -> Result<Json> {
        let resolved = self.project.resolve(file, name);
        if let Resolved::Class(found) = &resolved
            && let Some(kind) = found.model(self.project)
        {
            return self.model(found, kind, path);
        }
        let short = name.split_once('.').map_or(name, |(_, rest)| rest);
        if let Some(schema) = primitive(short) {
            return Ok(schema);
        }
        if name == "list" || Project::is_from(file, name, &TYPING, "List") {
            return Ok(array(object()));
        }
        if is_bare_iterator(file, name, short) {
            return Err(SchemaError::unsupported(format!(
                "{short} expects exactly 1 type argument, as in `{name}[str]`"
            )));
        }
        match resolved {
            Resolved::External(module) => Err(external_type(name, &module)),
            _ => match Project::origin(file, name) {
                Some(module) => Err(external_type(name, &module)),
                None => Err(SchemaError::new(
                    ErrorKind::UnresolvableType,
                    format!(
                        "cannot resolve type '{name}' - it is not a primitive type (str, int, float, bool, Path) and \
                         no BaseModel definition was found in the predict file"
                    ),
                )),
            },
        }
    }

    fn generic(
        &self,
        file: &Rc<File>,
        name: &str,
        arguments: &[Expr],
        place: Place,
        path: &mut Path,
    ) -> Result<Typed> {
        let plain = |schema| {
            Ok(Typed {
                schema,
                nullable: false,
            })
        };
        let short = name.rsplit('.').next().unwrap_or(name);
        let is_list = name == "list" || Project::is_from(file, name, &TYPING, "List");
        match (short, arguments) {
            _ if is_list => match arguments {
                [item] => plain(array(self.within(file, item, path)?)),
                _ => Err(SchemaError::unsupported(
                    "list expects exactly 1 type argument",
                )),
            },
            ("dict" | "Dict", [_, value]) => {
                let value = self
                    .within(file, value, path)
                    .map_err(|error| error.prefixed("resolving dict value type: "))?;
                plain(Json::object([
                    ("additionalProperties", value),
                    ("type", Json::text("object")),
                ]))
            }
            ("dict" | "Dict", []) => plain(object()),
            ("dict" | "Dict", _) => Err(SchemaError::unsupported(
                "dict expects 0 or 2 type arguments",
            )),
            ("Iterator" | "AsyncIterator", [item]) => {
                let items = self.within(file, item, path)?;
                plain(array(items).with("x-cog-array-type", Json::text("iterator")))
            }
            ("Iterator" | "AsyncIterator", _) => Err(SchemaError::unsupported(
                "Iterator expects exactly 1 type argument",
            )),
            ("ConcatenateIterator" | "AsyncConcatenateIterator", [item]) => {
                plain(concatenated(item)?)
            }
            ("ConcatenateIterator" | "AsyncConcatenateIterator", _) => Err(
                SchemaError::unsupported("ConcatenateIterator expects exactly 1 type argument"),
            ),
            ("Optional", [inner]) => self.optional(file, &[inner], place, path),
            ("Union", members) => {
                let members: Vec<&Expr> = members.iter().flat_map(alternatives).collect();
                self.union(file, &members, place, path)
            }
            ("Annotated", [inner, metadata @ ..]) => {
                self.annotated(file, inner, metadata, place, path)
            }
            ("Literal", values) => literal_output(values).and_then(plain),
            ("Required" | "NotRequired", [inner]) if place == Place::Field => {
                self.typed(file, inner, place, path)
            }
            _ => Err(SchemaError::unsupported(format!(
                "{name}[...] is not a supported output type"
            ))),
        }
    }

    fn within(&self, file: &Rc<File>, annotation: &Expr, path: &mut Path) -> Result<Json> {
        self.typed(file, annotation, Place::Within, path)
            .map(|typed| typed.schema)
    }

    fn union(
        &self,
        file: &Rc<File>,
        members: &[&Expr],
        place: Place,
        path: &mut Path,
    ) -> Result<Typed> {
        let rest: Vec<&Expr> = members
            .iter()
            .filter(|member| !matches!(member.kind, ExprKind::None))
            .copied()
            .collect();
        if rest.len() < members.len() && rest.len() == 1 {
            return self.optional(file, &rest, place, path);
        }
        Err(SchemaError::unsupported(
            "union types are not supported as output",
        ))
    }

    fn optional(
        &self,
        file: &Rc<File>,
        inner: &[&Expr],
        place: Place,
        path: &mut Path,
    ) -> Result<Typed> {
        if place != Place::Field {
            return Err(SchemaError::new(
                ErrorKind::OptionalOutput,
                "unsupported output type: Optional is not allowed as a return type",
            ));
        }
        let typed = self.typed(file, inner[0], place, path)?;
        Ok(Typed {
            nullable: true,
            ..typed
        })
    }

    fn annotated(
        &self,
        file: &Rc<File>,
        inner: &Expr,
        metadata: &[Expr],
        place: Place,
        path: &mut Path,
    ) -> Result<Typed> {
        let opaque = metadata
            .iter()
            .any(|item| matches!(&item.kind, ExprKind::Name(name) if is_opaque(file, name)));
        if !opaque {
            return self.typed(file, inner, place, path);
        }
        let members = alternatives(inner);
        let optional = members.len() > 1
            && members
                .iter()
                .any(|member| matches!(member.kind, ExprKind::None));
        let optional = optional
            || matches!(&inner.kind, ExprKind::Subscript(name, _) if name.ends_with("Optional"));
        if optional && place != Place::Field {
            return self.optional(file, &members, place, path);
        }
        let is_list = |name: &str| name == "list" || Project::is_from(file, name, &TYPING, "List");
        let listed = matches!(&members[0].kind, ExprKind::Name(name) | ExprKind::Subscript(name, _) if is_list(name));
        Ok(Typed {
            schema: if listed { array(object()) } else { object() },
            nullable: optional,
        })
    }

    // Models

    fn model(&self, found: &Found, kind: ModelKind, path: &mut Path) -> Result<Json> {
        let id = (found.file.path.clone(), found.class.name.clone());
        if path.contains(&id) {
            return Ok(object());
        }
        path.push(id);
        let mut properties = Vec::new();
        let mut required = Vec::new();
        for (file, field, total) in self.fields(found, kind) {
            let typed = self
                .typed(&file, &field.annotation, Place::Field, path)
                .map_err(|error| error.prefixed(&format!("field \"{}\": ", field.name)))
                .map_err(|error| {
                    let what = format!("the field '{}' of {}", field.name, found.class.name);
                    error.at(|| file.place(field.offset, what))
                })?;
            if is_required(kind, &field, typed.nullable, total) {
                required.push(Value::from(field.name.clone()));
            }
            let mut schema = typed.schema.with("title", Json::text(&title(&field.name)));
            if typed.nullable {
                schema = schema.with("nullable", Json::Value(true.into()));
            }
            properties.push((field.name, schema));
        }
        path.pop();
        let mut schema = Json::object([
            ("properties", Json::Ordered(properties)),
            ("type", Json::text("object")),
        ]);
        if !required.is_empty() {
            schema = schema.with("required", Json::Value(Value::Array(required)));
        }
        Ok(schema)
    }

    /// The fields in order, each with its file and whether its class demands all keys. Typed dictionaries and data
    /// classes inherit; a redefined field keeps its place.
    fn fields(&self, found: &Found, kind: ModelKind) -> Vec<(Rc<File>, Field, bool)> {
        let mut fields: Vec<(Rc<File>, Field, bool)> = Vec::new();
        if kind != ModelKind::BaseModel {
            for base in &found.class.bases {
                if let ExprKind::Name(name) = &base.kind
                    && let Resolved::Class(parent) = self.project.resolve(&found.file, name)
                    && parent.class.name != found.class.name
                    && parent.model(self.project) == Some(kind)
                {
                    fields.extend(self.fields(&parent, kind));
                }
            }
        }
        let not_total = |(key, value): &(String, Expr)| {
            key == "total" && literal::value(value) == Some(false.into())
        };
        let total = !found.class.keywords.iter().any(not_total);
        for field in &found.class.fields {
            let entry = (Rc::clone(&found.file), field.clone(), total);
            match fields
                .iter_mut()
                .find(|(_, known, _)| known.name == field.name)
            {
                Some(known) => *known = entry,
                None => fields.push(entry),
            }
        }
        fields
    }
}

/// Whether `name` is an iterator that does not say of what.
fn is_bare_iterator(file: &File, name: &str, short: &str) -> bool {
    const MODULES: [&str; 4] = ["typing", "typing_extensions", "collections.abc", "cog"];
    let is_iterator = matches!(
        short,
        "Iterator" | "AsyncIterator" | "ConcatenateIterator" | "AsyncConcatenateIterator"
    );
    is_iterator && Project::is_from(file, name, &MODULES, short)
}

fn is_required(kind: ModelKind, field: &Field, nullable: bool, total: bool) -> bool {
    if kind != ModelKind::TypedDict {
        let literal_default = field
            .default
            .as_ref()
            .is_some_and(|default| literal::value(default).is_some());
        return !nullable && !literal_default;
    }
    match &field.annotation.kind {
        ExprKind::Subscript(name, _) if name.ends_with("NotRequired") => false,
        ExprKind::Subscript(name, _) if name.ends_with("Required") => true,
        _ => total,
    }
}

fn primitive(name: &str) -> Option<Json> {
    let schema = match name {
        "str" => json!({ "type": "string" }),
        "int" => json!({ "type": "integer" }),
        "float" => json!({ "type": "number" }),
        "bool" => json!({ "type": "boolean" }),
        "Path" | "File" => json!({ "format": "uri", "type": "string" }),
        "Secret" => {
            json!({ "format": "password", "type": "string", "writeOnly": true, "x-cog-secret": true })
        }
        "Any" | "dict" | "Dict" => json!({ "type": "object" }),
        _ => return None,
    };
    let Value::Object(members) = schema else {
        return None;
    };
    Some(Json::Object(
        members
            .into_iter()
            .map(|(key, value)| (key, Json::Value(value)))
            .collect(),
    ))
}

fn object() -> Json {
    Json::object([("type", Json::text("object"))])
}

fn array(items: Json) -> Json {
    Json::object([("items", items), ("type", Json::text("array"))])
}

fn concatenated(item: &Expr) -> Result<Json> {
    match &item.kind {
        ExprKind::Name(name) if name == "str" => {
            Ok(array(Json::object([("type", Json::text("string"))]))
                .with("x-cog-array-display", Json::text("concatenate"))
                .with("x-cog-array-type", Json::text("iterator")))
        }
        ExprKind::Name(name) => Err(SchemaError::new(
            ErrorKind::ConcatIteratorNotStr,
            format!("ConcatenateIterator element type must be str, got {name}"),
        )),
        _ => Err(SchemaError::unsupported(
            "ConcatenateIterator element type must be a simple type",
        )),
    }
}

fn literal_output(values: &[Expr]) -> Result<Json> {
    let unsupported = || SchemaError::unsupported("Literal[...] is not a supported output type");
    let values: Vec<Value> = values
        .iter()
        .map(literal::value)
        .collect::<Option<_>>()
        .ok_or_else(unsupported)?;
    let kind = match values.first() {
        Some(Value::String(_)) => "string",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "integer",
        _ => return Err(unsupported()),
    };
    Ok(Json::object([
        ("enum", Json::Value(Value::Array(values))),
        ("type", Json::text(kind)),
    ]))
}
