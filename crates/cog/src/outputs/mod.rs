//! What becomes of a prediction's output: text on stdout, files on disk.
//!
//! A file has the extension of the name that the model gave it; its type counts where there is no name. The whole name
//! counts in a folder that is there for it (`--output DIR/`), never where it could replace a file that nobody meant.

mod data_url;
mod folder;
mod growing;
mod name;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::inputs::expanded;

use data_url::DataUrl;
use folder::Folder;
pub(crate) use growing::Growing;
pub(crate) use name::mime_of;

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
    #[error(
        "the model gives several files, which cannot go to standard output; name a folder for them: `--output DIR/`"
    )]
    SeveralToStdout,
    #[error("Failed to write output to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the model's output is no valid data URL: {0}")]
    DataUrl(String),
    #[error("Failed to show output: {0}")]
    Json(#[from] serde_json::Error),
}

/// Where output goes that needs a file, and what the user said of it.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    folder: Folder,
    named: Named,
    form: Form,
}

/// What `--output` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// It isn't there.
    Nothing,
    /// `-`
    Stdout,
    /// A file, or a folder that gets one of our name.
    File,
    /// `DIR/`: a folder for files under the names that the model gave them.
    Folder,
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
    pub(crate) stdout: Option<Vec<u8>>,
    pub(crate) messages: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Written {
    fn text(text: String) -> Self {
        Self {
            stdout: Some(text.into_bytes()),
            ..Self::default()
        }
    }

    fn wrote(&mut self, path: &Path) {
        self.messages
            .push(format!("Written output to: {}", shown(path)));
    }
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
    let named = match output {
        None => Named::Nothing,
        Some("-") => Named::Stdout,
        Some(output) if output.ends_with('/') => Named::Folder,
        Some(_) => Named::File,
    };
    let path = match output {
        Some(output) if named != Named::Stdout => {
            cwd.join(expanded(output.strip_prefix('@').unwrap_or(output)))
        }
        _ => cwd.join(fallback),
    };
    if named == Named::Folder && !path.is_dir() {
        fs_err::create_dir(&path).map_err(|_| OutputError::Directory(path.clone()))?;
    }
    let path = match (named, path.is_dir()) {
        (Named::Nothing, true) => {
            return Err(OutputError::DefaultIsDirectory(fallback.to_owned()));
        }
        (Named::File | Named::Folder, true) => path.join(fallback),
        _ => path,
    };
    let path = followed(path, named, project);
    let parent = path.parent().unwrap_or(cwd);
    // Without a name nothing may have to be written at all, so a folder that can't be written to is no mistake yet.
    let must_be_written = matches!(named, Named::File | Named::Folder);
    let unwritable =
        must_be_written && rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_err();
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

/// What a link leads to that the user has named; in the project, a model could have made it.
fn followed(path: PathBuf, named: Named, project: &Path) -> PathBuf {
    let is_link = named == Named::File && path.is_symlink();
    if !is_link || folder::inside(&path, project).is_some() || leads_to_an_open_file(&path) {
        return path;
    }
    fs_err::canonicalize(&path).unwrap_or(path)
}

/// Devices are for places outside the project: in there a model could have put one. What leads to an open file, as
/// `/dev/stdout` does, is none that another file could take the place of.
fn form(path: &Path, project: &Path) -> Form {
    let special = fs_err::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
        || leads_to_an_open_file(path);
    if special && folder::inside(path, project).is_none() {
        Form::Device
    } else {
        Form::File
    }
}

fn leads_to_an_open_file(path: &Path) -> bool {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    opened.is_err_and(|error| error == rustix::io::Errno::LOOP) && fs_err::metadata(path).is_ok()
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
    if let Some(urls) = files(output, schema) {
        if let (Named::Stdout, [(None, url)]) = (destination.named, urls.as_slice()) {
            written.stdout = Some(DataUrl::parse(url)?.content()?);
            return Ok(written);
        }
        let mut files = destination.files(&destination.path);
        for (index, url) in urls {
            written.wrote(&files.write(url, index)?);
        }
        return Ok(written);
    }
    if destination.named == Named::Folder && output.is_object() {
        let mut output = output.clone();
        let mut files = destination.files(&destination.path);
        for path in files.replace(&mut output, "")? {
            written.wrote(&path);
        }
        if !written.messages.is_empty() {
            written.stdout = Some(format!("{}\n", pretty(&output)?).into_bytes());
            return Ok(written);
        }
    }
    let text = match output {
        Value::String(text) if schema.is_none_or(|schema| schema["type"] == "string") => {
            text.clone()
        }
        other => pretty(other)?,
    };
    match destination.named {
        Named::Nothing | Named::Stdout => return Ok(Written::text(format!("{text}\n"))),
        Named::File | Named::Folder => {}
    }
    destination.store(&destination.path, text.as_bytes())?;
    written.wrote(&destination.path);
    Ok(written)
}

/// The whole result as a JSON document; files are written and replaced by their paths.
pub(crate) fn write_json(
    response: &Value,
    schema: Option<&Value>,
    destination: &Destination,
) -> Result<Written, OutputError> {
    let mut output = response["output"].clone();
    if let Some(urls) = files(&response["output"], schema) {
        let mut files = destination.files(&destination.path.with_extension(""));
        let paths = urls
            .into_iter()
            .map(|(index, url)| Ok(Value::from(shown(&files.write(url, index)?))))
            .collect::<Result<Vec<_>, OutputError>>()?;
        output = match (output, paths) {
            (Value::Array(_), paths) => Value::Array(paths),
            (_, mut paths) => paths.pop().unwrap_or_default(),
        };
    } else if destination.named == Named::Folder && output.is_object() {
        let mut files = destination.files(&destination.path.with_extension(""));
        // The document comes last, and takes the place of nothing.
        files.beside(&name_of(&destination.path));
        files.replace(&mut output, "")?;
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
    if matches!(destination.named, Named::Nothing | Named::Stdout) {
        return Ok(Written::text(text));
    }
    let mut written = Written::default();
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
    written.wrote(&destination.path);
    Ok(written)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The contents of all files in an output, wherever they are in it.
pub(crate) fn contents(output: &Value) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
    match output {
        Value::Array(items) => Box::new(items.iter().flat_map(contents)),
        Value::Object(map) => Box::new(map.values().flat_map(contents)),
        Value::String(text) if data_url::is_file(text) => {
            let content = DataUrl::parse(text).and_then(|file| file.content());
            Box::new(content.ok().into_iter())
        }
        _ => Box::new(std::iter::empty()),
    }
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
    /// Refuses what the model's schema says cannot go there, before the model runs.
    pub(crate) fn check(&self, schema: &Value, json_mode: bool) -> Result<(), OutputError> {
        let several = schema["items"]["format"] == "uri";
        if self.named == Named::Stdout && several && !json_mode {
            return Err(OutputError::SeveralToStdout);
        }
        Ok(())
    }

    /// Where an output of this kind is a list of values that come one by one, and goes to standard output: what is shown
    /// of it while it grows. In JSON mode it is a part of a document, which comes at the end.
    pub(crate) fn growing(&self, schema: &Value, json_mode: bool) -> Option<Growing> {
        let is_shown = matches!(self.named, Named::Nothing | Named::Stdout) && !json_mode;
        let comes_one_by_one = schema["x-cog-array-type"] == "iterator";
        let is_files = schema["items"]["format"] == "uri";
        (is_shown && comes_one_by_one && !is_files).then(Growing::default)
    }

    /// The files of one output, which are called like `stem` where their own names do not count.
    fn files(&self, stem: &Path) -> Files<'_> {
        Files {
            destination: self,
            stem: stem.to_owned(),
            taken: BTreeSet::new(),
        }
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

/// Writes the files of one output, each under a name of its own.
struct Files<'a> {
    destination: &'a Destination,
    stem: PathBuf,
    /// Names so far, without regard to case, which some file systems do not know.
    taken: BTreeSet<String>,
}

impl Files<'_> {
    fn write(&mut self, url: &str, index: Option<usize>) -> Result<PathBuf, OutputError> {
        let file = DataUrl::parse(url)?;
        let given = file.name().and_then(|given| name::plain(&given));
        let ours = numbered(&self.stem, index, file.extension().as_deref());
        let path = match (self.destination.form, self.destination.named) {
            (Form::Device, _) => self.destination.path.clone(),
            (Form::File, Named::Folder) => {
                let ours = ours.file_name().unwrap_or_default().to_string_lossy();
                self.beside(&given.unwrap_or_else(|| ours.into_owned()))
            }
            (Form::File, _) => ours,
        };
        self.destination.store(&path, &file.content()?)?;
        Ok(path)
    }

    /// Writes the files in an object, and puts their paths in their places. They are called after their keys if the
    /// model gave no names.
    fn replace(&mut self, value: &mut Value, key: &str) -> Result<Vec<PathBuf>, OutputError> {
        let below = |part: &str| match key {
            "" => part.to_owned(),
            key => format!("{key}.{part}"),
        };
        let mut paths = Vec::new();
        match value {
            Value::Object(map) => {
                for (part, value) in map {
                    paths.extend(self.replace(value, &below(part))?);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter_mut().enumerate() {
                    paths.extend(self.replace(value, &below(&index.to_string()))?);
                }
            }
            Value::String(text) if data_url::is_file(text) => {
                let file = DataUrl::parse(text)?;
                let given = file.name().and_then(|given| name::plain(&given));
                let path = self.beside(&given.unwrap_or_else(|| {
                    let stem = name::plain(key).unwrap_or_else(|| "output".into());
                    match file.extension() {
                        Some(extension) => format!("{stem}.{extension}"),
                        None => stem,
                    }
                }));
                self.destination.store(&path, &file.content()?)?;
                *value = shown(&path).into();
                paths.push(path);
            }
            _ => {}
        }
        Ok(paths)
    }

    /// A path in the destination's folder that no other file of this output has.
    fn beside(&mut self, name: &str) -> PathBuf {
        let mut number = 0;
        let mut distinct = name.to_owned();
        while !self.taken.insert(distinct.to_lowercase()) {
            number += 1;
            distinct = name::with_number(name, number);
        }
        self.destination.path.with_file_name(distinct)
    }
}

/// The destination's own extension stays whatever the content; one that is missing, or only a number, is the file's.
fn numbered(destination: &Path, index: Option<usize>, extension: Option<&str>) -> PathBuf {
    let is_number =
        |extension: &&OsStr| extension.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let own = destination.extension().filter(|own| !is_number(own));
    let stem = match own {
        Some(_) => destination.with_extension(""),
        None => destination.to_owned(),
    };
    let index = index.map(|index| index.to_string());
    let parts = index.as_ref().map(OsStr::new).into_iter();
    let mut name = stem.into_os_string();
    for part in parts.chain(own.or(extension.map(OsStr::new))) {
        name.push(".");
        name.push(part);
    }
    name.into()
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
mod tests;
