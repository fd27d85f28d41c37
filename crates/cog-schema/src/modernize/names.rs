//! Where a file uses names, and where it gives them a meaning.

use ruff_python_ast as ast;
use ruff_python_ast::visitor::{self, Visitor};
use ruff_text_size::{Ranged, TextRange};

/// All names of a file, wherever they are; which scope they belong to is not told apart.
#[derive(Default)]
pub(super) struct Names<'a> {
    uses: Vec<(&'a str, TextRange)>,
    bindings: Vec<(&'a str, TextRange)>,
    attributes: Vec<&'a ast::ExprAttribute>,
    texts: Vec<&'a str>,
    assignments: Vec<(&'a str, &'a ast::Expr)>,
}

impl<'a> Names<'a> {
    pub(super) fn of(body: &'a [ast::Stmt]) -> Self {
        let mut names = Self::default();
        names.visit_body(body);
        names
    }

    /// Where the value of a name is used.
    pub(super) fn uses<'n>(&'n self, name: &'n str) -> impl Iterator<Item = TextRange> + 'n {
        let of = move |(known, at): &(&str, TextRange)| (*known == name).then_some(*at);
        self.uses.iter().filter_map(of)
    }

    /// Where a name gets a meaning: by assignments, imports, definitions, parameters and the like.
    pub(super) fn bindings<'n>(&'n self, name: &'n str) -> impl Iterator<Item = TextRange> + 'n {
        let of = move |(known, at): &(&str, TextRange)| (*known == name).then_some(*at);
        self.bindings.iter().filter_map(of)
    }

    /// Expressions such as `x.name`.
    pub(super) fn attributes<'n>(
        &'n self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a ast::ExprAttribute> + 'n {
        let all = self.attributes.iter().copied();
        all.filter(move |attribute| attribute.attr.as_str() == name)
    }

    /// Names that are given what is made by calling `class`.
    pub(super) fn instances<'n>(&'n self, class: &'n str) -> impl Iterator<Item = &'a str> + 'n {
        self.assignments
            .iter()
            .filter(move |(_, value)| is_call_of(value, class))
            .map(|(name, _)| *name)
    }

    /// Whether the name is used outside of these places, be it in a text such as an annotation in quotes.
    pub(super) fn is_used_outside(&self, name: &str, places: &[TextRange]) -> bool {
        let inside = |at: TextRange| places.iter().any(|place| place.contains_range(at));
        self.uses(name).any(|at| !inside(at)) || self.texts.iter().any(|text| has_word(text, name))
    }
}

/// `class(…)`.
pub(super) fn is_call_of(value: &ast::Expr, class: &str) -> bool {
    matches!(value, ast::Expr::Call(call) if is_name(&call.func, class))
}

pub(super) fn is_name(value: &ast::Expr, name: &str) -> bool {
    matches!(value, ast::Expr::Name(found) if found.id.as_str() == name)
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|found| found == word)
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, statement: &'a ast::Stmt) {
        let mut bind = |name: &'a ast::Identifier| {
            self.bindings.push((name.as_str(), name.range()));
        };
        match statement {
            ast::Stmt::FunctionDef(function) => bind(&function.name),
            ast::Stmt::ClassDef(class) => bind(&class.name),
            ast::Stmt::Assign(assign) => {
                if let [ast::Expr::Name(name)] = assign.targets.as_slice() {
                    self.assignments.push((name.id.as_str(), &*assign.value));
                }
            }
            ast::Stmt::AnnAssign(assign) => {
                if let (ast::Expr::Name(name), Some(value)) = (&*assign.target, &assign.value) {
                    self.assignments.push((name.id.as_str(), &**value));
                }
            }
            // What is said of something is no use of it.
            ast::Stmt::Expr(said) if said.value.is_string_literal_expr() => return,
            _ => {}
        }
        visitor::walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'a ast::Expr) {
        match expression {
            ast::Expr::Name(name) => {
                let place = (name.id.as_str(), name.range());
                match name.ctx {
                    ast::ExprContext::Load => self.uses.push(place),
                    _ => self.bindings.push(place),
                }
            }
            ast::Expr::Attribute(attribute) => self.attributes.push(attribute),
            ast::Expr::StringLiteral(literal) => self.texts.push(literal.value.to_str()),
            _ => {}
        }
        visitor::walk_expr(self, expression);
    }

    fn visit_alias(&mut self, alias: &'a ast::Alias) {
        let name = alias.asname.as_ref().unwrap_or(&alias.name);
        let first = name.split('.').next().unwrap_or_default();
        self.bindings.push((first, alias.range()));
    }

    fn visit_parameter(&mut self, parameter: &'a ast::Parameter) {
        self.bindings
            .push((parameter.name.as_str(), parameter.range()));
        visitor::walk_parameter(self, parameter);
    }

    fn visit_except_handler(&mut self, handler: &'a ast::ExceptHandler) {
        let ast::ExceptHandler::ExceptHandler(caught) = handler;
        if let Some(name) = &caught.name {
            self.bindings.push((name.as_str(), name.range()));
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a ast::Pattern) {
        let name = match pattern {
            ast::Pattern::MatchAs(found) => found.name.as_ref(),
            ast::Pattern::MatchStar(found) => found.name.as_ref(),
            ast::Pattern::MatchMapping(found) => found.rest.as_ref(),
            _ => None,
        };
        if let Some(name) = name {
            self.bindings.push((name.as_str(), name.range()));
        }
        visitor::walk_pattern(self, pattern);
    }
}
