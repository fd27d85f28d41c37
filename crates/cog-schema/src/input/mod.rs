//! Parameters: from annotation and default to a property of the Input component.
//!
//! `types` reads the annotation, `defaults` the default; here they become the property.

mod defaults;
mod types;

use std::rc::Rc;

use serde_json::{Map, Value, json};

use self::defaults::Metadata;
use self::types::{InputType, Kind, Shape, shape_fragment};
pub(crate) use self::types::{external_type, is_opaque};
use crate::error::{ErrorKind, Place, Result, SchemaError};
use crate::json::Json;
use crate::project::{File, Project};
use crate::syntax::{Expr, Function, Parameter};

pub(crate) struct Inputs<'project, 'tree> {
    pub(crate) project: &'project Project<'tree>,
    pub(crate) file: Rc<File>,
}

/// One parameter, ready for the document.
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) schema: Json,
    pub(crate) place: Place,
    /// The component that holds its choices.
    pub(crate) choices: Option<Json>,
    pub(crate) required: bool,
}

impl Inputs<'_, '_> {
    pub(crate) fn properties(&self, function: &Function) -> Result<Vec<Property>> {
        let place = |offset, what| self.file.place(offset, what);
        let whole = || place(function.offset, format!("{}()", function.name));
        let of = |parameter: &Parameter| {
            let what = format!("the input '{}' of {}()", parameter.name, function.name);
            place(parameter.offset, what)
        };
        if let Some(rest) = &function.typed_rest {
            let message = format!(
                "parameter '{rest}' on {} names no input (typed_parameter has no identifier): give each input a \
                 parameter of its own",
                function.name
            );
            return Err(SchemaError::new(ErrorKind::Other, message).at(whole));
        }
        let mut properties = Vec::new();
        for parameter in &function.parameters {
            match (&parameter.annotation, &parameter.default) {
                (Some(annotation), _) => {
                    let property = self.property(parameter, annotation, properties.len());
                    properties.push(property.map_err(|error| error.at(|| of(parameter)))?);
                }
                (None, Some(_)) => {
                    let message = format!(
                        "parameter '{}' on {} has no type annotation",
                        parameter.name, function.name
                    );
                    let error = SchemaError::new(ErrorKind::MissingTypeAnnotation, message);
                    return Err(error.at(|| of(parameter)));
                }
                // The object that a method is called on.
                (None, None) if parameter.name == "self" => {}
                (None, None) => self.project.warnings.borrow_mut().push(format!(
                    "parameter '{name}' on {} is no input, because it has no type annotation, and predictions will \
                     fail without it: write for example `{name}: str`",
                    function.name,
                    name = parameter.name,
                )),
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
        if metadata.default == Some(Value::Null) && !input.nullable {
            self.warn_of_default(parameter, annotation, &metadata);
        }
        metadata.default = metadata
            .default
            .filter(|default| !default.is_null() || input.nullable);
        let is_union = matches!(input.shape, Shape::Union(_));
        Ok(Property {
            required: metadata.default.is_none() && (is_union || !optional),
            choices: choices(&input, &metadata).map(|(choices, kind)| {
                Json::Value(json!({
                    "description": "An enumeration.", "enum": choices, "title": name, "type": kind.type_name(),
                }))
            }),
            schema: Json::Value(Value::Object(fragment(name, order, &input, metadata))),
            place: self.file.place(parameter.offset, format!("the input '{name}'")),
            name: name.clone(),
        })
    }
}

impl Inputs<'_, '_> {
    /// What Python would take for a default is none for clients.
    fn warn_of_default(&self, parameter: &Parameter, annotation: &Expr, metadata: &Metadata) {
        let (name, kind) = (&parameter.name, &annotation.text);
        let file = &self.file;
        let place = format!("{}, line {}", file.path, file.module.line(parameter.offset));
        let advice = if metadata.computed_default {
            "its default is not written out: write a literal".to_owned()
        } else {
            format!("its default is None: write `{name}: Optional[{kind}]` if it may be left out")
        };
        self.project.warnings.borrow_mut().push(format!(
            "{place}: the input '{name}' has to be given, although {advice}"
        ));
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

/// The values that are allowed, from `choices=` or else from `Literal[...]`, and their type.
fn choices<'a>(input: &'a InputType, metadata: &'a Metadata) -> Option<(&'a [Value], Kind)> {
    match (&input.shape, &metadata.choices) {
        (Shape::Choices(choices, kind), None) => Some((choices, *kind)),
        (Shape::One(kind) | Shape::List(kind) | Shape::Choices(_, kind), Some(choices)) => {
            Some((choices, *kind))
        }
        _ => None,
    }
}

fn fragment(name: &str, order: usize, input: &InputType, metadata: Metadata) -> Map<String, Value> {
    let mut fragment = Map::new();
    if choices(input, &metadata).is_some() {
        let component = json!([{ "$ref": format!("#/components/schemas/{name}") }]);
        fragment.insert("allOf".into(), component);
    } else {
        fragment.extend(shape_fragment(&input.shape, input.nullable));
        fragment.insert("title".into(), title(name).into());
    }
    fragment.insert("x-order".into(), order.into());
    let optional = [
        ("default", metadata.default),
        ("nullable", input.nullable.then_some(true.into())),
        ("description", metadata.description.map(Value::from)),
        ("minimum", metadata.ge.map(Value::from)),
        ("maximum", metadata.le.map(Value::from)),
        ("minLength", metadata.min_length.map(Value::from)),
        ("maxLength", metadata.max_length.map(Value::from)),
        ("pattern", metadata.regex.map(Value::from)),
        ("deprecated", metadata.deprecated.then_some(true.into())),
        ("x-cog-accept", metadata.accept.map(Value::from)),
    ];
    fragment.extend(
        optional
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?))),
    );
    fragment
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
