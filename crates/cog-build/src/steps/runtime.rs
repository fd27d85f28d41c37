//! Adds what runs the model: the SDK in the environment, and the server.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cog_image::{Digest, Entry, EntryKind, Layer, StepRecord};
use serde_json::json;

use super::python_packages::{CompileJob, compile, entry};
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

/// Where images have the server, without leading slash.
const SERVER: &str = "usr/local/bin/coglet";

/// The server's program on this machine: the one that is given, else the one beside this program.
pub(crate) fn server_program(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(fs_err::canonicalize(path)?);
    }
    let current = std::env::current_exe()?;
    let folder = current.parent().unwrap_or(Path::new("/"));
    // Test programs are one folder below the programs of their workspace.
    let beside = [folder.join("coglet"), folder.join("../coglet")];
    beside
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| BuildError::NoServer { beside: current })
}

/// SDK and server by their content.
pub(crate) fn lock(executor: &Executor<'_>, server: &Path) -> Result<LockedRuntime> {
    Ok(LockedRuntime {
        version: VERSION.to_owned(),
        sdk: sdk::digest(),
        server: server_digest(executor, server)?,
    })
}

/// Hash of the server's program, remembered for the file as it is: hashing it takes a good part of
/// what a rebuild may take.
fn server_digest(executor: &Executor<'_>, server: &Path) -> Result<String> {
    let metadata = fs_err::metadata(server)?;
    let stamp = [
        metadata.dev().to_string(),
        metadata.ino().to_string(),
        metadata.size().to_string(),
        metadata.mtime().to_string(),
        metadata.mtime_nsec().to_string(),
    ];
    let key = key("server digest", 1)
        .field("path", server.as_os_str().as_encoded_bytes())
        .field("stamp", stamp.join(" "))
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

/// The layer with SDK and server, for the `interpreter` of the layers `base`.
pub(crate) fn run(
    executor: &Executor<'_>,
    interpreter: &Interpreter,
    bytecode: Bytecode,
    server: &Path,
    base: &[Layer],
) -> Result<StepOutput> {
    let scratch = executor.store.scratch()?;
    let files = sdk_files(scratch.path(), interpreter)?;
    let job = CompileJob {
        interpreter,
        packages: vec![files.as_slice()],
        root: scratch.path(),
        bytecode,
        base,
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
        kind: EntryKind::File(server.to_owned()),
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
    use super::*;
    use cog_python::freeze;

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
