//! Values from the worker, made complete: spilled text is read, file markers become data URLs or, if
//! there is a store, the URLs of uploaded files.
//!
//! This goes in two steps, because files have to be named in the order in which the model gave them,
//! while several may be on their way at once.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cog_files::{Links, open_regular, read_regular};
use futures_util::future::try_join_all;
use serde_json::value::RawValue;

use super::name::media_type;
use super::turns::{Turn, Turns};
use super::upload::{UploadError, Uploads};
use super::{data_url, run_blocking};
use crate::json::{close_string, elements};
use crate::predictions::{FileNames, Order};
use crate::protocol::{Content, FileMarker, FileMarkers, MarkedFile, Payload};
use crate::temp::TempFile;

/// Why an output could not be delivered. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("could not read output file: {0}")]
    File(#[source] io::Error),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("could not read a large output: {0}")]
    Spilled(#[source] io::Error),
    #[error("Failed to parse output JSON: a string in it is not valid Unicode (a lone surrogate)")]
    NotUnicode,
    #[error("Failed to parse output JSON: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A value with its files still to be delivered.
#[derive(Debug)]
pub(crate) enum Loaded {
    One(Part),
    List(Vec<Part>),
}

#[derive(Debug)]
pub(crate) enum Part {
    /// JSON text.
    Text(Bytes),
    File(OutputFile),
}

/// A file that the model gave as output.
#[derive(Debug)]
pub(crate) struct OutputFile {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) mime: String,
    /// By the model, not by us.
    is_named: bool,
    /// A copy made by the worker for this purpose, which goes with this.
    _spooled: Option<TempFile>,
    /// After files of the same name.
    pub(super) turn: Turn,
}

/// Gives names to the files of one prediction that have none.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Open files so far, named or not.
    open_files: AtomicUsize,
    turns: Turns,
}

/// Finds the files in a value.
pub(crate) async fn load(payload: Payload, names: &Names) -> Result<Loaded, OutputError> {
    let text = match payload.content {
        Content::Inline(text) => text,
        Content::NotUnicode => return Err(OutputError::NotUnicode),
        Content::Spilled(path) => run_blocking(move || read_spilled(&path)).await?,
        Content::SpilledText(path) => run_blocking(move || read_spilled_text(&path)).await?,
    };
    Ok(match payload.files {
        FileMarkers::None => Loaded::One(Part::Text(text)),
        FileMarkers::Whole => Loaded::One(Part::File(names.open(&text)?)),
        FileMarkers::Elements(indexes) => {
            let part = |(index, text): (usize, Bytes)| {
                if indexes.contains(&index) {
                    names.open(&text).map(Part::File)
                } else {
                    Ok(Part::Text(text))
                }
            };
            let parts = elements(&text).into_iter().enumerate().map(part);
            Loaded::List(parts.collect::<Result<_, _>>()?)
        }
    })
}

/// The JSON text that the client gets.
pub(crate) async fn deliver(
    loaded: Loaded,
    uploads: Option<&Uploads>,
    order: &Order,
) -> Result<Bytes, OutputError> {
    let (prediction_id, names) = (&order.id, order.file_names);
    match (loaded, uploads) {
        (Loaded::One(Part::Text(text)), _) => Ok(text),
        (loaded, None) => run_blocking(move || inlined(loaded, names)).await,
        (Loaded::One(part), Some(uploads)) => uploaded(part, uploads, prediction_id).await,
        (Loaded::List(parts), Some(uploads)) => {
            let texts = parts
                .into_iter()
                .map(|part| uploaded(part, uploads, prediction_id));
            Ok(list(&try_join_all(texts).await?))
        }
    }
}

/// Removes the files that a value nobody wants any more leaves behind.
pub(crate) async fn discard(payload: Payload) {
    if payload.needs_work() {
        // What is loaded goes when it is dropped.
        drop(load(payload, &Names::default()).await);
    }
}

impl Names {
    fn open(&self, marker: &[u8]) -> Result<OutputFile, OutputError> {
        let MarkedFile {
            path,
            name,
            mime,
            delete,
        } = serde_json::from_slice::<FileMarker>(marker)?.file;
        let number = delete.then(|| self.open_files.fetch_add(1, Ordering::Relaxed));
        let name = name.map(|name| as_in_url(&name));
        let name = name.filter(|name| is_file_name(name));
        let is_named = name.is_some();
        let mime = name
            .as_deref()
            .map_or_else(|| mime.clone(), |name| media_type(name, &mime));
        let name = name.unwrap_or_else(|| format!("{}.bin", number.unwrap_or_default()));
        Ok(OutputFile {
            turn: self.turns.next(&name),
            mime,
            is_named,
            name,
            _spooled: number.map(|_| TempFile::at(path.clone())),
            path,
        })
    }
}

/// URLs have neither tabs nor line breaks.
fn as_in_url(name: &str) -> String {
    name.replace(['\t', '\n', '\r'], "")
}

/// Whether a name can be the last segment of a URL.
fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
}

fn read_spilled(path: &Path) -> Result<Bytes, OutputError> {
    let text = read_regular(path, Links::Refused, u64::MAX).map_err(OutputError::Spilled)?;
    let text = Bytes::from(text);
    // If it cannot be removed now, it goes with its directory.
    let _ = fs_err::remove_file(path);
    // Made by the worker, but also within reach of the model.
    serde_json::from_slice::<&RawValue>(&text)?;
    Ok(text)
}

fn read_spilled_text(path: &Path) -> Result<Bytes, OutputError> {
    let read = || {
        let mut file = open_regular(path, Links::Refused)?;
        let size = usize::try_from(file.metadata()?.len()).unwrap_or_default();
        let mut text = Vec::new();
        text.try_reserve(size.saturating_add(3))?;
        text.push(b'"');
        file.read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(OutputError::Spilled)?;
    let _ = fs_err::remove_file(path);
    close_string(text)
        .map(Bytes::from)
        .ok_or(OutputError::NotUnicode)
}

async fn uploaded(
    part: Part,
    uploads: &Uploads,
    prediction_id: &str,
) -> Result<Bytes, OutputError> {
    match part {
        Part::Text(text) => Ok(text),
        Part::File(mut file) => {
            file.turn.come().await;
            let url = uploads.send(&file, prediction_id).await?;
            Ok(serde_json::Value::from(url).to_string().into())
        }
    }
}

fn list(texts: &[Bytes]) -> Bytes {
    [b"[", texts.join(&b',').as_slice(), b"]"].concat().into()
}

/// Files become data URLs, read piece by piece into the text.
fn inlined(loaded: Loaded, names: FileNames) -> Result<Bytes, OutputError> {
    let mut text = Vec::new();
    match loaded {
        Loaded::One(part) => append(&mut text, part, names)?,
        Loaded::List(parts) => {
            text.push(b'[');
            for (index, part) in parts.into_iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                append(&mut text, part, names)?;
            }
            text.push(b']');
        }
    }
    Ok(text.into())
}

fn append(text: &mut Vec<u8>, part: Part, names: FileNames) -> Result<(), OutputError> {
    match part {
        Part::Text(part) => text.extend_from_slice(&part),
        Part::File(file) => {
            let mut content =
                open_regular(&file.path, Links::Refused).map_err(OutputError::File)?;
            let size = content.metadata().map_err(OutputError::File)?.len();
            let name = Some(file.name.as_str());
            let name = name.filter(|_| file.is_named && names == FileNames::InUrls);
            data_url::append(text, &file.mime, name, &mut content, size)
                .map_err(OutputError::File)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::memory::Asked;

    fn marker(path: &Path, delete: bool) -> Value {
        json!({"__cog_file__": {"path": path, "name": "a.txt", "mime": "text/plain", "delete": delete}})
    }

    fn resolve_now(payload: Payload) -> Result<Bytes, OutputError> {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async {
                let order = Order::new("a".into(), Asked::default(), None);
                deliver(load(payload, &Names::default()).await?, None, &order).await
            })
    }

    fn resolved(value: &Value, files: FileMarkers) -> Result<Value, String> {
        let payload = Payload {
            content: Content::Inline(value.to_string().into()),
            files,
        };
        resolve_now(payload)
            .map(|text| serde_json::from_slice(&text).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn announced_files_become_data_urls() {
        let directory = tempfile::tempdir().unwrap();
        let (kept, spooled) = (
            directory.path().join("a.txt"),
            directory.path().join("b.txt"),
        );
        fs_err::write(&kept, "Hello").unwrap();
        fs_err::write(&spooled, "Hello").unwrap();
        let url = json!("data:text/plain;base64,SGVsbG8=");
        assert_eq!(
            resolved(&marker(&kept, false), FileMarkers::Whole),
            Ok(url.clone())
        );
        let list = json!([marker(&kept, false), 1, marker(&spooled, true)]);
        assert_eq!(
            resolved(&list, FileMarkers::Elements(vec![0, 2])),
            Ok(json!([url, 1, url]))
        );
        assert!(kept.exists() && !spooled.exists());
    }

    #[test]
    fn what_was_not_announced_is_plain_data() {
        let forged = marker(Path::new("/etc/hostname"), true);
        assert_eq!(resolved(&forged, FileMarkers::None), Ok(forged.clone()));
        let list = json!([forged]);
        assert_eq!(resolved(&list, FileMarkers::None), Ok(list.clone()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = resolved(
            &marker(Path::new("/no/such.png"), false),
            FileMarkers::Whole,
        )
        .unwrap_err();
        assert!(message.contains("/no/such.png"), "{message}");
    }

    /// Whatever has taken its place since the worker looked at it.
    #[test]
    fn a_file_that_was_exchanged_is_not_waited_for_and_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        let permissions = rustix::fs::Mode::RUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, permissions, 0).unwrap();
        fs_err::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        for (path, reason) in [(&pipe, "not a regular file"), (&link, "it is a link")] {
            let message = resolved(&marker(path, false), FileMarkers::Whole).unwrap_err();
            assert!(message.contains(reason), "{message}");
            for content in [Content::Spilled, Content::SpilledText] {
                let spilled = Payload {
                    content: content(path.clone()),
                    files: FileMarkers::None,
                };
                let message = resolve_now(spilled).unwrap_err().to_string();
                assert!(message.contains(reason), "{message}");
            }
        }
    }

    #[test]
    fn spilled_values_are_read_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1");
        let spilled = || Payload {
            content: Content::Spilled(path.clone()),
            files: FileMarkers::None,
        };
        fs_err::write(&path, "[1,2]").unwrap();
        assert_eq!(resolve_now(spilled()).unwrap(), "[1,2]");
        assert!(!path.exists());
        fs_err::write(&path, "[1,").unwrap();
        assert!(matches!(
            resolve_now(spilled()),
            Err(OutputError::Malformed(_))
        ));
    }

    #[test]
    fn large_strings_become_json() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1");
        let check = |content: &[u8]| {
            fs_err::write(&path, content).unwrap();
            resolve_now(Payload {
                content: Content::SpilledText(path.clone()),
                files: FileMarkers::None,
            })
        };
        for text in ["", "plain é", "a \"quote\"\n\\ and \u{1}"] {
            let json = check(text.as_bytes()).unwrap();
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            assert!(!path.exists());
        }
        let half = check(b"\xed\xa0\x80").unwrap_err();
        assert!(matches!(half, OutputError::NotUnicode));
    }

    #[test]
    fn files_are_named_in_order() {
        let names = Names::default();
        let name = |name: Value, delete: bool| {
            let file =
                json!({"path": "/no/such/file", "name": name, "mime": "m", "delete": delete});
            let marker = json!({"__cog_file__": file}).to_string();
            names.open(marker.as_bytes()).unwrap().name
        };
        assert_eq!(name(json!("a.png"), false), "a.png");
        assert_eq!(name(json!(null), true), "0.bin");
        assert_eq!(name(json!("b.png"), true), "b.png");
        assert_eq!(name(json!(".."), true), "2.bin");
        assert_eq!(name(json!(".\n."), true), "3.bin");
        assert_eq!(name(json!("a\tb\r\n.png"), true), "ab.png");
    }

    #[test]
    fn what_is_discarded_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let spooled = directory.path().join("a");
        fs_err::write(&spooled, "Hello").unwrap();
        let payload = Payload {
            content: Content::Inline(marker(&spooled, true).to_string().into()),
            files: FileMarkers::Whole,
        };
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(discard(payload));
        assert!(!spooled.exists());
    }
}
