//! Values from the worker, made complete: spilled text is read, file markers become data URLs.

use std::collections::HashSet;
use std::io;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{data_url, run_blocking};
use crate::worker::protocol::{Content, FileMarker, FileMarkers, OutputFile, Payload};

/// Why an output could not be delivered. The text goes to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("could not read output file: {0}")]
    File(#[source] io::Error),
    #[error("could not read a large output: {0}")]
    Spilled(#[source] io::Error),
    #[error("Failed to parse output JSON: a string in it is not valid Unicode (a lone surrogate)")]
    NotUnicode,
    #[error("Failed to parse output JSON: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// The JSON text that the client gets.
pub(crate) async fn resolve(payload: Payload) -> Result<Bytes, OutputError> {
    run_blocking(move || resolve_now(payload)).await
}

fn resolve_now(payload: Payload) -> Result<Bytes, OutputError> {
    let text = match payload.content {
        Content::Inline(text) => text,
        Content::NotUnicode => return Err(OutputError::NotUnicode),
        Content::Spilled(path) => {
            let text = Bytes::from(fs_err::read(&path).map_err(OutputError::Spilled)?);
            // If it cannot be removed now, it goes with its directory.
            let _ = fs_err::remove_file(&path);
            // Made by the worker, but also within reach of the model.
            serde_json::from_slice::<&RawValue>(&text)?;
            text
        }
    };
    match payload.files {
        FileMarkers::None => Ok(text),
        FileMarkers::Whole => {
            let mut url = Vec::new();
            append_file(&mut url, &text)?;
            Ok(url.into())
        }
        FileMarkers::Elements(indexes) => replace_elements(&text, &indexes),
    }
}

fn replace_elements(list: &[u8], indexes: &[usize]) -> Result<Bytes, OutputError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(list)?;
    let indexes: HashSet<_> = indexes.iter().collect();
    let mut text = vec![b'['];
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        if indexes.contains(&index) {
            append_file(&mut text, element.get().as_bytes())?;
        } else {
            text.extend_from_slice(element.get().as_bytes());
        }
    }
    text.push(b']');
    Ok(text.into())
}

fn append_file(text: &mut Vec<u8>, marker: &[u8]) -> Result<(), OutputError> {
    let OutputFile { path, mime, delete } = serde_json::from_slice::<FileMarker>(marker)?.file;
    let mut file = fs_err::File::open(&path).map_err(OutputError::File)?;
    let size = file.metadata().map_err(OutputError::File)?.len();
    let size = usize::try_from(size).unwrap_or_default();
    data_url::append(text, &mime, &mut file, size).map_err(OutputError::File)?;
    if delete {
        let _ = fs_err::remove_file(&path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn marker(path: &std::path::Path, delete: bool) -> Value {
        json!({"__cog_file__": {"path": path, "name": "a.txt", "mime": "text/plain", "delete": delete}})
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
        let forged = marker(std::path::Path::new("/etc/hostname"), true);
        assert_eq!(resolved(&forged, FileMarkers::None), Ok(forged.clone()));
        let list = json!([forged]);
        assert_eq!(resolved(&list, FileMarkers::None), Ok(list.clone()));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = resolved(
            &marker(std::path::Path::new("/no/such.png"), false),
            FileMarkers::Whole,
        )
        .unwrap_err();
        assert!(message.contains("/no/such.png"), "{message}");
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
}
