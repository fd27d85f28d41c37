//! One snapshot per message.

use insta::assert_snapshot;
use serde_json::json;

use super::codec::encode;
use super::*;

fn sent(message: &ToWorker<'_>, input: Option<&str>) -> String {
    let frame = encode(
        message,
        input
            .map(|text| Bytes::copy_from_slice(text.as_bytes()))
            .as_ref(),
    );
    let length = u32::from_le_bytes(frame[..4].try_into().unwrap());
    assert_eq!(length as usize, frame.len() - 4);
    String::from_utf8(frame[4..].to_vec()).unwrap()
}

fn received(message: &serde_json::Value) -> Result<FromWorker, String> {
    FromWorker::parse(&Bytes::from(message.to_string())).map_err(|error| error.to_string())
}

#[test]
fn init() {
    let message = ToWorker::Init {
        version: VERSION,
        reference: "predict.py:Runner",
        mode: Mode::Predict,
        slots: 1,
        weights: None,
    };
    assert_snapshot!(sent(&message, None), @r#"{"type":"init","version":1,"ref":"predict.py:Runner","mode":"predict","slots":1,"weights":null}"#);
}

#[test]
fn predict() {
    let context = serde_json::from_str(r#"{"user":"ann"}"#).unwrap();
    let files = BTreeMap::from([
        (
            "image".to_owned(),
            LocalFile::One(Some("/tmp/0-a.png".into())),
        ),
        (
            "more".to_owned(),
            LocalFile::Many(vec![Some("/tmp/1-b.png".into()), None]),
        ),
    ]);
    let message = ToWorker::Predict {
        id: WireId(Key(7)),
        input_file: None,
        context,
        files: &files,
    };
    assert_snapshot!(sent(&message, Some(r#"{"s": "x"}"#)), @r#"{"input":{"s": "x"},"type":"predict","id":"7","context":{"user":"ann"},"files":{"image":"/tmp/0-a.png","more":["/tmp/1-b.png",null]}}"#);
}

#[test]
fn predict_with_a_large_input() {
    let message = ToWorker::Predict {
        id: WireId(Key(7)),
        input_file: Some(Path::new("/dev/shm/x/0.json")),
        context: serde_json::from_str("{}").unwrap(),
        files: &BTreeMap::new(),
    };
    assert_snapshot!(sent(&message, None), @r#"{"type":"predict","id":"7","input_file":"/dev/shm/x/0.json","context":{},"files":{}}"#);
}

#[test]
fn the_short_ones() {
    assert_snapshot!(sent(&ToWorker::Cancel { id: WireId(Key(7)) }, None), @r#"{"type":"cancel","id":"7"}"#);
    assert_snapshot!(sent(&ToWorker::Healthcheck { seq: 3 }, None), @r#"{"type":"healthcheck","seq":3}"#);
    assert_snapshot!(sent(&ToWorker::Shutdown {}, None), @r#"{"type":"shutdown"}"#);
}

#[test]
fn loaded() {
    let message = json!({
        "type": "loaded", "sdk": "0.30.0", "python": "3.11.2", "cancel_frames": true,
        "has_healthcheck": true, "signature": {"image": "path", "key": "secret", "l": "file_list"},
    });
    let signature = [
        ("image", Parameter::Path),
        ("key", Parameter::Secret),
        ("l", Parameter::FileList),
    ];
    let expected = Loaded {
        sdk: "0.30.0".into(),
        python: "3.11.2".into(),
        cancel_frames: true,
        has_healthcheck: true,
        signature: signature.map(|(name, kind)| (name.to_owned(), kind)).into(),
    };
    assert_eq!(received(&message), Ok(FromWorker::Loaded(expected)));
}

#[test]
fn setup_ends() {
    assert_eq!(received(&json!({"type": "ready"})), Ok(FromWorker::Ready));
    let message = json!({"type": "setup_failed", "error": "setup failed: ValueError: x"});
    let expected = FromWorker::SetupFailed {
        error: "setup failed: ValueError: x".into(),
    };
    assert_eq!(received(&message), Ok(expected));
}

#[test]
fn log() {
    let message = json!({"type": "log", "id": null, "source": "stderr", "data": "a\nb\n"});
    assert_eq!(
        received(&message),
        Ok(FromWorker::Log {
            id: None,
            source: Source::Stderr,
            data: "a\nb\n".into()
        })
    );
}

#[test]
fn metric() {
    let message =
        json!({"type": "metric", "id": "7", "name": "a.b", "value": 1, "mode": "increment"});
    let expected = FromWorker::Metric {
        id: Key(7),
        name: "a.b".into(),
        value: json!(1),
        mode: MetricMode::Increment,
    };
    assert_eq!(received(&message), Ok(expected));
}

#[test]
fn chunk() {
    let value = |content, files| {
        Ok(FromWorker::Chunk {
            id: Key(7),
            value: Payload { content, files },
        })
    };
    let message = json!({"type": "chunk", "id": "7", "value": {"a": 1}});
    assert_eq!(
        received(&message),
        value(Content::Inline(r#"{"a":1}"#.into()), FileMarkers::None)
    );
    let message = json!({"type": "chunk", "id": "7", "value": null});
    assert_eq!(
        received(&message),
        value(Content::Inline("null".into()), FileMarkers::None)
    );
    let message = json!({"type": "chunk", "id": "7", "value_file": "/dev/shm/x/1"});
    assert_eq!(
        received(&message),
        value(Content::Spilled("/dev/shm/x/1".into()), FileMarkers::None)
    );
    let message = json!({"type": "chunk", "id": "7", "value_file": "/dev/shm/x/1", "raw": true});
    assert_eq!(
        received(&message),
        value(
            Content::SpilledText("/dev/shm/x/1".into()),
            FileMarkers::None
        )
    );
}

#[test]
fn done() {
    let message = json!({"type": "done", "id": "7", "status": "succeeded", "output": [1, 2], "stream": false});
    let output = Payload {
        content: Content::Inline("[1,2]".into()),
        files: FileMarkers::None,
    };
    let expected = Done {
        id: Key(7),
        status: DoneStatus::Succeeded,
        output: Some(output),
        error: None,
        scratch: false,
    };
    assert_eq!(received(&message), Ok(FromWorker::Done(expected)));
}

#[test]
fn done_with_null() {
    let message =
        json!({"type": "done", "id": "7", "status": "succeeded", "output": null, "stream": false});
    match received(&message) {
        Ok(FromWorker::Done(done)) => assert_eq!(done.output, Some(Payload::null())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn done_with_files() {
    let marker =
        json!({"__cog_file__": {"path": "/a", "name": "a", "mime": "image/png", "delete": false}});
    let markers = |files| {
        let message = json!({"type": "done", "id": "7", "status": "succeeded", "output": marker, "files": files});
        match received(&message) {
            Ok(FromWorker::Done(done)) => done.output.unwrap().files,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(markers(json!(true)), FileMarkers::Whole);
    assert_eq!(markers(json!([0, 2])), FileMarkers::Elements(vec![0, 2]));
    assert_eq!(markers(json!([])), FileMarkers::None);
    assert_eq!(markers(json!(null)), FileMarkers::None);
    let parsed: FileMarker = serde_json::from_value(marker.clone()).unwrap();
    assert_eq!((parsed.file.path, parsed.file.delete), ("/a".into(), false));
}

#[test]
fn done_failed() {
    let message = json!({"type": "done", "id": "7", "status": "failed", "error": "ValueError: x", "stream": true, "scratch": true});
    let expected = Done {
        id: Key(7),
        status: DoneStatus::Failed,
        output: None,
        error: Some("ValueError: x".into()),
        scratch: true,
    };
    assert_eq!(received(&message), Ok(FromWorker::Done(expected)));
}

#[test]
fn health() {
    let message = json!({"type": "health", "seq": 3, "ok": false, "error": "no"});
    assert_eq!(
        received(&message),
        Ok(FromWorker::Health {
            seq: 3,
            ok: false,
            error: Some("no".into())
        })
    );
}

#[test]
fn half_a_surrogate_pair_is_survived() {
    let parse = |frame: &'static [u8]| FromWorker::parse(&Bytes::from_static(frame)).unwrap();
    let log = parse(b"{\"type\":\"log\",\"source\":\"stdout\",\"data\":\"a\xed\xa0\x80\"}");
    assert!(matches!(log, FromWorker::Log { data, .. } if data.starts_with("a\u{fffd}")));
    let chunk = parse(b"{\"type\":\"chunk\",\"id\":\"7\",\"value\":\"\xed\xa0\x80\"}");
    assert!(matches!(
        chunk,
        FromWorker::Chunk {
            value: Payload {
                content: Content::NotUnicode,
                ..
            },
            ..
        }
    ));
}

#[test]
fn what_is_no_message_is_refused() {
    for broken in [
        json!({"type": "surprise"}),
        json!({"type": "done", "id": "7"}),
        json!({"type": "done", "id": "x7", "status": "failed"}),
        json!({"type": "log"}),
        json!([]),
        json!({}),
    ] {
        assert!(received(&broken).is_err(), "{broken}");
    }
}

/// The examples that both sides read: `{"to_worker": {name: frame}, "from_worker": {name: frame}}`.
#[test]
fn the_shared_examples() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/cog/tests/protocol_messages.json"
    );
    let Ok(text) = fs_err::read_to_string(file) else {
        println!("skipped: {file} is not there");
        return;
    };
    let examples: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, frame) in examples["from_worker"].as_object().unwrap() {
        assert!(received(frame).is_ok(), "{name}: {:?}", received(frame));
    }
    let context = serde_json::from_str(r#"{"k":"v"}"#).unwrap();
    let sendable = [
        ToWorker::Init {
            version: VERSION,
            reference: "predict.py:Predictor",
            mode: Mode::Predict,
            slots: 1,
            weights: None,
        },
        ToWorker::Predict {
            id: WireId(Key(7)),
            input_file: None,
            context,
            files: &BTreeMap::new(),
        },
        ToWorker::Cancel { id: WireId(Key(7)) },
        ToWorker::Healthcheck { seq: 3 },
        ToWorker::Shutdown {},
    ];
    // The same members for every kind of frame; the values are each example's own.
    for message in sendable {
        let input = matches!(message, ToWorker::Predict { .. }).then_some("{}");
        let ours: serde_json::Value = serde_json::from_str(&sent(&message, input)).unwrap();
        let is_same_kind = |frame: &&serde_json::Value| {
            frame["type"] == ours["type"] && frame.get("input_file").is_none()
        };
        let example = examples["to_worker"]
            .as_object()
            .unwrap()
            .values()
            .find(is_same_kind);
        let members = |frame: &serde_json::Value| {
            frame
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(
            example.map(members),
            Some(members(&ours)),
            "{}",
            ours["type"]
        );
    }
}
