//! `Predictor(BasePredictor)` with `predict()` becomes `Runner(BaseRunner)` with `run()`.

use ruff_python_ast as ast;
use ruff_text_size::{Ranged, TextRange};

use super::edit::Edit;
use super::imports::Imported;
use super::names::{Names, is_call_of, is_name};
use super::{File, Refused, change, look};
use crate::error::Result;

const OLD_CLASS: &str = "Predictor";
const NEW_CLASS: &str = "Runner";
const OLD_BASE: &str = "BasePredictor";
const NEW_BASE: &str = "BaseRunner";
const OLD_METHOD: &str = "predict";
const NEW_METHOD: &str = "run";
/// Where the bases can be imported from.
const COG: &str = "cog";
const COG_MODULES: [&str; 2] = [COG, "cog.predictor"];

/// The line of the class `Predictor`, if the file has one at its top level.
pub fn old_runner(source: &str, path: &str) -> Result<Option<usize>> {
    look(source, path, |file| {
        let class = file.classes(OLD_CLASS).next();
        class.map(|class| file.line(&class.name))
    })
}

/// The file with the new names of class, base and method.
pub fn to_runner(source: &str, path: &str) -> std::result::Result<String, Refused> {
    change(source, path, |file| Migration::of(file)?.edits())
}

/// The lines in which a file imports something from the module `predict`.
pub fn importers(source: &str, path: &str) -> Result<Vec<usize>> {
    look(source, path, |file| {
        let imports = file.imported();
        let of_old = imports.iter().filter(|one| {
            let module = one.module.unwrap_or(&one.alias.name);
            module == OLD_METHOD
        });
        let mut lines: Vec<usize> = of_old.map(|one| file.line(one.statement)).collect();
        lines.dedup();
        lines
    })
}

impl<'a> File<'a> {
    fn classes<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a ast::StmtClassDef> + use<'a, 'n> {
        self.body
            .iter()
            .filter_map(move |statement| match statement {
                ast::Stmt::ClassDef(class) if class.name.as_str() == name => Some(class),
                _ => None,
            })
    }
}

/// What there is to rename.
struct Migration<'f, 'a> {
    file: &'f File<'a>,
    names: Names<'a>,
    class: &'a ast::StmtClassDef,
    method: &'a ast::StmtFunctionDef,
    base: Option<Base<'a>>,
}

/// How the class names its base.
enum Base<'a> {
    Imported { at: TextRange, import: Imported<'a> },
    OfModule(&'a ast::Identifier),
}

impl<'f, 'a> Migration<'f, 'a> {
    fn of(file: &'f File<'a>) -> std::result::Result<Self, Refused> {
        let path = file.path;
        let mut classes = file.classes(OLD_CLASS);
        let Some(class) = classes.next() else {
            return Err(Refused::new(format!("no class {OLD_CLASS} in {path}")));
        };
        if let Some(other) = classes.next() {
            return file.refuse(&other.name, "there are several classes Predictor");
        }
        let names = Names::of(file.body);
        if let Some(other) = names
            .bindings(OLD_CLASS)
            .find(|at| *at != class.name.range())
        {
            return file.refuse(other, "`Predictor` has another meaning, too");
        }
        if let Some(other) = names.bindings(NEW_CLASS).next() {
            return file.refuse(other, "`Runner` is the name of something else");
        }
        let method = Self::method(file, class)?;
        let base = Self::base(file, class, &names)?;
        Ok(Self {
            file,
            names,
            class,
            method,
            base,
        })
    }

    fn method(
        file: &File<'a>,
        class: &'a ast::StmtClassDef,
    ) -> std::result::Result<&'a ast::StmtFunctionDef, Refused> {
        let methods = || {
            class
                .body
                .iter()
                .filter_map(ast::Stmt::as_function_def_stmt)
        };
        if let Some(new) = methods().find(|method| method.name.as_str() == NEW_METHOD) {
            return file.refuse(&new.name, "the class has a method run() already");
        }
        let mut old = methods().filter(|method| method.name.as_str() == OLD_METHOD);
        match (old.next(), old.next()) {
            (Some(method), None) => Ok(method),
            (None, _) => file.refuse(&class.name, "the class has no method predict()"),
            (_, Some(second)) => file.refuse(&second.name, "the class has predict() twice"),
        }
    }

    fn base(
        file: &File<'a>,
        class: &'a ast::StmtClassDef,
        names: &Names<'a>,
    ) -> std::result::Result<Option<Base<'a>>, Refused> {
        let imported = file.imported();
        let from_cog = |one: &&Imported<'a>| {
            one.module
                .is_some_and(|module| COG_MODULES.contains(&module))
                && one.alias.name.as_str() == OLD_BASE
        };
        for base in class.bases() {
            match base {
                ast::Expr::Name(name) => {
                    let local = name.id.as_str();
                    let import = imported.iter().find(|one| one.local() == local);
                    let Some(import) = import.filter(from_cog) else {
                        if local == OLD_BASE {
                            return file.refuse(base, "this BasePredictor is not cog's");
                        }
                        continue;
                    };
                    if import.is_renamed() {
                        return file
                            .refuse(import.alias, "BasePredictor is imported by another name");
                    }
                    let mut meanings = names.bindings(local);
                    if let Some(other) = meanings.find(|at| *at != import.alias.range()) {
                        return file.refuse(other, "`BasePredictor` has another meaning, too");
                    }
                    return Ok(Some(Base::Imported {
                        at: base.range(),
                        import: *import,
                    }));
                }
                ast::Expr::Attribute(attribute) if attribute.attr.as_str() == OLD_BASE => {
                    let of_cog = imported.iter().any(|one| {
                        one.module.is_none() && one.alias.name.as_str() == COG && !one.is_renamed()
                    });
                    if !of_cog || !is_name(&attribute.value, COG) {
                        return file.refuse(base, "this BasePredictor is not cog's");
                    }
                    return Ok(Some(Base::OfModule(&attribute.attr)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn edits(&self) -> std::result::Result<Vec<Edit>, Refused> {
        let mut edits = vec![
            Edit::replace(&self.class.name, NEW_CLASS),
            Edit::replace(&self.method.name, NEW_METHOD),
        ];
        let uses = self.names.uses(OLD_CLASS);
        edits.extend(uses.map(|at| Edit::replace(at, NEW_CLASS)));
        edits.extend(self.calls()?);
        match &self.base {
            None => {}
            Some(Base::OfModule(name)) => edits.push(Edit::replace(*name, NEW_BASE)),
            Some(Base::Imported { at, import }) => edits.extend(self.import(*at, import)?),
        }
        Ok(edits)
    }

    /// The base's new name, and the import that it comes by.
    fn import(
        &self,
        at: TextRange,
        import: &Imported<'a>,
    ) -> std::result::Result<Vec<Edit>, Refused> {
        let imported = self.file.imported();
        let present = imported.iter().find(|one| {
            one.module
                .is_some_and(|module| COG_MODULES.contains(&module))
                && one.alias.name.as_str() == NEW_BASE
        });
        let name = present.map_or(NEW_BASE, |one| one.local());
        let mut bound = self.names.bindings(NEW_BASE);
        let own = present.map(|one| one.alias.range());
        if let Some(other) = bound.find(|at| Some(*at) != own) {
            return self
                .file
                .refuse(other, "`BaseRunner` is the name of something else");
        }
        let mut edits = vec![Edit::replace(at, name)];
        let stays = self.names.is_used_outside(OLD_BASE, &[at]);
        match (stays, present) {
            (false, None) => edits.push(Edit::replace(&import.alias.name, NEW_BASE)),
            (false, Some(_)) => edits.extend(self.file.without(&[*import])),
            (true, None) => {
                let module = import.module.unwrap_or(COG);
                let all = |_: &Imported<'a>| true;
                edits.push(self.file.with(module, NEW_BASE, import.statement, all));
            }
            (true, Some(_)) => {}
        }
        Ok(edits)
    }

    /// Uses of the method, as far as it is plain that they are.
    fn calls(&self) -> std::result::Result<Vec<Edit>, Refused> {
        let instances: Vec<&str> = self.names.instances(OLD_CLASS).collect();
        let methods: Vec<(TextRange, &str)> = self
            .class
            .body
            .iter()
            .filter_map(ast::Stmt::as_function_def_stmt)
            .filter_map(|method| {
                let first = method.parameters.iter_non_variadic_params().next()?;
                Some((method.range(), first.name().as_str()))
            })
            .collect();
        let mut edits = Vec::new();
        for attribute in self.names.attributes(OLD_METHOD) {
            let at = attribute.range();
            let is_own = methods
                .iter()
                .any(|(method, own)| method.contains_range(at) && is_name(&attribute.value, own));
            if is_own && attribute.ctx != ast::ExprContext::Load {
                return self.file.refuse(at, "predict is assigned to");
            }
            let is_instance = instances.iter().any(|name| is_name(&attribute.value, name));
            if is_own
                || is_instance
                || is_name(&attribute.value, OLD_CLASS)
                || is_call_of(&attribute.value, OLD_CLASS)
            {
                edits.push(Edit::replace(&attribute.attr, NEW_METHOD));
            }
        }
        Ok(edits)
    }
}
