//! A file as far as schemas care: top-level classes, functions, imports and assignments.
//!
//! The only module that knows the parser's own tree. Broken source gives what can be recognised.

use ruff_python_ast as ast;
use ruff_python_ast::PySourceType;
use ruff_python_parser::{ParseError, Parsed};
use ruff_text_size::Ranged;

use crate::error::{ErrorKind, Result, SchemaError};

/// The parser and the dropping of its tree use the stack in proportion to nesting, of which a file has at most its
/// length; this much source fits the stack of [`on_large_stack`].
const MAX_SOURCE_BYTES: usize = 1024 * 1024;
const STACK_BYTES: usize = 1024 * 1024 * 1024;
/// Python itself refuses deeper brackets.
const MAX_BRACKETS: usize = 200;

#[derive(Debug, Default)]
pub(crate) struct Module {
    pub(crate) classes: Vec<Class>,
    pub(crate) functions: Vec<Function>,
    pub(crate) imports: Vec<Import>,
    pub(crate) assignments: Vec<(String, Expr)>,
    /// The first thing in it that is no Python.
    pub(crate) error: Option<SchemaError>,
    /// Where its lines end, in bytes.
    line_ends: Vec<usize>,
}

impl Module {
    /// The line, counted from 1, of a place in bytes.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_ends.partition_point(|end| *end < offset) + 1
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Class {
    /// Where its name is in the file, in bytes.
    pub(crate) offset: usize,
    pub(crate) name: String,
    pub(crate) bases: Vec<Expr>,
    pub(crate) keywords: Vec<(String, Expr)>,
    pub(crate) decorators: Vec<Expr>,
    pub(crate) methods: Vec<Function>,
    pub(crate) fields: Vec<Field>,
    pub(crate) assignments: Vec<(String, Expr)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) annotation: Expr,
    pub(crate) default: Option<Expr>,
    /// Where it is in the file, in bytes.
    pub(crate) offset: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Where its name is in the file, in bytes.
    pub(crate) offset: usize,
    pub(crate) name: String,
    pub(crate) is_async: bool,
    pub(crate) decorators: Vec<Expr>,
    pub(crate) parameters: Vec<Parameter>,
    /// `*args` or `**kwargs`, if it has an annotation.
    pub(crate) typed_rest: Option<String>,
    pub(crate) returns: Option<Expr>,
    /// What the body returns by statements of its own level.
    pub(crate) returned: Vec<Expr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    /// Where it is in the file, in bytes.
    pub(crate) offset: usize,
    pub(crate) name: String,
    pub(crate) annotation: Option<Expr>,
    pub(crate) default: Option<Expr>,
}

/// `import module as local`, or `from module import name as local`.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    pub(crate) local: String,
    pub(crate) module: String,
    /// Leading dots.
    pub(crate) level: u32,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    /// Its source text.
    pub(crate) text: String,
}

#[derive(Debug, Clone)]
pub(crate) enum ExprKind {
    /// `a` or `a.b.c`.
    Name(String),
    /// `name[a, b]`.
    Subscript(String, Vec<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Add(Box<Expr>, Box<Expr>),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    None,
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    List(Vec<Expr>),
    Set(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Call {
        callee: String,
        arguments: Vec<Expr>,
        keywords: Vec<(String, Expr)>,
        /// Where it is in the file, in bytes.
        offset: usize,
    },
    Other,
}

/// Reads a file.
pub(crate) fn read(source: &str, path: &str) -> Result<Module> {
    parsed(source, path, |parsed| {
        let mut module = Module {
            error: syntax_error(source, path, parsed.errors()),
            line_ends: source.match_indices('\n').map(|(at, _)| at).collect(),
            ..Module::default()
        };
        let reader = Reader { source };
        for statement in &parsed.syntax().body {
            reader.top(statement, &mut module);
        }
        module
    })
}

/// Shows a file's tree to `work`, which has a large stack for that.
pub(crate) fn parsed<T: Send>(
    source: &str,
    path: &str,
    work: impl FnOnce(&Parsed<ast::ModModule>) -> T + Send,
) -> Result<T> {
    let refuse =
        |why: &str| SchemaError::new(ErrorKind::Parse, format!("failed to parse {path}: {why}"));
    if source.len() > MAX_SOURCE_BYTES {
        return Err(refuse("it is larger than 1 MiB"));
    }
    if brackets(source) > MAX_BRACKETS {
        return Err(refuse("it has too many nested parentheses"));
    }
    on_large_stack(source.len(), || {
        let parsed = ruff_python_parser::parse_unchecked_source(source, PySourceType::Python);
        work(&parsed)
    })
    .ok_or_else(|| refuse("the parser gave up"))
}

/// Nothing is said of a file in another encoding, which was not read letter by letter.
pub(crate) fn syntax_error(source: &str, path: &str, errors: &[ParseError]) -> Option<SchemaError> {
    let first = errors.iter().min_by_key(|error| error.location.start())?;
    if source.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    let before = &source[..first.location.start().to_usize()];
    let (line, column) = (
        before.matches('\n').count() + 1,
        before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1,
    );
    let message = format!(
        "syntax error in {path}, line {line}, column {column}: {}",
        first.error
    );
    Some(SchemaError::new(ErrorKind::Parse, message))
}

/// An annotation in quotes.
pub(crate) fn read_annotation(source: &str) -> Option<Expr> {
    if source.len() > MAX_SOURCE_BYTES || brackets(source) > MAX_BRACKETS {
        return None;
    }
    on_large_stack(source.len(), || {
        let parsed = ruff_python_parser::parse_expression(source.trim()).ok()?;
        Some(
            Reader {
                source: source.trim(),
            }
            .expr(&parsed.syntax().body, 0),
        )
    })
    .flatten()
}

/// An upper bound of bracket nesting that needs no tokens: strings only add to it.
fn brackets(source: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Small sources can't nest deeply enough to need it.
fn on_large_stack<T: Send>(length: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    const HARMLESS_BYTES: usize = 1024;
    if length <= HARMLESS_BYTES {
        return Some(work());
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .ok()?
            .join()
            .ok()
    })
}

struct Reader<'source> {
    source: &'source str,
}

/// Expressions nested more deeply than this are of no use to a schema.
const MAX_DEPTH: usize = 64;

impl Reader<'_> {
    fn top(&self, statement: &ast::Stmt, module: &mut Module) {
        match statement {
            ast::Stmt::ClassDef(class) => module.classes.push(self.class(class)),
            ast::Stmt::FunctionDef(function) => module.functions.push(self.function(function)),
            ast::Stmt::Import(import) => {
                for alias in &import.names {
                    let name = alias.name.to_string();
                    let local = alias
                        .asname
                        .as_ref()
                        .map_or_else(|| name.clone(), ToString::to_string);
                    module.imports.push(Import {
                        local,
                        module: name,
                        level: 0,
                        name: None,
                    });
                }
            }
            ast::Stmt::ImportFrom(import) => {
                let from = import
                    .module
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                for alias in &import.names {
                    let name = alias.name.to_string();
                    let local = alias
                        .asname
                        .as_ref()
                        .map_or_else(|| name.clone(), ToString::to_string);
                    module.imports.push(Import {
                        local,
                        module: from.clone(),
                        level: import.level,
                        name: Some(name),
                    });
                }
            }
            statement => module.assignments.extend(self.assignment(statement)),
        }
    }

    /// `NAME = value` or `NAME: T = value`.
    fn assignment(&self, statement: &ast::Stmt) -> Option<(String, Expr)> {
        match statement {
            ast::Stmt::Assign(assign) => match assign.targets.as_slice() {
                [ast::Expr::Name(name)] => Some((name.id.to_string(), self.expr(&assign.value, 0))),
                _ => None,
            },
            ast::Stmt::AnnAssign(assign) => match (assign.target.as_ref(), &assign.value) {
                (ast::Expr::Name(name), Some(value)) => {
                    Some((name.id.to_string(), self.expr(value, 0)))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn class(&self, class: &ast::StmtClassDef) -> Class {
        let arguments = class.arguments.as_deref();
        let mut read = Class {
            offset: class.name.start().to_usize(),
            name: class.name.to_string(),
            bases: arguments
                .map(|arguments| self.all(&arguments.args, 0))
                .unwrap_or_default(),
            keywords: arguments
                .map(|arguments| self.keywords(arguments, 0))
                .unwrap_or_default(),
            decorators: self.decorators(&class.decorator_list),
            methods: Vec::new(),
            fields: Vec::new(),
            assignments: Vec::new(),
        };
        for statement in &class.body {
            match statement {
                ast::Stmt::FunctionDef(function) => read.methods.push(self.function(function)),
                ast::Stmt::AnnAssign(assign) => {
                    if let ast::Expr::Name(name) = assign.target.as_ref() {
                        read.fields.push(Field {
                            name: name.id.to_string(),
                            annotation: self.expr(&assign.annotation, 0),
                            default: assign.value.as_ref().map(|value| self.expr(value, 0)),
                            offset: name.range().start().to_usize(),
                        });
                        read.assignments.extend(self.assignment(statement));
                    }
                }
                statement => read.assignments.extend(self.assignment(statement)),
            }
        }
        read
    }

    fn function(&self, function: &ast::StmtFunctionDef) -> Function {
        let parameters = &function.parameters;
        let named = parameters
            .posonlyargs
            .iter()
            .chain(&parameters.args)
            .chain(&parameters.kwonlyargs);
        let rest = [("*", &parameters.vararg), ("**", &parameters.kwarg)];
        Function {
            offset: function.name.start().to_usize(),
            name: function.name.to_string(),
            is_async: function.is_async,
            decorators: self.decorators(&function.decorator_list),
            parameters: named
                .map(|parameter| Parameter {
                    offset: parameter.range().start().to_usize(),
                    name: parameter.parameter.name.to_string(),
                    annotation: parameter
                        .parameter
                        .annotation
                        .as_ref()
                        .map(|annotation| self.expr(annotation, 0)),
                    default: parameter
                        .default
                        .as_ref()
                        .map(|default| self.expr(default, 0)),
                })
                .collect(),
            typed_rest: rest.into_iter().find_map(|(stars, parameter)| {
                let parameter = parameter.as_ref()?;
                parameter.annotation.as_ref()?;
                Some(format!("{stars}{}", parameter.name))
            }),
            returns: function
                .returns
                .as_ref()
                .map(|returns| self.expr(returns, 0)),
            returned: function
                .body
                .iter()
                .filter_map(|statement| self.returned(statement))
                .collect(),
        }
    }

    fn returned(&self, statement: &ast::Stmt) -> Option<Expr> {
        match statement {
            ast::Stmt::Return(returned) => returned.value.as_ref().map(|value| self.expr(value, 0)),
            _ => None,
        }
    }

    fn decorators(&self, decorators: &[ast::Decorator]) -> Vec<Expr> {
        decorators
            .iter()
            .map(|decorator| self.expr(&decorator.expression, 0))
            .collect()
    }

    fn keywords(&self, arguments: &ast::Arguments, depth: usize) -> Vec<(String, Expr)> {
        let named = arguments
            .keywords
            .iter()
            .filter_map(|keyword| Some((keyword.arg.as_ref()?, &keyword.value)));
        named
            .map(|(name, value)| (name.to_string(), self.expr(value, depth)))
            .collect()
    }

    fn all(&self, expressions: &[ast::Expr], depth: usize) -> Vec<Expr> {
        expressions
            .iter()
            .map(|expression| self.expr(expression, depth))
            .collect()
    }

    fn expr(&self, expression: &ast::Expr, depth: usize) -> Expr {
        let text = self
            .source
            .get(expression.range().to_std_range())
            .unwrap_or_default()
            .to_owned();
        let kind = if depth > MAX_DEPTH {
            ExprKind::Other
        } else {
            self.kind(expression, depth + 1)
        };
        Expr { kind, text }
    }

    fn kind(&self, expression: &ast::Expr, depth: usize) -> ExprKind {
        let boxed = |expression: &ast::Expr| Box::new(self.expr(expression, depth));
        match expression {
            ast::Expr::Name(_) | ast::Expr::Attribute(_) => {
                dotted(expression).map_or(ExprKind::Other, ExprKind::Name)
            }
            ast::Expr::Subscript(subscript) => match dotted(&subscript.value) {
                Some(name) => {
                    let arguments = match subscript.slice.as_ref() {
                        ast::Expr::Tuple(tuple) => self.all(&tuple.elts, depth),
                        single => vec![self.expr(single, depth)],
                    };
                    ExprKind::Subscript(name, arguments)
                }
                None => ExprKind::Other,
            },
            ast::Expr::BinOp(operation) => match operation.op {
                ast::Operator::BitOr => {
                    ExprKind::Or(boxed(&operation.left), boxed(&operation.right))
                }
                ast::Operator::Add => {
                    ExprKind::Add(boxed(&operation.left), boxed(&operation.right))
                }
                _ => ExprKind::Other,
            },
            ast::Expr::UnaryOp(operation) => match operation.op {
                ast::UnaryOp::USub => ExprKind::Negative(boxed(&operation.operand)),
                ast::UnaryOp::UAdd => ExprKind::Positive(boxed(&operation.operand)),
                _ => ExprKind::Other,
            },
            ast::Expr::StringLiteral(literal) => {
                ExprKind::String(literal.value.to_str().to_owned())
            }
            ast::Expr::NumberLiteral(literal) => match &literal.value {
                ast::Number::Int(number) => {
                    number.as_i64().map_or(ExprKind::Other, ExprKind::Integer)
                }
                ast::Number::Float(number) => ExprKind::Float(*number),
                ast::Number::Complex { .. } => ExprKind::Other,
            },
            ast::Expr::BooleanLiteral(literal) => ExprKind::Boolean(literal.value),
            ast::Expr::NoneLiteral(_) => ExprKind::None,
            ast::Expr::List(list) => ExprKind::List(self.all(&list.elts, depth)),
            ast::Expr::Set(set) => ExprKind::Set(self.all(&set.elts, depth)),
            ast::Expr::Tuple(tuple) => ExprKind::Tuple(self.all(&tuple.elts, depth)),
            ast::Expr::Dict(dict) => {
                let pairs = dict
                    .items
                    .iter()
                    .filter_map(|item| Some((item.key.as_ref()?, &item.value)));
                ExprKind::Dict(
                    pairs
                        .map(|(key, value)| (self.expr(key, depth), self.expr(value, depth)))
                        .collect(),
                )
            }
            ast::Expr::Call(call) => match dotted(&call.func) {
                Some(callee) => ExprKind::Call {
                    callee,
                    arguments: self.all(&call.arguments.args, depth),
                    keywords: self.keywords(&call.arguments, depth),
                    offset: call.range().start().to_usize(),
                },
                None => ExprKind::Other,
            },
            _ => ExprKind::Other,
        }
    }
}

/// `a.b.c` as text.
fn dotted(expression: &ast::Expr) -> Option<String> {
    let mut parts = Vec::new();
    let mut current = expression;
    loop {
        match current {
            ast::Expr::Attribute(attribute) => {
                parts.push(attribute.attr.as_str());
                current = &attribute.value;
            }
            ast::Expr::Name(name) => {
                parts.push(name.id.as_str());
                parts.reverse();
                return Some(parts.join("."));
            }
            _ => return None,
        }
    }
}
