//! The contract with the Python worker, version 1.
//!
//! Frames on two pipes of their own: a 32-bit little-endian length, then that many bytes of JSON,
//! one object with a `type`. Framing is in [`codec`]; what the frames mean is the business of [`crate::worker`]. The
//! Python side is `cog._worker`.

pub(crate) mod codec;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::Mode;
use crate::json::slice_of;

/// Sent in `init`; a worker of another version refuses to start.
pub(crate) const VERSION: u32 = 1;

/// The name of a prediction between server and worker. The client's id is free text and need not be
/// unique; this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u64);

/// How a recorded value combines with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MetricMode {
    Replace,
    Increment,
    Append,
}

/// What the server tells the worker.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToWorker<'a> {
    /// The first frame.
    Init {
        version: u32,
        #[serde(rename = "ref")]
        reference: &'a str,
        mode: Mode,
        slots: usize,
        weights: Option<&'a str>,
    },
    /// Run a prediction. The member `input` is added by [`codec::encode`], as the text that the
    /// client sent, unless `input_file` names a file that holds it.
    Predict {
        id: WireId,
        #[serde(skip_serializing_if = "Option::is_none")]
        input_file: Option<&'a Path>,
        /// An object of strings.
        context: &'a RawValue,
        files: &'a BTreeMap<String, LocalFile>,
    },
    /// Interrupt a prediction. Only for workers that run several at once; others get a signal.
    Cancel { id: WireId },
    /// Run the user's health check.
    Healthcheck { seq: u64 },
    /// Finish what runs and exit.
    Shutdown {},
}

/// Where the server has put an input file: a path, or one per element of a list; `null` where the
/// value stays what the client sent.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum LocalFile {
    One(Option<PathBuf>),
    Many(Vec<Option<PathBuf>>),
}

/// A prediction's key, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireId(pub(crate) Key);

/// What the worker tells the server.
#[derive(Debug, PartialEq)]
pub(crate) enum FromWorker {
    /// The model is imported and valid; setup comes next.
    Loaded(Loaded),
    /// Setup is done.
    Ready,
    SetupFailed {
        error: String,
    },
    /// Whole lines that user code printed.
    Log {
        id: Option<Key>,
        source: Source,
        data: String,
    },
    Metric {
        id: Key,
        name: String,
        value: serde_json::Value,
        mode: MetricMode,
    },
    /// An item of a stream.
    Chunk {
        id: Key,
        value: Payload,
    },
    Done(Done),
    /// The model has been given so many items at once.
    Batch {
        size: u64,
    },
    /// The user's health check has answered.
    Health {
        seq: u64,
        ok: bool,
        error: Option<String>,
    },
}

/// What the worker knows about the model before setup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) sdk: String,
    pub(crate) python: String,
    /// Predictions are canceled by a frame, not by a signal: more than one may run.
    pub(crate) cancel_frames: bool,
    pub(crate) has_healthcheck: bool,
    /// The parameters whose values are not plain JSON.
    pub(crate) signature: HashMap<String, Parameter>,
}

/// What the annotation of a parameter asks the server, or the worker, to make of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Parameter {
    Path,
    File,
    PathList,
    FileList,
    Secret,
}

/// The end of a prediction.
#[derive(Debug, PartialEq)]
pub(crate) struct Done {
    pub(crate) id: Key,
    pub(crate) status: DoneStatus,
    /// Absent when the output went as chunks.
    pub(crate) output: Option<Payload>,
    pub(crate) error: Option<String>,
    /// The prediction has made a directory of its own, named after its id.
    pub(crate) scratch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DoneStatus {
    Succeeded,
    Failed,
    Canceled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A value made by user code.
#[derive(Debug, PartialEq)]
pub(crate) struct Payload {
    pub(crate) content: Content,
    pub(crate) files: FileMarkers,
}

/// Where the JSON text of a value is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Inline(Bytes),
    /// A file that the receiver removes.
    Spilled(PathBuf),
    /// The same for a string: the file holds its characters as they are.
    SpilledText(PathBuf),
    /// Text that is not Unicode: Python's strings can hold half a surrogate pair.
    NotUnicode,
}

/// Which parts of a value stand for files. It is said outside of the value: a model that returns what a
/// client sent must not be able to name a file by accident.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum FileMarkers {
    #[default]
    None,
    Whole,
    Elements(Vec<usize>),
}

/// A value, or an element of a list, that stands for a file.
#[derive(Debug, Deserialize)]
pub(crate) struct FileMarker {
    #[serde(rename = "__cog_file__")]
    pub(crate) file: MarkedFile,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MarkedFile {
    pub(crate) path: PathBuf,
    /// As the model named it, without directories.
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) mime: String,
    /// Made by the worker for this purpose: remove it after reading.
    #[serde(default)]
    pub(crate) delete: bool,
}

/// All members of all messages. `serde` reads tagged enums through a buffer, which copies every value
/// and cannot keep the text of one; so the message is read flat and sorted out afterwards.
#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the wire's members, not states of ours"
)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<WireId>,
    source: Option<Source>,
    data: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    value_file: Option<PathBuf>,
    mode: Option<MetricMode>,
    status: Option<DoneStatus>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    output_file: Option<PathBuf>,
    /// What is in the file is no JSON, but the string that is meant.
    raw: bool,
    files: FileMarkers,
    error: Option<String>,
    stream: bool,
    scratch: bool,
    seq: Option<u64>,
    size: Option<u64>,
    ok: bool,
    sdk: String,
    python: String,
    cancel_frames: bool,
    has_healthcheck: bool,
    signature: HashMap<String, Parameter>,
}

impl FromWorker {
    /// Reads the body of a frame; values stay slices of it.
    ///
    /// Half a surrogate pair, which Python takes for a character, is replaced in logs and errors. A value
    /// with one cannot be delivered.
    pub(crate) fn parse(frame: &Bytes) -> Result<Self, serde_json::Error> {
        match serde_json::from_slice(frame) {
            Ok(fields) => Self::sort_out(fields, |value| Content::Inline(slice_of(frame, value))),
            Err(_) if std::str::from_utf8(frame).is_err() => {
                let text = String::from_utf8_lossy(frame);
                Self::sort_out(serde_json::from_str(&text)?, |_| Content::NotUnicode)
            }
            Err(error) => Err(error),
        }
    }

    fn sort_out<'a>(
        fields: Fields<'a>,
        content: impl Fn(&'a RawValue) -> Content,
    ) -> Result<Self, serde_json::Error> {
        let need = |name: &'static str| {
            serde_json::Error::custom(format!("`{}` without `{name}`", fields.kind))
        };
        let spilled = if fields.raw {
            Content::SpilledText
        } else {
            Content::Spilled
        };
        Ok(match fields.kind.as_ref() {
            "loaded" => Self::Loaded(Loaded {
                sdk: fields.sdk,
                python: fields.python,
                cancel_frames: fields.cancel_frames,
                has_healthcheck: fields.has_healthcheck,
                signature: fields.signature,
            }),
            "ready" => Self::Ready,
            "setup_failed" => Self::SetupFailed {
                error: fields.error.unwrap_or_default(),
            },
            "log" => Self::Log {
                id: fields.id.map(|id| id.0),
                source: fields.source.ok_or_else(|| need("source"))?,
                data: fields.data.unwrap_or_default(),
            },
            "metric" => Self::Metric {
                id: fields.id.ok_or_else(|| need("id"))?.0,
                value: fields.value.map_or(Ok(serde_json::Value::Null), |value| {
                    serde_json::from_str(value.get())
                })?,
                mode: fields.mode.ok_or_else(|| need("mode"))?,
                name: fields.name.ok_or_else(|| need("name"))?,
            },
            "chunk" => Self::Chunk {
                id: fields.id.ok_or_else(|| need("id"))?.0,
                value: payload(
                    fields.value.map(content),
                    fields.value_file.map(spilled),
                    fields.files,
                )
                .unwrap_or_else(Payload::null),
            },
            "done" => Self::Done(Done {
                id: fields.id.ok_or_else(|| need("id"))?.0,
                status: fields.status.ok_or_else(|| need("status"))?,
                // What is not said to have gone as chunks is here, even if it is null.
                output: payload(
                    fields.output.map(content),
                    fields.output_file.map(spilled),
                    fields.files,
                )
                .or_else(|| (!fields.stream).then(Payload::null)),
                error: fields.error,
                scratch: fields.scratch,
            }),
            "batch" => Self::Batch {
                size: fields.size.ok_or_else(|| need("size"))?,
            },
            "health" => Self::Health {
                seq: fields.seq.ok_or_else(|| need("seq"))?,
                ok: fields.ok,
                error: fields.error,
            },
            unknown => {
                return Err(serde_json::Error::custom(format!(
                    "unknown message `{unknown}`"
                )));
            }
        })
    }
}

fn payload(
    inline: Option<Content>,
    spilled: Option<Content>,
    files: FileMarkers,
) -> Option<Payload> {
    let content = spilled.or(inline)?;
    Some(Payload { content, files })
}

impl Payload {
    /// It is not yet what the client gets.
    pub(crate) fn needs_work(&self) -> bool {
        self.files != FileMarkers::None || !matches!(self.content, Content::Inline(_))
    }

    /// The text, if it is here.
    pub(crate) fn into_text(self) -> Option<Bytes> {
        match self.content {
            Content::Inline(text) => Some(text),
            Content::Spilled(_) | Content::SpilledText(_) | Content::NotUnicode => None,
        }
    }

    fn null() -> Self {
        Self {
            content: Content::Inline(Bytes::from_static(b"null")),
            files: FileMarkers::None,
        }
    }
}

impl Serialize for WireId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse()
            .map(|key| Self(Key(key)))
            .map_err(|_| D::Error::custom("an id that this server did not give"))
    }
}

impl<'de> Deserialize<'de> for FileMarkers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Whole(bool),
            Elements(Vec<usize>),
            Absent(()),
        }
        Ok(match Wire::deserialize(deserializer)? {
            Wire::Whole(true) => Self::Whole,
            Wire::Elements(indexes) if !indexes.is_empty() => Self::Elements(indexes),
            Wire::Whole(false) | Wire::Elements(_) | Wire::Absent(()) => Self::None,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
