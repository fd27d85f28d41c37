//! Byte-compiles packages in one container over the base.

use std::path::{Path, PathBuf};

use cog_files::Folder;
use cog_image::{Layer, Scratch};

use crate::architecture::Architecture;
use crate::base::LockedBase;
use crate::container::{Job, Mount};
use crate::error::{CommandOutput, Result};
use crate::executor::Executor;
use crate::plan::Bytecode;
use cog_python::bytecode::{self, Module, SCRIPT, Work};
use cog_python::distribution::{File, Source};
use cog_python::venv::Interpreter;

/// Where the container finds the files to compile.
const INPUT: &str = "/tmp/cog-compile/in";
/// Where the container leaves what it compiled.
const OUTPUT: &str = "/tmp/cog-compile/out";

/// Files to compile.
pub(crate) struct CompileJob<'a> {
    /// The Python that will import them.
    pub(crate) interpreter: &'a Interpreter,
    /// What brings it. Nothing else of an image: what is compiled must not depend on that, and unpacking it takes time.
    pub(crate) base: &'a LockedBase,
    /// Files of packages, each of which is compiled apart from the others. Those below `root`
    /// count.
    pub(crate) packages: Vec<&'a [File]>,
    /// The folder that holds the files on the host.
    pub(crate) root: &'a Path,
    /// Whether anything is to be compiled.
    pub(crate) bytecode: Bytecode,
}

/// The compiled forms of a job's files; they live as long as this value.
pub(crate) struct Compiled {
    output: Option<Output>,
    interpreter: Interpreter,
}

/// What the container left, which is read as a foreign tree.
struct Output {
    folder: PathBuf,
    tree: Folder,
    _scratch: Scratch,
}

/// Compiles the files of `job` with the base's Python. Where nothing is compiled, the
/// first start of a model takes longer.
pub(crate) fn compile(executor: &Executor<'_>, job: &CompileJob<'_>) -> Result<Compiled> {
    let packages: Vec<Vec<Module>> = job
        .packages
        .iter()
        .map(|files| modules(files, job))
        .collect();
    let mount = || Mount::read_only(job.root, INPUT).with_files(sources(&packages));
    let (layers, interpreter) = job.base.compiling();
    let output = match (job.bytecode, &job.base.compiler) {
        (Bytecode::Absent, _) => None,
        (Bytecode::Compiled, None) => run(executor, interpreter, &packages, vec![mount()], layers)?,
        (Bytecode::Compiled, Some(_)) => {
            let here = Executor {
                architecture: Architecture::host(),
                containers: executor.here,
                ..*executor
            };
            run(&here, interpreter, &packages, vec![mount()], layers)?
        }
    };
    Ok(Compiled {
        output,
        interpreter: job.interpreter.clone(),
    })
}

/// Compiles all modules in the folder `path` of `root`, a root file system, with `interpreter`, which is there too. What
/// comes out of it is put beside them. The layers of `base` are what the interpreter runs on.
pub(crate) fn compile_folder(
    executor: &Executor<'_>,
    interpreter: &Interpreter,
    root: &Path,
    path: &str,
    base: &[Layer],
) -> Result<()> {
    let mut found = Vec::new();
    collect_modules(root, path, &mut found)?;
    found.sort();
    let modules = found.iter().map(|path| Module {
        source: format!("/{path}"),
        path: path.clone(),
    });
    let packages = [modules.collect()];
    let mounts = vec![Mount::read_only(root.join(path), format!("/{path}"))];
    let Some(output) = run(executor, interpreter, &packages, mounts, base)? else {
        return Ok(());
    };
    for path in &found {
        let compiled = bytecode::compiled(&output.folder, &output.tree, path, interpreter)?;
        if let Some(compiled) = compiled {
            let target = root.join(bytecode::compiled_path(path, interpreter));
            fs_err::create_dir_all(target.parent().unwrap_or(root))?;
            fs_err::rename(compiled, target)?;
        }
    }
    Ok(())
}

/// Adds the paths of the modules in the folder `path` of `root` to `found`, but for those of tests.
fn collect_modules(root: &Path, path: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in fs_err::read_dir(root.join(path))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let inside = format!("{path}/{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && !bytecode::is_of_tests(&name) {
            collect_modules(root, &inside, found)?;
        } else if kind.is_file() && bytecode::is_module(&name) {
            found.push(inside);
        }
    }
    Ok(())
}

/// Compiles `packages` in a container over `base` that sees them through `mounts`; nothing if there is nothing to compile.
fn run(
    executor: &Executor<'_>,
    interpreter: &Interpreter,
    packages: &[Vec<Module>],
    mut mounts: Vec<Mount>,
    base: &[Layer],
) -> Result<Option<Output>> {
    let work = Work::new(packages, interpreter, executor.worker_count(), OUTPUT);
    if work.is_empty() {
        return Ok(None);
    }
    let scratch = executor.store.scratch()?;
    let output = scratch.path().join("out");
    fs_err::create_dir(&output)?;
    let script = scratch.path().join("compile.py");
    fs_err::write(&script, SCRIPT)?;
    let list = scratch.path().join("work.json");
    fs_err::write(&list, work.to_json())?;
    mounts.extend([
        Mount::writable(&output, OUTPUT),
        Mount::read_only(script, "/tmp/cog-compile/compile.py"),
        Mount::read_only(list, "/tmp/cog-compile/work.json"),
    ]);
    let container = Job {
        title: "compiling Python packages".to_owned(),
        arguments: [
            &interpreter.path,
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
        mounts,
        output: CommandOutput::Kept,
    };
    executor.run_container(base, &container)?;
    Ok(Some(Output {
        tree: Folder::open(&output)?,
        folder: output,
        _scratch: scratch,
    }))
}

/// What is compiled, by paths below the root: of what else packages have there may be much.
fn sources(packages: &[Vec<Module>]) -> Vec<PathBuf> {
    let sources = packages.iter().flatten().map(|module| &module.source);
    let below = sources.filter_map(|source| Path::new(source).strip_prefix(INPUT).ok());
    below.map(Path::to_owned).collect()
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
