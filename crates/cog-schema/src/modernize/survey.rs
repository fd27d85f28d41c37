//! What a file defines, for messages about references to it.

use crate::error::{Result, SchemaError};
use crate::syntax::{self, Class, Function};

/// What there is at the top level of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Its classes, in their order.
    pub classes: Vec<String>,
    /// Its functions, in their order.
    pub functions: Vec<String>,
    /// The first thing that is no Python.
    pub syntax_error: Option<SchemaError>,
    callables: Vec<Callable>,
}

/// A function, or a method of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Callable {
    class: Option<String>,
    name: String,
    line: usize,
    says_what_it_returns: bool,
}

/// Reads what a file defines.
pub fn survey(source: &str, path: &str) -> Result<Survey> {
    let module = syntax::read(source, path)?;
    let callable = |class: Option<&Class>, function: &Function| Callable {
        class: class.map(|class| class.name.clone()),
        name: function.name.clone(),
        line: module.line(function.offset),
        says_what_it_returns: function.returns.is_some(),
    };
    let mut callables = Vec::new();
    for class in &module.classes {
        let methods = class.methods.iter();
        callables.extend(methods.map(|method| callable(Some(class), method)));
    }
    let functions = module.functions.iter();
    callables.extend(functions.map(|function| callable(None, function)));
    let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect();
    Ok(Survey {
        classes: names(&mut module.classes.iter().map(|class| &class.name)),
        functions: names(&mut module.functions.iter().map(|function| &function.name)),
        callables,
        syntax_error: module.error,
    })
}

impl Survey {
    /// Whether a reference to this name leads somewhere.
    pub fn defines(&self, name: &str) -> bool {
        let mut known = self.classes.iter().chain(&self.functions);
        known.any(|known| known == name)
    }

    /// The first of these methods that a class has, or a function, if it does not say what it returns: as it is
    /// written in calls, with its line.
    pub fn unannotated(&self, name: &str, methods: &[&str]) -> Option<(String, usize)> {
        let is_class = self.classes.iter().any(|class| class == name);
        // Of several with one name the last one counts.
        let find = |class: Option<&str>, function: &str| {
            let is_it = |one: &&Callable| one.class.as_deref() == class && one.name == function;
            self.callables.iter().rfind(is_it)
        };
        let (found, shown) = if is_class {
            let found = methods.iter().find_map(|method| find(Some(name), method))?;
            (found, format!("{name}.{}()", found.name))
        } else {
            (find(None, name)?, format!("{name}()"))
        };
        (!found.says_what_it_returns).then_some((shown, found.line))
    }
}
