//! Byte-compiles packages in one container over the base.

use std::path::{Path, PathBuf};

use cog_image::{Layer, Scratch};

use crate::container::{Job, Mount};
use crate::error::{CommandOutput, Result};
use crate::plan::Bytecode;
use crate::workshop::Workshop;
use cog_python::bytecode::{self, Module, SCRIPT, Work};
use cog_python::distribution::{File, Source};
use cog_python::tree::Tree;
use cog_python::venv::Interpreter;

/// Where the container finds the files to compile.
const INPUT: &str = "/tmp/cog-compile/in";
/// Where the container leaves what it compiled.
const OUTPUT: &str = "/tmp/cog-compile/out";

/// Files to compile.
pub(crate) struct CompileJob<'a> {
    pub(crate) interpreter: &'a Interpreter,
    /// Files of packages, each of which is compiled apart from the others. Those below `root`
    /// count.
    pub(crate) packages: Vec<&'a [File]>,
    /// The folder that holds the files on the host.
    pub(crate) root: &'a Path,
    /// Whether anything is to be compiled.
    pub(crate) bytecode: Bytecode,
    /// The layers that bring the interpreter. No others: what is compiled must not depend on them,
    /// and unpacking them takes time.
    pub(crate) base: &'a [Layer],
}

/// The compiled forms of a job's files; they live as long as this value.
pub(crate) struct Compiled {
    output: Option<Output>,
    interpreter: Interpreter,
}

/// What the container left, which is read as a foreign tree.
struct Output {
    folder: PathBuf,
    tree: Tree,
    _scratch: Scratch,
}

/// Compiles the files of `job` with the base's Python. Where nothing is compiled, the
/// first start of a model takes longer.
pub(crate) fn compile(workshop: &Workshop<'_>, job: &CompileJob<'_>) -> Result<Compiled> {
    let interpreter = job.interpreter.clone();
    let packages: Vec<Vec<Module>> = job
        .packages
        .iter()
        .map(|files| modules(files, job))
        .collect();
    let work = Work::new(&packages, job.interpreter, workshop.worker_count(), OUTPUT);
    if work.is_empty() || job.bytecode == Bytecode::Absent {
        return Ok(Compiled {
            output: None,
            interpreter,
        });
    }
    let scratch = workshop.store.scratch()?;
    let output = scratch.path().join("out");
    fs_err::create_dir(&output)?;
    let script = scratch.path().join("compile.py");
    fs_err::write(&script, SCRIPT)?;
    let list = scratch.path().join("work.json");
    fs_err::write(&list, work.to_json())?;
    let container = Job {
        title: "compiling Python packages".to_owned(),
        arguments: [
            &job.interpreter.path,
            "-sSB",
            "-Wignore",
            "/tmp/cog-compile/compile.py",
            "/tmp/cog-compile/work.json",
        ]
        .map(str::to_owned)
        .to_vec(),
        // The order of sets of strings must not differ between runs.
        environment: vec![
            ("PYTHONHASHSEED".into(), "0".into()),
            ("LC_ALL".into(), "C.UTF-8".into()),
        ],
        working_dir: "/".to_owned(),
        mounts: vec![
            Mount::read_only(job.root, INPUT),
            Mount::writable(&output, OUTPUT),
            Mount::read_only(script, "/tmp/cog-compile/compile.py"),
            Mount::read_only(list, "/tmp/cog-compile/work.json"),
        ],
        output: CommandOutput::Kept,
    };
    workshop.run_container(job.base, &container)?;
    let output = Output {
        tree: Tree::open(&output)?,
        folder: output,
        _scratch: scratch,
    };
    Ok(Compiled {
        output: Some(output),
        interpreter,
    })
}

fn modules(files: &[File], job: &CompileJob<'_>) -> Vec<Module> {
    let module = |file: &File| {
        let Source::Staged(staged) = &file.source else {
            return None;
        };
        let relative = staged.strip_prefix(job.root).ok()?.to_str()?;
        bytecode::is_wanted(&file.path, job.interpreter).then(|| Module {
            source: format!("{INPUT}/{relative}"),
            path: file.path.clone(),
        })
    };
    files.iter().filter_map(module).collect()
}

impl Compiled {
    /// The compiled forms of those of `files` that have one.
    pub(crate) fn of(&self, files: &[File]) -> Result<Vec<File>> {
        let Some(output) = &self.output else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        for file in files.iter().filter(|file| bytecode::is_module(&file.path)) {
            let (folder, tree) = (&output.folder, &output.tree);
            let source = bytecode::compiled(folder, tree, &file.path, &self.interpreter)?;
            all.extend(source.map(|source| File {
                path: bytecode::compiled_path(&file.path, &self.interpreter),
                source: Source::Staged(source),
                executable: false,
            }));
        }
        Ok(all)
    }
}
