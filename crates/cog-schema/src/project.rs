//! Names across the files of a project.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Place, Result};
use crate::syntax::{self, Class, Expr, ExprKind, Import, Module};
use crate::tree::SourceTree;

/// How often a name may lead to another one before it is taken for a circle.
const MAX_HOPS: usize = 32;

/// Packages that are never looked for in the project, whatever files it has.
const EXTERNAL: [&str; 46] = [
    "PIL",
    "abc",
    "accelerate",
    "aiohttp",
    "asyncio",
    "builtins",
    "cog",
    "collections",
    "concurrent",
    "contextlib",
    "cv2",
    "dataclasses",
    "diffusers",
    "enum",
    "fastapi",
    "flask",
    "functools",
    "httpx",
    "io",
    "itertools",
    "jax",
    "json",
    "logging",
    "math",
    "multiprocessing",
    "numpy",
    "os",
    "pathlib",
    "pydantic",
    "pytest",
    "re",
    "requests",
    "safetensors",
    "scipy",
    "skimage",
    "sklearn",
    "sys",
    "tensorflow",
    "threading",
    "torch",
    "transformers",
    "typing",
    "typing_extensions",
    "unittest",
    "warnings",
    "__future__",
];

const BUILTINS: [&str; 14] = [
    "bytes",
    "bytearray",
    "complex",
    "frozenset",
    "memoryview",
    "object",
    "range",
    "set",
    "slice",
    "tuple",
    "type",
    "None",
    "list",
    "dict",
];

pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) module: Module,
}

impl File {
    /// The place of `what`, which is at this offset in bytes.
    pub(crate) fn place(&self, offset: usize, what: impl Into<String>) -> Place {
        Place {
            path: self.path.clone(),
            line: self.module.line(offset),
            what: what.into(),
        }
    }
}

/// A class with the file whose names its body uses.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) file: Rc<File>,
    pub(crate) class: Class,
}

pub(crate) enum Resolved {
    Class(Box<Found>),
    /// Imported from a module that is not part of the project.
    External(String),
    Unknown,
}

pub(crate) struct Project<'tree> {
    tree: &'tree dyn SourceTree,
    files: RefCell<HashMap<String, Option<Rc<File>>>>,
    pub(crate) warnings: RefCell<Vec<String>>,
}

impl<'tree> Project<'tree> {
    pub(crate) fn new(tree: &'tree dyn SourceTree) -> Self {
        Self {
            tree,
            files: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// A file's text.
    pub(crate) fn read(&self, path: &str) -> std::io::Result<Option<String>> {
        self.tree.read(path)
    }

    /// Takes in the file that a reference names.
    pub(crate) fn entry(&self, path: &str, source: &str) -> Result<Rc<File>> {
        let file = Rc::new(File {
            path: path.to_owned(),
            module: syntax::read(source, path)?,
        });
        self.files
            .borrow_mut()
            .insert(path.to_owned(), Some(Rc::clone(&file)));
        Ok(file)
    }

    fn file(&self, path: &str) -> Option<Rc<File>> {
        if let Some(known) = self.files.borrow().get(path) {
            return known.clone();
        }
        let read = match self.tree.read(path) {
            Ok(None) => None,
            Ok(Some(source)) => {
                let module = syntax::read(&source, path).unwrap_or_default();
                Some(Rc::new(File {
                    path: path.to_owned(),
                    module,
                }))
            }
            Err(error) => {
                self.warnings
                    .borrow_mut()
                    .push(format!("cog: warning: failed to read \"{path}\": {error}"));
                Some(Rc::new(File {
                    path: path.to_owned(),
                    module: Module::default(),
                }))
            }
        };
        self.files
            .borrow_mut()
            .insert(path.to_owned(), read.clone());
        read
    }

    /// The file of a module as imported by `from`: its source, its package, or its stub.
    fn module(&self, from: &File, module: &str, level: u32) -> Option<Rc<File>> {
        let mut parts: Vec<&str> = Vec::new();
        if level > 0 {
            parts.extend(from.path.split('/'));
            for _ in 0..level {
                parts.pop()?;
            }
        } else if EXTERNAL.contains(&module.split('.').next().unwrap_or_default()) {
            return None;
        }
        parts.extend(module.split('.').filter(|part| !part.is_empty()));
        let base = parts.join("/");
        let package = if base.is_empty() {
            "__init__".to_owned()
        } else {
            format!("{base}/__init__")
        };
        let candidates = [
            format!("{base}.py"),
            format!("{package}.py"),
            format!("{base}.pyi"),
            format!("{package}.pyi"),
        ];
        candidates
            .iter()
            .filter(|path| !path.starts_with(".py"))
            .find_map(|path| self.file(path))
    }

    fn submodule(&self, from: &File, import: &Import, name: &str) -> Option<Rc<File>> {
        let module = if import.module.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", import.module)
        };
        self.module(from, &module, import.level)
    }

    /// What a name means in a file.
    pub(crate) fn resolve(&self, file: &Rc<File>, name: &str) -> Resolved {
        self.follow(file, name, 0)
    }

    fn follow(&self, file: &Rc<File>, name: &str, hops: usize) -> Resolved {
        if hops > MAX_HOPS {
            return Resolved::Unknown;
        }
        if let Some((module, rest)) = self.through_module(file, name) {
            return match module {
                Ok(module) => self.follow(&module, &rest, hops + 1),
                Err(external) => Resolved::External(external),
            };
        }
        if name.contains('.') {
            return Resolved::Unknown;
        }
        let import = file
            .module
            .imports
            .iter()
            .rev()
            .find(|import| import.local == name && import.name.is_some());
        if let Some(class) = file
            .module
            .classes
            .iter()
            .rev()
            .find(|class| class.name == name)
        {
            return Resolved::Class(Box::new(Found {
                file: Rc::clone(file),
                class: class.clone(),
            }));
        }
        if let Some(import) = import {
            let original = import.name.as_deref().unwrap_or(name);
            return match self.module(file, &import.module, import.level) {
                Some(module) => match self.follow(&module, original, hops + 1) {
                    Resolved::Unknown => Resolved::External(import.module.clone()),
                    resolved => resolved,
                },
                None => Resolved::External(format!(
                    "{}{}",
                    ".".repeat(import.level as usize),
                    import.module
                )),
            };
        }
        self.in_neighbours(file, name).unwrap_or_else(|| {
            if BUILTINS.contains(&name) {
                Resolved::External("builtins".into())
            } else {
                Resolved::Unknown
            }
        })
    }

    /// `m.C`, where `m` was imported: the module's file, or the name of the package that it is part of, and the rest.
    fn through_module(
        &self,
        file: &Rc<File>,
        name: &str,
    ) -> Option<(std::result::Result<Rc<File>, String>, String)> {
        for import in file.module.imports.iter().rev() {
            let Some(rest) = name
                .strip_prefix(import.local.as_str())
                .and_then(|rest| rest.strip_prefix('.'))
            else {
                continue;
            };
            let module = match &import.name {
                None => self
                    .module(file, &import.module, 0)
                    .ok_or_else(|| import.module.clone()),
                Some(inner) => self
                    .submodule(file, import, inner)
                    .ok_or_else(|| format!("{}.{inner}", import.module)),
            };
            return Some((module, rest.to_owned()));
        }
        None
    }

    /// A class of a module of which another name was imported: known by its own name too.
    fn in_neighbours(&self, file: &Rc<File>, name: &str) -> Option<Resolved> {
        file.module
            .imports
            .iter()
            .filter(|import| import.name.is_some())
            .find_map(|import| {
                let module = self.module(file, &import.module, import.level)?;
                let class = module
                    .module
                    .classes
                    .iter()
                    .rev()
                    .find(|class| class.name == name)?
                    .clone();
                Some(Resolved::Class(Box::new(Found {
                    file: module,
                    class,
                })))
            })
    }

    /// Whether `name` means `target` of one of `modules` in this file, however it was imported.
    pub(crate) fn is_from(file: &File, name: &str, modules: &[&str], target: &str) -> bool {
        file.module.imports.iter().any(|import| {
            if import.level != 0 || !modules.contains(&import.module.as_str()) {
                return false;
            }
            match &import.name {
                Some(original) => original == target && import.local == name,
                None => {
                    name.strip_prefix(&import.local)
                        .and_then(|rest| rest.strip_prefix('.'))
                        == Some(target)
                }
            }
        })
    }

    /// The module that a name was imported from, for messages.
    pub(crate) fn origin(file: &File, name: &str) -> Option<String> {
        let head = name.split('.').next().unwrap_or(name);
        let import = file
            .module
            .imports
            .iter()
            .rev()
            .find(|import| import.local == head)?;
        Some(format!(
            "{}{}",
            ".".repeat(import.level as usize),
            import.module
        ))
    }
}

const TYPING: [&str; 2] = ["typing", "typing_extensions"];

impl Found {
    /// Whether instances are written as objects with the class's fields.
    pub(crate) fn model(&self, project: &Project<'_>) -> Option<ModelKind> {
        self.model_within(project, 0)
    }

    fn model_within(&self, project: &Project<'_>, hops: usize) -> Option<ModelKind> {
        if hops > MAX_HOPS {
            return None;
        }
        for base in &self.class.bases {
            let ExprKind::Name(name) = &base.kind else {
                continue;
            };
            let last = name.rsplit('.').next().unwrap_or(name);
            let modules = ["cog", "pydantic", "pydantic.v1"];
            if last == "BaseModel" || Project::is_from(&self.file, name, &modules, "BaseModel") {
                return Some(ModelKind::BaseModel);
            }
            if last == "TypedDict" || Project::is_from(&self.file, name, &TYPING, "TypedDict") {
                return Some(ModelKind::TypedDict);
            }
            if let Resolved::Class(found) = project.resolve(&self.file, name)
                && found.model_within(project, hops + 1) == Some(ModelKind::TypedDict)
            {
                return Some(ModelKind::TypedDict);
            }
        }
        let is_dataclass = self.class.decorators.iter().any(|decorator| {
            let (ExprKind::Name(name) | ExprKind::Call { callee: name, .. }) = &decorator.kind
            else {
                return false;
            };
            Project::is_from(&self.file, name, &["dataclasses"], "dataclass")
        });
        is_dataclass.then_some(ModelKind::Dataclass)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelKind {
    BaseModel,
    TypedDict,
    Dataclass,
}

/// The members of a chain of `|`, in source order.
pub(crate) fn alternatives(expression: &Expr) -> Vec<&Expr> {
    match &expression.kind {
        ExprKind::Or(left, right) => {
            let mut members = alternatives(left);
            members.extend(alternatives(right));
            members
        }
        _ => vec![expression],
    }
}
