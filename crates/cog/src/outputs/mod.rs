//! What becomes of a prediction's output: text on stdout, files on disk.

mod folder;

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::inputs::expanded;

use folder::Folder;

const MODE: u32 = 0o755;

/// The value as people read it: two blanks a level.
pub(crate) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value)
}

/// An output that can't be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("Output directory is not writable: {}", .0.display())]
    Directory(PathBuf),
    #[error("Output path is not writable: {}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("Default output name \"{0}\" conflicts with directory, provide --output")]
    DefaultIsDirectory(String),
    #[error("Failed to write output to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the model's output is no valid data URL: {0}")]
    DataUrl(String),
    #[error("Failed to show output: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where output goes that needs a file, and whether the user named it.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    folder: Folder,
    named: bool,
    form: Form,
}

/// What there is at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A file, or nothing yet.
    File,
    /// Something that is written to as it is, such as `/dev/null` or a named pipe.
    Device,
}

/// What was written, and what is to be said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stdout: Option<String>,
    pub(crate) messages: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Finds the destination and opens its folder, before the model has done its work for nothing. What is in `project` may
/// have been put there by a model.
pub(crate) fn destination(
    output: Option<&str>,
    json_mode: bool,
    cwd: &Path,
    project: &Path,
) -> Result<Destination, OutputError> {
    let fallback = if json_mode { "output.json" } else { "output" };
    let path = match output {
        None => cwd.join(fallback),
        Some(output) => cwd.join(expanded(output.strip_prefix('@').unwrap_or(output))),
    };
    let path = match (output, path.is_dir()) {
        (None, true) => return Err(OutputError::DefaultIsDirectory(fallback.to_owned())),
        (Some(_), true) => path.join(fallback),
        (_, false) => path,
    };
    let parent = path.parent().unwrap_or(cwd);
    let named = output.is_some();
    // Without a name nothing may have to be written at all, so a folder that can't be written to is no mistake yet.
    let unwritable = named && rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_err();
    let form = form(&path, project);
    if !parent.is_dir() || (unwritable && form == Form::File) {
        return Err(OutputError::Directory(parent.to_owned()));
    }
    let folder = Folder::open(parent, project).map_err(|source| OutputError::Path {
        path: path.clone(),
        source,
    })?;
    Ok(Destination {
        path,
        folder,
        named,
        form,
    })
}

/// Devices are for places outside the project: in there a model could have put one.
fn form(path: &Path, project: &Path) -> Form {
    let special = fs_err::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    if special && folder::inside(path, project).is_none() {
        Form::Device
    } else {
        Form::File
    }
}

/// Output for people: files where the schema says so, text or JSON otherwise.
pub(crate) fn write_plain(
    output: &Value,
    schema: Option<&Value>,
    destination: &Destination,
) -> Result<Written, OutputError> {
    if output.is_null() {
        return Ok(Written {
            warnings: vec!["No output generated".into()],
            ..Written::default()
        });
    }
    let mut written = Written::default();
    if let Some(files) = files(output, schema) {
        for (index, url) in files {
            let path = destination.write_file(url, &destination.path, index)?;
            written
                .messages
                .push(format!("Written output to: {}", shown(&path)));
        }
        return Ok(written);
    }
    let text = match output {
        Value::String(text) if schema.is_none_or(|schema| schema["type"] == "string") => {
            text.clone()
        }
        other => pretty(other)?,
    };
    if destination.named {
        destination.store(&destination.path, text.as_bytes())?;
        written
            .messages
            .push(format!("Written output to: {}", shown(&destination.path)));
    } else {
        written.stdout = Some(format!("{text}\n"));
    }
    Ok(written)
}

/// The whole result as a JSON document; files are written and replaced by their paths.
pub(crate) fn write_json(
    response: &Value,
    schema: Option<&Value>,
    destination: &Destination,
) -> Result<Written, OutputError> {
    let mut written = Written::default();
    let mut output = response["output"].clone();
    if let Some(urls) = files(&response["output"], schema) {
        let stem = destination.path.with_extension("");
        let paths = urls
            .into_iter()
            .map(|(index, url)| {
                Ok(Value::from(shown(
                    &destination.write_file(url, &stem, index)?,
                )))
            })
            .collect::<Result<Vec<_>, OutputError>>()?;
        output = match (output, paths) {
            (Value::Array(_), paths) => Value::Array(paths),
            (_, mut paths) => paths.pop().unwrap_or_default(),
        };
    }
    let mut document = Map::new();
    document.insert("status".into(), response["status"].clone());
    document.insert("output".into(), output);
    document.insert(
        "error".into(),
        response["error"].as_str().unwrap_or_default().into(),
    );
    if let Some(metrics) = response.get("metrics").filter(|metrics| !metrics.is_null()) {
        document.insert("metrics".into(), metrics.clone());
    }
    let text = format!("{}\n", pretty(&document)?);
    if !destination.named {
        written.stdout = Some(text);
        return Ok(written);
    }
    if destination
        .path
        .extension()
        .is_none_or(|extension| extension != "json")
    {
        let name = shown(&destination.path);
        written.warnings.push(format!(
            "--output value does not have a .json suffix: {name}"
        ));
    }
    destination.store(&destination.path, text.as_bytes())?;
    written
        .messages
        .push(format!("Written output to: {}", shown(&destination.path)));
    Ok(written)
}

/// The data URLs in an output of files, each with its number if there are several.
fn files<'a>(output: &'a Value, schema: Option<&Value>) -> Option<Vec<(Option<usize>, &'a str)>> {
    let schema = schema?;
    if schema["format"] == "uri" {
        return output
            .as_str()
            .filter(|url| url.starts_with("data:"))
            .map(|url| vec![(None, url)]);
    }
    if schema["items"]["format"] != "uri" {
        return None;
    }
    let urls = output
        .as_array()?
        .iter()
        .map(|item| item.as_str().filter(|url| url.starts_with("data:")));
    urls.enumerate()
        .map(|(index, url)| url.map(|url| (Some(index), url)))
        .collect()
}

impl Destination {
    fn write_file(
        &self,
        url: &str,
        destination: &Path,
        index: Option<usize>,
    ) -> Result<PathBuf, OutputError> {
        let invalid = || OutputError::DataUrl(url.chars().take(40).collect());
        let (header, data) = url
            .strip_prefix("data:")
            .and_then(|rest| rest.split_once(','))
            .ok_or_else(invalid)?;
        let mime = header.split(';').next().unwrap_or_default();
        let content = STANDARD.decode(data).map_err(|_| invalid())?;
        let path = match self.form {
            Form::File => file_name(destination, index, mime),
            Form::Device => destination.to_owned(),
        };
        self.store(&path, &content)?;
        Ok(path)
    }

    /// Writes a file that is in the destination's folder.
    fn store(&self, path: &Path, content: &[u8]) -> Result<(), OutputError> {
        let name = path.file_name().unwrap_or_default();
        let written = match self.form {
            Form::File => self.folder.write(name, content, MODE),
            Form::Device => fs_err::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut device| io::Write::write_all(&mut device, content)),
        };
        written.map_err(|source| OutputError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

/// The destination's own extension stays whatever the content; one that is missing, or only a number, comes from the
/// content's type.
fn file_name(destination: &Path, index: Option<usize>, mime: &str) -> PathBuf {
    let own = destination
        .extension()
        .map(|extension| extension.to_string_lossy().into_owned())
        .filter(|extension| {
            !extension
                .chars()
                .all(|character| character.is_ascii_digit())
        });
    let stem = match own {
        Some(_) => destination.with_extension(""),
        None => destination.to_owned(),
    };
    let extension = own.or_else(|| extension_of(mime).map(str::to_owned));
    let mut name = stem.into_os_string();
    for part in index
        .map(|index| index.to_string())
        .into_iter()
        .chain(extension)
    {
        name.push(".");
        name.push(part);
    }
    name.into()
}

fn extension_of(mime: &str) -> Option<&'static str> {
    Some(match mime {
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "image/tiff" => "tiff",
        "audio/mpeg" => "mp3",
        "audio/ogg" => "oga",
        "audio/wav" | "audio/x-wav" => "wav",
        "video/mp4" => "mp4",
        "video/mpeg" => "mpeg",
        "video/x-msvideo" => "avi",
        "text/plain" => "txt",
        "text/html" => "html",
        "text/markdown" => "md",
        "text/javascript" | "application/javascript" => "js",
        "application/json" => "json",
        "application/jsonl" => "jsonl",
        "application/x-ndjson" => "ndjson",
        "application/gzip" => "gz",
        "application/octet-stream" => "bin",
        "model/gltf-binary" => "glb",
        mime => return mime_guess::get_mime_extensions_str(mime)?.first().copied(),
    })
}

/// Relative to the current directory where it is below it, as the user would write it.
fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&current)
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_and_json_go_to_stdout() {
        let directory = tempfile::tempdir().unwrap();
        let destination = destination(None, false, directory.path(), directory.path()).unwrap();
        for (output, schema, text) in [
            (json!("a b"), json!({ "type": "string" }), "a b\n"),
            (
                json!({ "a": 1 }),
                json!({ "type": "object" }),
                "{\n  \"a\": 1\n}\n",
            ),
            (
                json!(["x"]),
                json!({ "type": "array", "items": { "type": "string" } }),
                "[\n  \"x\"\n]\n",
            ),
        ] {
            let written = write_plain(&output, Some(&schema), &destination).unwrap();
            assert_eq!(written.stdout.as_deref(), Some(text));
        }
        assert_eq!(
            write_plain(&Value::Null, None, &destination)
                .unwrap()
                .warnings,
            ["No output generated"]
        );
    }

    #[test]
    fn files_are_named_after_their_content() {
        let directory = tempfile::tempdir().unwrap();
        let png = "data:image/png;base64,aGk=";
        let text = "data:text/plain;base64,aGk=";
        let one = json!({ "type": "string", "format": "uri" });
        let many = json!({ "type": "array", "items": one });
        for (output, schema, name, files) in [
            (json!(png), &one, None, vec!["output.png"]),
            (json!(png), &one, Some("my.bmp"), vec!["my.bmp"]),
            (
                json!([text, text]),
                &many,
                None,
                vec!["output.0.txt", "output.1.txt"],
            ),
            (json!([text]), &many, Some("out.bmp"), vec!["out.0.bmp"]),
        ] {
            let destination = destination(name, false, directory.path(), directory.path()).unwrap();
            let written = write_plain(&output, Some(schema), &destination).unwrap();
            assert_eq!(written.messages.len(), files.len());
            for file in files {
                assert_eq!(
                    fs_err::read(directory.path().join(file)).unwrap(),
                    b"hi",
                    "{file}"
                );
            }
        }
    }

    #[test]
    fn the_json_document_names_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let destination = destination(None, true, directory.path(), directory.path()).unwrap();
        let response = json!({ "status": "succeeded", "output": "data:text/plain;base64,aGk=", "metrics": { "a": 1 } });
        let schema = json!({ "type": "string", "format": "uri" });
        let written = write_json(&response, Some(&schema), &destination).unwrap();
        let document: Value = serde_json::from_str(&written.stdout.unwrap()).unwrap();
        assert!(document["output"].as_str().unwrap().ends_with("output.txt"));
        assert_eq!(
            (&document["status"], &document["error"]),
            (&json!("succeeded"), &json!(""))
        );
    }

    #[test]
    fn a_folder_that_is_missing_is_found_before_the_model_runs() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            destination(
                Some("no/such/out.txt"),
                false,
                directory.path(),
                directory.path()
            ),
            Err(OutputError::Directory(_))
        ));
        fs_err::create_dir(directory.path().join("output")).unwrap();
        assert!(matches!(
            destination(None, false, directory.path(), directory.path()),
            Err(OutputError::DefaultIsDirectory(_))
        ));
    }

    #[test]
    fn devices_outside_the_project_are_written_to_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str| {
            let destination =
                destination(Some(name), false, directory.path(), directory.path()).unwrap();
            write_plain(&json!("text"), None, &destination).unwrap();
        };
        written("/dev/null");
        assert!(!fs_err::metadata("/dev/null").unwrap().is_file());
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        // Nobody reads it: a model put it there so that we wait.
        written("pipe");
        assert_eq!(fs_err::read_to_string(&pipe).unwrap(), "text");
    }

    #[test]
    fn a_link_in_the_place_of_the_output_is_replaced() {
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        fs_err::write(&victim, "kept").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let destination = destination(None, false, directory.path(), directory.path()).unwrap();
        std::os::unix::fs::symlink(&victim, directory.path().join("output.txt")).unwrap();
        let file = json!("data:text/plain;base64,aGk=");
        let schema = json!({ "type": "string", "format": "uri" });
        write_plain(&file, Some(&schema), &destination).unwrap();
        assert_eq!(fs_err::read_to_string(&victim).unwrap(), "kept");
        let output = fs_err::read_to_string(directory.path().join("output.txt")).unwrap();
        assert_eq!(output, "hi");
    }
}
