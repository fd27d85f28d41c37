//! Byte-compiles Python files with the image's own Python, so that nothing has to be compiled, and
//! nothing can go stale, when a model starts.

use std::path::{Path, PathBuf};

use cog_files::{Folder, Found};
use serde::Serialize;

use crate::venv::Interpreter;

/// What runs in the container.
pub const SCRIPT: &str = include_str!("compile.py");

/// Files per process. A fixed number, because what a process compiled before decides details of
/// what it writes; small enough to keep all cores busy with one large package.
const CHUNK: usize = 32;

/// A file to compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where the container finds it.
    pub source: String,
    /// Its path in the image, without leading slash.
    pub path: String,
}

/// The list that [`SCRIPT`] reads.
#[derive(Debug, Serialize)]
pub struct Work {
    workers: usize,
    /// For each file: source, name that tracebacks show, target.
    chunks: Vec<Vec<[String; 3]>>,
}

impl Work {
    /// Lists `packages`, each of which is compiled apart from the others, for `workers` processes
    /// that write below `target`.
    pub fn new(
        packages: &[Vec<Module>],
        interpreter: &Interpreter,
        workers: usize,
        target: &str,
    ) -> Self {
        let item = |module: &Module| {
            let compiled = compiled_path(&module.path, interpreter);
            [
                module.source.clone(),
                format!("/{}", module.path),
                format!("{target}/{compiled}"),
            ]
        };
        let chunks = packages
            .iter()
            .flat_map(|modules| modules.chunks(CHUNK))
            .map(|chunk| chunk.iter().map(item).collect())
            .collect();
        Self {
            workers: workers.max(1),
            chunks,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are always valid JSON")
    }
}

/// Whether the file at `path` in the image is worth compiling: a module, and not part of tests,
/// which no model imports.
pub fn is_wanted(path: &str, interpreter: &Interpreter) -> bool {
    let Some(module) = path.strip_prefix(&format!("{}/", interpreter.site_packages())) else {
        return false;
    };
    is_module(module) && !module.split('/').any(is_of_tests)
}

/// Whether a folder of this name holds tests.
pub fn is_of_tests(folder: &str) -> bool {
    matches!(folder, "tests" | "test")
}

/// Whether `path` names a module, which Python recognises by lower-case letters only.
pub fn is_module(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, suffix)| suffix == "py")
}

/// Where Python looks for the compiled form of the module at `path`.
pub fn compiled_path(path: &str, interpreter: &Interpreter) -> String {
    let tag = interpreter.minor.replace('.', "");
    let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
    let stem = name.strip_suffix(".py").unwrap_or(name);
    format!("{folder}__pycache__/{stem}.cpython-{tag}.pyc")
}

/// The compiled form of the module at `path` below `output`, which `tree` is, if there is one: files with syntax
/// errors have none.
pub fn compiled(
    output: &Path,
    tree: &Folder,
    path: &str,
    interpreter: &Interpreter,
) -> std::io::Result<Option<PathBuf>> {
    let inside = compiled_path(path, interpreter);
    Ok(match tree.find(Path::new(&inside))? {
        Found::File(_) => Some(output.join(inside)),
        Found::Nothing | Found::Other => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter() -> Interpreter {
        Interpreter {
            path: "/usr/bin/python3.11".into(),
            minor: "3.11".into(),
        }
    }

    fn module(name: &str) -> Module {
        Module {
            source: format!("/in/{name}"),
            path: format!("opt/venv/lib/{name}"),
        }
    }

    #[test]
    fn modules_outside_of_tests_are_wanted() {
        let site = "opt/venv/lib/python3.11/site-packages";
        let wanted = |path: &str| is_wanted(path, &interpreter());
        assert!(wanted(&format!("{site}/a/b.py")));
        assert!(wanted(&format!("{site}/testing.py")));
        assert!(!wanted(&format!("{site}/a/tests/b.py")));
        assert!(!wanted(&format!("{site}/a/b.pyi")));
        assert!(!wanted("opt/venv/bin/x.py"));
    }

    #[test]
    fn chunks_do_not_depend_on_the_workers() {
        let many: Vec<Module> = (0..40)
            .map(|number| module(&format!("{number}.py")))
            .collect();
        let packages = [many, vec![module("one.py")]];
        let work = |workers| Work::new(&packages, &interpreter(), workers, "/out");
        let lengths: Vec<usize> = work(1).chunks.iter().map(Vec::len).collect();
        assert_eq!(lengths, [32, 8, 1]);
        assert_eq!(work(1).chunks, work(7).chunks);
        assert_eq!(
            work(1).chunks[2][0],
            [
                "/in/one.py",
                "/opt/venv/lib/one.py",
                "/out/opt/venv/lib/__pycache__/one.cpython-311.pyc"
            ]
        );
    }

    /// The script itself, on whichever Python the host has.
    #[test]
    fn the_same_bytes_come_out_every_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs_err::write(path("compile.py"), SCRIPT).expect("written");
        let mut modules = Vec::new();
        for number in 0..70 {
            let name = format!("m{number}.py");
            let text =
                format!("def shared(self, x):\n    return {{'a', 'b', {number}}}, 'm{number}'\n");
            fs_err::write(path(&name), text).expect("written");
            modules.push(Module {
                source: path(&name),
                path: name,
            });
        }
        fs_err::write(path("broken.py"), "print 'x'").expect("written");
        modules.push(Module {
            source: path("broken.py"),
            path: "broken.py".into(),
        });
        let compile = |target: &str, workers| {
            let work = Work::new(&[modules.clone()], &interpreter(), workers, &path(target));
            fs_err::write(path("work.json"), work.to_json()).expect("written");
            let status = std::process::Command::new("python3")
                .args([path("compile.py"), path("work.json")])
                .env("PYTHONHASHSEED", "0")
                .status()
                .expect("the host has Python");
            assert!(status.success());
        };
        compile("one", 1);
        compile("two", 3);
        for module in &modules {
            let read = |target: &str| {
                let output = folder.path().join(target);
                let tree = Folder::open(&output).unwrap();
                compiled(&output, &tree, &module.path, &interpreter())
                    .unwrap()
                    .map(|file| fs_err::read(file).expect("readable"))
            };
            assert_eq!(read("one"), read("two"), "{}", module.path);
            assert_eq!(read("one").is_some(), module.path != "broken.py");
        }
    }
}
