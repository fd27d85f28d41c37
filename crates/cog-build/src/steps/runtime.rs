//! Adds what runs the model: the SDK in the environment, and the server.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cog_files::Status;
use cog_image::{Digest, Entry, EntryKind, StepRecord};
use serde_json::json;

use super::python_packages::{CompileJob, compile, entry};
use crate::architecture::Architecture;
use crate::base::LockedBase;
use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::lock::LockedRuntime;
use crate::plan::{Bytecode, key};
use crate::sdk::{self, VERSION};
use crate::step_output::StepOutput;
use cog_python::distribution::{File, Source};
use cog_python::freeze::Freeze;
use cog_python::record::{self, Row};
use cog_python::venv::Interpreter;

/// Path of the `coglet` program, where it is not beside the running one.
pub const COG_COGLET_BINARY: &str = "COG_COGLET_BINARY";

/// Path of the `coglet` program for images of another platform than this machine's, where it is not beside the running
/// program as `coglet-linux-amd64`.
pub const COG_COGLET_BINARY_AMD64: &str = "COG_COGLET_BINARY_AMD64";

/// The same for `coglet-linux-arm64`.
pub const COG_COGLET_BINARY_ARM64: &str = "COG_COGLET_BINARY_ARM64";

/// Bytes at the beginning of a program that say what it is for.
const HEAD: u64 = 64;

/// Where images have the server, without leading slash.
const SERVER: &str = "usr/local/bin/coglet";

/// The server's program for `architecture`. For this machine it is the one that is `given`, else the one beside this
/// program.
pub(crate) fn server_program(given: Option<&Path>, architecture: Architecture) -> Result<PathBuf> {
    let program = if architecture.is_host() {
        own_program(given)?
    } else {
        let (name, variable) = other_server(architecture);
        let given = std::env::var_os(variable).filter(|path| !path.is_empty());
        match given {
            Some(path) => named(Path::new(&path), variable)?,
            None => beside(&name).map_err(|beside| BuildError::NoServerFor {
                architecture,
                path: beside.with_file_name(&name),
                variable,
            })?,
        }
    };
    check_program(&program, architecture)?;
    Ok(program)
}

fn own_program(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => named(path, COG_COGLET_BINARY),
        None => beside("coglet").map_err(|beside| BuildError::NoServer { beside }),
    }
}

/// The program that a variable names.
fn named(path: &Path, variable: &'static str) -> Result<PathBuf> {
    let found = fs_err::canonicalize(path).and_then(|path| {
        let is_file = fs_err::metadata(&path)?.is_file();
        if is_file {
            return Ok(path);
        }
        let reason = format!("`{}` is no file", path.display());
        Err(std::io::Error::other(reason))
    });
    found.map_err(|source| BuildError::ServerVariable { variable, source })
}

/// What the server for another `architecture` is called beside this program, and the variable that names it elsewhere.
fn other_server(architecture: Architecture) -> (String, &'static str) {
    let variable = match architecture {
        Architecture::Amd64 => COG_COGLET_BINARY_AMD64,
        Architecture::Arm64 => COG_COGLET_BINARY_ARM64,
    };
    (format!("coglet-linux-{}", architecture.name()), variable)
}

/// The program `name` beside this one, whose path is the error if there is none.
fn beside(name: &str) -> Result<PathBuf, PathBuf> {
    let current = std::env::current_exe().unwrap_or_default();
    let folder = current.parent().unwrap_or(Path::new("/"));
    // Test programs are one folder below the programs of their workspace.
    let places = [folder.join(name), folder.join("..").join(name)];
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or(current)
}

/// Refuses a program that does not run on `architecture`. For this machine's own, a script is one too.
fn check_program(program: &Path, architecture: Architecture) -> Result<()> {
    let mut head = Vec::new();
    let file = fs_err::File::open(program)?;
    file.take(HEAD).read_to_end(&mut head)?;
    let is_script = architecture.is_host() && !head.starts_with(b"\x7fELF");
    match architecture.mismatch(&head) {
        Some(is) if !is_script => Err(BuildError::WrongServer {
            path: program.to_owned(),
            is,
            architecture,
        }),
        _ => Ok(()),
    }
}

/// SDK and server by their content.
pub(crate) fn lock(executor: &Executor<'_>, server: &Path) -> Result<LockedRuntime> {
    Ok(LockedRuntime {
        version: VERSION.to_owned(),
        sdk: sdk::digest(),
        server: server_digest(executor, server, SystemTime::now())?,
    })
}

/// Hash of the server's program, remembered for the file as it is, unless that changed shortly before `now`: hashing it takes a good
/// part of what a rebuild may take.
fn server_digest(executor: &Executor<'_>, server: &Path, now: SystemTime) -> Result<String> {
    let status = Status::of(server)?;
    if !status.is_settled(now) {
        return Ok(Digest::of(&fs_err::read(server)?).to_string());
    }
    let key = key("server digest", 2)
        .field("path", server.as_os_str().as_encoded_bytes())
        .field("status", status.bytes())
        .finish();
    if let Some(record) = executor.store.step(&key)?
        && let Some(digest) = record.facts["digest"].as_str()
    {
        return Ok(digest.to_owned());
    }
    let digest = Digest::of(&fs_err::read(server)?).to_string();
    let record = StepRecord {
        layers: Vec::new(),
        facts: json!({ "digest": digest }),
    };
    executor.store.record_step(&key, &record)?;
    Ok(digest)
}

/// The content of the program at `server`, which is to be the `locked` one: the layer is kept under its digest.
fn locked_server(locked: &LockedRuntime, server: &Path) -> Result<Vec<u8>> {
    let program = fs_err::read(server)?;
    if Digest::of(&program).to_string() == locked.server {
        return Ok(program);
    }
    Err(BuildError::ServerChanged {
        path: server.to_owned(),
    })
}

/// The layer with SDK and the `locked` server, for the `interpreter` of `base`.
pub(crate) fn run(
    executor: &Executor<'_>,
    interpreter: &Interpreter,
    bytecode: Bytecode,
    (locked, server): (&LockedRuntime, &Path),
    base: &LockedBase,
) -> Result<StepOutput> {
    let program = locked_server(locked, server)?;
    let scratch = executor.store.scratch()?;
    let files = sdk_files(scratch.path(), interpreter)?;
    let job = CompileJob {
        interpreter,
        base,
        packages: vec![files.as_slice()],
        root: scratch.path(),
        bytecode,
    };
    let compiled = compile(executor, &job)?;
    let mut entries: Vec<Entry> = compiled
        .of(&files)?
        .into_iter()
        .chain(files)
        .map(entry)
        .collect();
    for freeze in installed() {
        entries.extend(info_files(&freeze, interpreter).into_iter().map(entry));
    }
    entries.push(Entry {
        path: SERVER.into(),
        kind: EntryKind::Bytes(program),
        mode: 0o755,
    });
    let options = executor.layer_options("cog: runtime");
    let layer = executor.store.add_layer_from_entries(entries, &options)?;
    Ok(StepOutput::layer(layer))
}

/// SDK and server as installed packages.
pub(crate) fn installed() -> [Freeze; 2] {
    ["cog", "coglet"].map(|name| Freeze {
        name: name.to_owned(),
        version: VERSION.to_owned(),
        origin: None,
    })
}

/// Writes the SDK below `folder`, as a package that models import.
pub(crate) fn write_sdk(folder: &Path) -> Result<()> {
    for (path, content) in sdk::files() {
        let file = folder.join(path);
        fs_err::create_dir_all(file.parent().unwrap_or(folder))?;
        fs_err::write(file, content)?;
    }
    Ok(())
}

fn sdk_files(folder: &Path, interpreter: &Interpreter) -> Result<Vec<File>> {
    write_sdk(folder)?;
    let site_packages = interpreter.site_packages();
    let file = |(path, _): &(&str, &[u8])| File {
        path: format!("{site_packages}/{path}"),
        source: Source::Staged(folder.join(path)),
        executable: false,
    };
    Ok(sdk::files().iter().map(file).collect())
}

/// The metadata that lists `freeze` among the installed packages.
fn info_files(freeze: &Freeze, interpreter: &Interpreter) -> Vec<File> {
    let folder = format!("{}-{}.dist-info", freeze.name, freeze.version);
    let metadata = format!(
        "Metadata-Version: 2.1\nName: {}\nVersion: {}\n",
        freeze.name, freeze.version
    );
    let own = ["METADATA", "INSTALLER", "RECORD"].map(|name| format!("{folder}/{name}"));
    let sdk = sdk::files().iter().map(|(path, _)| (*path).to_owned());
    let listed = if freeze.name == "cog" {
        sdk.chain(own).collect()
    } else {
        own.to_vec()
    };
    let row = |path: String| Row {
        path,
        hash: String::new(),
        size: String::new(),
    };
    let content = [
        ("METADATA", metadata),
        ("INSTALLER", "cog\n".to_owned()),
        (
            "RECORD",
            record::write(listed.into_iter().map(row).collect()),
        ),
    ];
    content
        .map(|(name, text)| File {
            path: format!("{}/{folder}/{name}", interpreter.site_packages()),
            source: Source::Content(text.into_bytes()),
            executable: false,
        })
        .to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cog_image::{Compression, Store};
    use cog_python::freeze;

    use super::*;
    use crate::executor::Cache;
    use crate::plan::Symbols;
    use crate::reporter::Silent;

    /// A folder with a store.
    fn with_executor(check: impl FnOnce(&Executor<'_>, &Path)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(&folder.path().join("store")).expect("it opens");
        check(
            &Executor {
                project_dir: folder.path(),
                store: &store,
                architecture: Architecture::host(),
                containers: None,
                here: None,
                own: None,
                reporter: &Silent,
                cache: Cache::Use,
                symbols: Symbols::Kept,
                compression: Compression::Gzip,
                timestamp: 0,
                threads: 1,
            },
            folder.path(),
        );
    }

    /// Puts a program with this content and an old date where one may be.
    fn install(program: &Path, content: &str) {
        fs_err::write(program, content).expect("written");
        let file = fs_err::File::options().write(true).open(program);
        let old = SystemTime::UNIX_EPOCH + Duration::from_hours(1);
        let times = std::fs::FileTimes::new().set_modified(old);
        file.and_then(|file| file.file().set_times(times))
            .expect("dated");
    }

    #[test]
    fn another_program_of_the_same_size_and_date_has_another_digest() {
        with_executor(|executor, folder| {
            let program = folder.join("coglet");
            let digest = |now| server_digest(executor, &program, now).expect("it is there");
            let now = SystemTime::now();
            let later = now + Duration::from_hours(1);
            for (first, second) in [(now, now), (later, later)] {
                install(&program, "one");
                let one = digest(first);
                // As if the clock of the file system had moved.
                std::thread::sleep(Duration::from_millis(20));
                install(&program, "two");
                assert_ne!(one, digest(second));
                assert_eq!(digest(second), Digest::of(b"two").to_string());
            }
        });
    }

    #[test]
    fn a_program_is_read_once_but_for_the_minute_after_it_changed() {
        with_executor(|executor, folder| {
            let program = folder.join("coglet");
            install(&program, "one");
            let records = || {
                let steps = fs_err::read_dir(folder.join("store/steps"));
                steps.map_or(0, Iterator::count)
            };
            let now = SystemTime::now();
            server_digest(executor, &program, now).expect("it is there");
            assert_eq!(records(), 0);
            let later = now + Duration::from_hours(1);
            server_digest(executor, &program, later).expect("it is there");
            assert_eq!(records(), 1);
        });
    }

    #[test]
    fn a_program_that_is_not_the_locked_one_is_not_packed() {
        with_executor(|executor, folder| {
            let program = folder.join("coglet");
            install(&program, "one");
            let locked = lock(executor, &program).expect("it is there");
            assert_eq!(locked_server(&locked, &program).expect("the same"), b"one");
            install(&program, "two");
            let error = locked_server(&locked, &program).unwrap_err().to_string();
            assert!(
                error.ends_with("changed while the image was built"),
                "{error}"
            );
        });
    }

    #[test]
    fn the_runtime_is_listed_as_installed() {
        let text = freeze::text(&installed());
        assert_eq!(text, format!("cog=={VERSION}\ncoglet=={VERSION}\n"));
        let interpreter = Interpreter {
            path: "/usr/bin/python3.11".into(),
            minor: "3.11".into(),
        };
        let [cog, coglet] = installed().map(|freeze| info_files(&freeze, &interpreter));
        let record = |files: &[File]| match &files[2].source {
            Source::Content(content) => String::from_utf8(content.clone()).expect("text"),
            Source::Staged(_) => panic!("it is made here"),
        };
        assert!(
            cog[2]
                .path
                .ends_with(&format!("site-packages/cog-{VERSION}.dist-info/RECORD"))
        );
        assert!(record(&cog).contains(&format!("cog-{VERSION}.dist-info/METADATA,,")));
        assert_eq!(record(&coglet).lines().count(), 3);
    }
}
