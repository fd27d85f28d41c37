//! What is written where, by way of the functions that `cog run` calls.

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
        assert_eq!(written.stdout.as_deref(), Some(text.as_bytes()));
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
    let document: Value = serde_json::from_slice(&written.stdout.unwrap()).unwrap();
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
fn what_leads_to_an_open_file_is_not_replaced_and_a_link_is_followed() {
    use std::os::fd::AsRawFd as _;
    let directory = tempfile::tempdir().unwrap();
    let (project, outside) = (directory.path().join("p"), directory.path().join("o"));
    fs_err::create_dir(&project).unwrap();
    fs_err::create_dir(&outside).unwrap();
    let open = fs_err::File::create(outside.join("open")).unwrap();
    let magic = format!("/proc/self/fd/{}", open.as_raw_fd());
    std::os::unix::fs::symlink(magic, outside.join("stdout")).unwrap();
    fs_err::write(outside.join("real.txt"), "old").unwrap();
    std::os::unix::fs::symlink("real.txt", outside.join("link.txt")).unwrap();
    for (link, file) in [("stdout", "open"), ("link.txt", "real.txt")] {
        let name = outside.join(link);
        let destination = destination(name.to_str(), false, &outside, &project).unwrap();
        write_plain(&json!("new"), None, &destination).unwrap();
        assert!(name.is_symlink(), "{link}");
        assert_eq!(
            fs_err::read_to_string(outside.join(file)).unwrap(),
            "new",
            "{link}"
        );
    }
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

/// The names in `directory` after an output of files was written to what `--output` says.
fn written(directory: &Path, to: Option<&str>, output: &Value, schema: &Value) -> Vec<String> {
    let destination = destination(to, false, directory, directory).unwrap();
    write_plain(output, Some(schema), &destination).unwrap();
    let folder = destination.path.parent().unwrap();
    let names = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn file() -> Value {
    json!({ "type": "string", "format": "uri" })
}

fn list() -> Value {
    json!({ "type": "array", "items": file() })
}

#[test]
fn the_extension_is_that_of_the_models_name() {
    for (name, mime, expected) in [
        ("a.m4a", "audio/mp4", "output.m4a"),
        ("film.mkv", "video/x-matroska", "output.mkv"),
        ("x.tar.gz", "application/gzip", "output.tar.gz"),
        ("w.pt", "application/octet-stream", "output.pt"),
        ("w.npy", "application/octet-stream", "output.npy"),
        (
            "w.safetensors",
            "application/octet-stream",
            "output.safetensors",
        ),
        ("noextension", "image/png", "output.png"),
        ("cog.yaml", "application/x-yaml", "output.yaml"),
        ("a.%2Fetc%2Fpasswd", "image/png", "output.png"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let url = json!(format!("data:{mime};name={name};base64,aGk="));
        assert_eq!(written(directory.path(), None, &url, &file()), [expected]);
        let other = tempfile::tempdir().unwrap();
        let expected = expected.replace("output", "mine");
        assert_eq!(
            written(other.path(), Some("mine"), &url, &file()),
            [expected]
        );
        let own = tempfile::tempdir().unwrap();
        assert_eq!(
            written(own.path(), Some("my.own"), &url, &file()),
            ["my.own"]
        );
    }
}

#[test]
fn a_folder_takes_the_models_names() {
    let directory = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("data:audio/wav{name};base64,aGk=");
    let output = json!([
        url(";name=drums.wav"),
        url(";name=Drums.wav"),
        url(";name=drums.wav"),
        url(""),
        url(";name=..%2F..%2Fup.wav"),
        url(";name=%2Fetc%2Fpasswd"),
        url(";name=.."),
        url(";name=.bashrc"),
        url(";name=a%0Ab%1B.wav"),
    ]);
    assert_eq!(
        written(directory.path(), Some("new/"), &output, &list()),
        [
            "Drums.1.wav",
            "a_b_.wav",
            "bashrc",
            "drums.2.wav",
            "drums.wav",
            "output.3.wav",
            "output.6.wav",
            "passwd",
            "up.wav",
        ]
    );
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    // A folder that is named without the slash gets a file of our name, as ever.
    let output = json!(url(";name=drums.m4a"));
    fs_err::create_dir(directory.path().join("old")).unwrap();
    let names = written(directory.path(), Some("old"), &output, &file());
    assert_eq!(names, ["output.m4a"]);
}

#[test]
fn long_names_keep_their_extension() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}.safetensors", "ä".repeat(300));
    let output = json!([
        format!("data:;name={name};base64,aGk="),
        format!("data:;name={name};base64,aGk=")
    ]);
    let names = written(directory.path(), Some("out/"), &output, &list());
    assert_eq!(names.len(), 2);
    for name in names {
        assert!(name.ends_with(".safetensors") && name.len() < 256, "{name}");
    }
}

#[test]
fn files_in_an_object_go_to_a_folder() {
    let directory = tempfile::tempdir().unwrap();
    let output = json!({
        "mask": "data:image/png;base64,aGk=",
        "parts": ["data:text/plain;name=a.md;base64,aGk=", "plain"],
        "../x": "data:text/plain;base64,aGk=",
        "note": "data: not a file",
    });
    let to = destination(Some("out/"), false, directory.path(), directory.path()).unwrap();
    let done = write_plain(&output, Some(&json!({ "type": "object" })), &to).unwrap();
    let shown: Value = serde_json::from_slice(&done.stdout.unwrap()).unwrap();
    for (place, name) in [
        (&shown["mask"], "mask.png"),
        (&shown["parts"][0], "a.md"),
        (&shown["../x"], "x.txt"),
    ] {
        let path = directory.path().join("out").join(name);
        assert_eq!(place, &json!(path.to_str().unwrap()));
        assert_eq!(fs_err::read(path).unwrap(), b"hi");
    }
    assert_eq!(shown["parts"][1], "plain");
    assert_eq!(shown["note"], "data: not a file");
    assert_eq!(done.messages.len(), 3);
    // Without such a folder it is JSON, as it came.
    let to = destination(None, false, directory.path(), directory.path()).unwrap();
    let done = write_plain(&output, Some(&json!({ "type": "object" })), &to).unwrap();
    let shown: Value = serde_json::from_slice(&done.stdout.unwrap()).unwrap();
    assert_eq!(shown, output);
}

#[test]
fn a_dash_is_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let plain = destination(Some("-"), false, place, place).unwrap();
    let url = json!("data:audio/mp4;name=a.m4a;base64,AP8=");
    let done = write_plain(&url, Some(&file()), &plain).unwrap();
    assert_eq!(done.stdout.as_deref(), Some(&b"\x00\xff"[..]));
    let done = write_plain(&json!("text"), None, &plain).unwrap();
    assert_eq!(done.stdout.as_deref(), Some(&b"text\n"[..]));
    assert_eq!(fs_err::read_dir(place).unwrap().count(), 0);
    assert!(matches!(
        plain.check(&list(), false),
        Err(OutputError::SeveralToStdout)
    ));
    assert!(plain.check(&file(), false).is_ok() && plain.check(&list(), true).is_ok());
    let json = destination(Some("-"), true, place, place).unwrap();
    let response = json!({ "status": "succeeded", "output": [url] });
    let done = write_json(&response, Some(&list()), &json).unwrap();
    let document: Value = serde_json::from_slice(&done.stdout.unwrap()).unwrap();
    let path = document["output"][0].as_str().unwrap();
    assert!(path.ends_with("output.0.m4a"), "{path}");
    assert!(place.join("output.0.m4a").exists());
}
