//! Starting the server for one test: its own directory, port, and process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Pending, Request, Response};

/// Far more than anything takes; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A model and how to serve it.
pub(crate) struct Model {
    files: Vec<(String, String)>,
    schema: Option<Value>,
    variables: HashMap<String, String>,
    arguments: Vec<String>,
    /// As in a container: nobody in it may read other processes against their will.
    may_trace: bool,
    /// A socket for the server, which listens already.
    socket: Option<TcpListener>,
    /// We tell it what to do, and are told what happens.
    is_controlled: bool,
}

/// A running server. Killed when dropped; then nothing of it may be left.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    child: Child,
    log: Arc<Log>,
    ready: Option<PipeReader>,
    mark: String,
    commands: Option<ChildStdin>,
    events: Option<Arc<Log>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Model {
    /// A model in `predict.py`, of which the class `Runner` is served.
    pub(crate) fn new(source: &str) -> Self {
        Self {
            files: vec![("predict.py".into(), source.into())],
            schema: None,
            variables: HashMap::from([(
                "COG_PREDICT_TYPE_STUB".into(),
                "predict.py:Runner".into(),
            )]),
            arguments: Vec::new(),
            may_trace: true,
            socket: None,
            is_controlled: false,
        }
    }

    /// A model with only a `run` method, given by its signature and its body.
    pub(crate) fn run(signature: &str, body: &str) -> Self {
        let body: String = body
            .lines()
            .map(|line| format!("        {line}\n"))
            .collect();
        Self::new(&format!(
            "from typing import *\nimport os, sys, time, asyncio\nfrom cog import *\n\n\
             class Runner(BaseRunner):\n    {signature}:\n{body}"
        ))
    }

    /// `hello <s>`
    pub(crate) fn echo() -> Self {
        Self::run("def run(self, s: str) -> str", "return 'hello ' + s")
            .input(&json!({"s": {"type": "string"}}), &["s"])
    }

    pub(crate) fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Gives it a document with these inputs.
    pub(crate) fn input(self, properties: &Value, required: &[&str]) -> Self {
        let input = json!({"type": "object", "title": "Input", "properties": properties, "required": required});
        self.component("Input", input)
    }

    pub(crate) fn component(mut self, name: &str, schema: Value) -> Self {
        let document = self.document();
        document["components"]["schemas"][name] = schema;
        self
    }

    /// Gives it a document that allows event streams.
    pub(crate) fn streaming(mut self) -> Self {
        let document = self.document();
        document["paths"] = json!({"/predictions": {"post": {"x-cog-streaming": true}}});
        self
    }

    fn document(&mut self) -> &mut Value {
        self.schema
            .get_or_insert_with(|| json!({"openapi": "3.0.2", "components": {"schemas": {}}}))
    }

    pub(crate) fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.variables.insert(name.into(), value.to_string());
        self
    }

    pub(crate) fn without_tracing_rights(mut self) -> Self {
        self.may_trace = false;
        self
    }

    /// Hands this socket to the server instead of letting it open one.
    pub(crate) fn socket(mut self, socket: TcpListener) -> Self {
        self.socket = Some(socket);
        self
    }

    /// Keeps a line to the server, over which it can be told to read its code anew.
    pub(crate) fn controlled(mut self) -> Self {
        self.is_controlled = true;
        self.env("COG_CONTROL", "reload")
    }

    pub(crate) fn reference(self, reference: &str) -> Self {
        self.env("COG_PREDICT_TYPE_STUB", reference)
    }

    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until setup has succeeded.
    pub(crate) fn ready(self) -> Server {
        let mut server = self.start();
        assert_eq!(server.setup_end(), "READY\n", "{}", server.log_text());
        server
    }

    /// Starts it and waits until setup has failed.
    pub(crate) fn setup_failed(self) -> Server {
        let mut server = self.start();
        assert_eq!(
            server.setup_end(),
            "SETUP_FAILED\n",
            "{}",
            server.log_text()
        );
        server
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Server {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mark = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = tempfile::Builder::new()
            .prefix("coglet-it-")
            .tempdir()
            .unwrap();
        self.write(directory.path());
        let (ready, writer) = std::io::pipe().unwrap();
        let fd = writer.as_raw_fd();
        let mut command = Command::new(env!("CARGO_BIN_EXE_coglet"));
        command
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(&self.arguments)
            .current_dir(directory.path())
            .env("PYTHONPATH", sdk())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COG_TEST_MARK", &mark)
            .env("COG_READY_FD", fd.to_string())
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if self.is_controlled {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        }
        let socket = self.socket.as_ref().map(AsRawFd::as_raw_fd);
        if let Some(socket) = socket {
            command.env("COG_LISTEN_FD", socket.to_string());
        }
        let may_trace = self.may_trace;
        // SAFETY: only makes system calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if !may_trace {
                    // Refused to those who do not have the right anyway.
                    // CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON
                    for capability in [19, 21, 38] {
                        libc::prctl(libc::PR_CAPBSET_DROP, capability);
                    }
                }
                for fd in [Some(fd), socket].into_iter().flatten() {
                    let fd = rustix::fd::BorrowedFd::borrow_raw(fd);
                    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
                }
                Ok(())
            });
        }
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let line = log.wait_for("Listening on ");
        let port = serde_json::from_str::<Value>(&line).unwrap()["port"]
            .as_u64()
            .unwrap();
        let commands = child.stdin.take();
        let events = child.stdout.take().map(Log::follow);
        Server {
            port: port.try_into().unwrap(),
            directory,
            commands,
            events,
            child,
            log,
            ready: Some(ready),
            mark,
        }
    }

    fn write(&self, directory: &Path) {
        let schema = self
            .schema
            .as_ref()
            .map(|schema| (".cog/openapi_schema.json".to_owned(), schema.to_string()));
        for (path, content) in self.files.iter().cloned().chain(schema) {
            let file = directory.join(path);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, content).unwrap();
        }
    }
}

impl Server {
    pub(crate) fn send(&self, request: Request<'_>) -> Pending {
        request.send(self.port).expect("a connection")
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.send(Request::new("GET", path)).answer()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        self.send(Request::json("POST", path, body)).answer()
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Response {
        self.send(Request::json("PUT", path, body)).answer()
    }

    /// Takes no longer than it takes to be accepted.
    pub(crate) fn put_async(&self, id: &str, body: &Value) -> Response {
        let path = format!("/predictions/{id}");
        let request = Request::json("PUT", &path, body);
        self.send(request.header("Prefer", "respond-async"))
            .answer()
    }

    /// A synchronous prediction whatever comes of it.
    pub(crate) fn predict(&self, input: Value) -> Value {
        let response = self.post("/predictions", &json!({"input": input}));
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// The output of a prediction that has to succeed.
    pub(crate) fn output(&self, input: Value) -> Value {
        let prediction = self.predict(input);
        assert_eq!(prediction["status"], "succeeded", "{prediction}");
        prediction["output"].clone()
    }

    /// Starts a prediction and leaves it unanswered.
    pub(crate) fn begin(&self, id: &str, input: Value) -> Pending {
        self.send(Request::json(
            "POST",
            "/predictions",
            &json!({"id": id, "input": input}),
        ))
    }

    /// Starts a prediction and returns at once.
    pub(crate) fn begin_async(&self, body: &Value) -> Response {
        self.send(Request::json("POST", "/predictions", body).header("Prefer", "respond-async"))
            .answer()
    }

    pub(crate) fn health(&self) -> Value {
        self.get("/health-check").json()
    }

    pub(crate) fn status(&self) -> String {
        self.health()["status"].as_str().unwrap().to_owned()
    }

    pub(crate) fn setup_logs(&self) -> String {
        self.health()["setup"]["logs"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Asks until the health is as wanted.
    pub(crate) fn until_status(&self, status: &str) {
        eventually(
            &format!("status {status}, log:\n{}", self.log_text()),
            || self.status() == status,
        );
    }

    /// Waits for a file that the model makes, as a sign of how far it is.
    pub(crate) fn until_file(&self, name: &str) {
        let file = self.directory.path().join(name);
        eventually(&format!("file {name}, log:\n{}", self.log_text()), || {
            file.exists()
        });
    }

    pub(crate) fn until_logged(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// Tells it what to do.
    pub(crate) fn command(&self, command: &Value) {
        let mut commands = self.commands.as_ref().expect("it is controlled");
        writeln!(commands, "{command}").unwrap();
    }

    /// Waits until it has told this.
    pub(crate) fn until_told(&self, event: &str) -> Value {
        let events = self.events.as_ref().expect("it is controlled");
        serde_json::from_str(&events.wait_for(event)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs_err::write(self.directory.path().join(name), content).unwrap();
    }

    pub(crate) fn log_text(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process, after which nothing of it may be left.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server's exit", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(self.processes(), Vec::<String>::new(), "left behind");
        status.unwrap()
    }

    /// Asks it to stop and waits for the end.
    pub(crate) fn stop(mut self) {
        assert_eq!(self.post("/shutdown", &json!({})).text(), "{}");
        assert!(self.exit().success());
    }

    /// The environment that it was started with, as the system shows it.
    pub(crate) fn environment(&self) -> String {
        let file = format!("/proc/{}/environ", self.child.id());
        String::from_utf8_lossy(&fs_err::read(file).unwrap_or_default()).into_owned()
    }

    /// How many sockets the server has open.
    pub(crate) fn connections(&self) -> usize {
        let descriptors = fs_err::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = descriptors.filter_map(|entry| fs_err::read_link(entry.ok()?.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    }

    /// Command lines of all processes that come from this server.
    pub(crate) fn processes(&self) -> Vec<String> {
        let mark = format!("COG_TEST_MARK={}", self.mark);
        let marked = |process: &PathBuf| {
            let environment = fs_err::read(process.join("environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        let processes = fs_err::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let command =
            |process: PathBuf| fs_err::read_to_string(process.join("cmdline")).unwrap_or_default();
        processes.filter(marked).map(command).collect()
    }

    fn setup_end(&mut self) -> String {
        let mut line = String::new();
        self.ready
            .take()
            .expect("asked once")
            .read_to_string(&mut line)
            .unwrap();
        line
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Politely at first, so that it can clean up; the second signal tells it not to wait.
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            self.signal(Signal::INT);
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            // The worker notices by itself that the server has gone.
            eventually("the end of all processes", || self.processes().is_empty());
        }
    }
}

impl Log {
    fn follow(stderr: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().push(line);
                writer.grown.notify_all();
            }
        });
        log
    }

    fn wait_for(&self, text: &str) -> String {
        let lines = self.lines.lock().unwrap();
        let missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(text));
        let (lines, _) = self
            .grown
            .wait_timeout_while(lines, PATIENCE, missing)
            .unwrap();
        let found = lines.iter().find(|line| line.contains(text)).cloned();
        found.unwrap_or_else(|| panic!("no `{text}` in the log:\n{}", lines.join("\n")))
    }
}

/// Asks again and again until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The Python package of this repository, or another one to test against.
fn sdk() -> PathBuf {
    if let Some(other) = std::env::var_os("COG_TEST_SDK") {
        return other.into();
    }
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/cog/src");
    sdk.canonicalize().expect("python/cog/src")
}
