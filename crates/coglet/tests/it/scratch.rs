//! Directories for the model's own files.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::server::{Model, Server, eventually};

/// Everything in it is made in a directory that the test looks into.
fn ready(model: Model) -> Server {
    model.file("tmp/.keep", "").env("TMPDIR", "tmp").ready()
}

/// What predictions have left.
fn left(server: &Server) -> Vec<PathBuf> {
    let inside = |directory: PathBuf| {
        let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    workers(server).into_iter().flat_map(inside).collect()
}

/// The directories of workers.
fn workers(server: &Server) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(server.directory.path().join("tmp")).unwrap();
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

fn until_nothing_is_left(server: &Server) {
    eventually("removal", || left(server).is_empty());
}

const WRITE: &str = "scratch = current_scope().scratch_dir\nfile = scratch / 'deep' / 'out.txt'\n\
                     file.parent.mkdir()\nfile.write_text('Hello')\n";

#[test]
fn an_output_file_outlives_its_prediction_just_long_enough() {
    for keyword in ["def", "async def"] {
        let server = ready(Model::run(
            &format!("{keyword} run(self) -> Path"),
            &format!("{WRITE}return file"),
        ));
        for _ in 0..2 {
            assert_eq!(
                server.output(json!({})),
                "data:text/plain;base64,SGVsbG8=",
                "{keyword}"
            );
        }
        until_nothing_is_left(&server);
    }
}

#[test]
fn whatever_way_it_ends() {
    let server = ready(Model::run(
        "def run(self, how: str) -> str",
        &format!(
            "{WRITE}assert current_scope().scratch_dir == scratch\n\
             if how == 'fail': raise ValueError('bad')\n\
             if how == 'die': os._exit(3)\n\
             open('running', 'w').close()\nwhile True: time.sleep(0.01)"
        ),
    ));
    assert_eq!(server.predict(json!({"how": "fail"}))["status"], "failed");
    until_nothing_is_left(&server);

    server.begin_async(&json!({"id": "a", "input": {"how": "wait"}}));
    server.until_file("running");
    assert_eq!(left(&server).len(), 1);
    server.post("/predictions/a/cancel", &json!({}));
    until_nothing_is_left(&server);

    let before = workers(&server);
    assert_eq!(server.predict(json!({"how": "die"}))["status"], "failed");
    server.until_status("READY");
    until_nothing_is_left(&server);
    let after = workers(&server);
    assert!(
        after.iter().all(|directory| !before.contains(directory)),
        "{before:?} {after:?}"
    );
}

#[test]
fn concurrent_predictions_have_their_own() {
    let server = Model::run(
        "async def run(self, name: str) -> List[str]",
        "(current_scope().scratch_dir / name).write_text('')\n\
         while not os.path.exists('go'): await asyncio.sleep(0.01)\n\
         return os.listdir(current_scope().scratch_dir)",
    )
    .env("COG_MAX_CONCURRENCY", 2)
    .file("tmp/.keep", "")
    .env("TMPDIR", "tmp")
    .ready();
    let running = ["a", "b"].map(|name| server.begin(name, json!({"name": name})));
    eventually("both", || left(&server).len() == 2);
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    let outputs = running.map(|running| running.answer().json()["output"].clone());
    assert_eq!(Value::from(outputs.to_vec()), json!([["a"], ["b"]]));
    until_nothing_is_left(&server);
}

#[test]
fn the_workers_directory_goes_with_it() {
    let mut server = ready(Model::new(
        "import os\nclass Runner:\n    def setup(self):\n        \
         open(os.environ['COG_SCRATCH_DIR'] + '/cache', 'w').close()\n    \
         def run(self) -> bool:\n        return os.path.exists(os.environ['COG_SCRATCH_DIR'] + '/cache')\n",
    ));
    for _ in 0..2 {
        assert_eq!(server.output(json!({})), true);
    }
    assert_eq!(left(&server).len(), 1);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.exit().success());
    assert_eq!(workers(&server), Vec::<PathBuf>::new());
}

#[test]
fn none_outside_of_a_prediction() {
    let server = Model::new(
        "from cog import current_scope\nclass Runner:\n    def setup(self):\n        \
         try: current_scope().scratch_dir\n        except RuntimeError as error: self.error = str(error)\n    \
         def run(self) -> str: return self.error\n",
    )
    .ready();
    let error = server.output(json!({}));
    assert!(
        error
            .as_str()
            .unwrap()
            .starts_with("scratch_dir is there while a prediction runs"),
        "{error}"
    );
}
