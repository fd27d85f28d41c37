//! Another engine: it runs nothing, and a thread of this process answers for what was to be started. The commands need
//! of an engine what its traits say, and nothing else.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cog_engine::{EngineError, Remote, Running, Signal};
use cog_image::Store;

use super::*;
use crate::client::{self, Answer};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: &str = r#"{"status":"succeeded","output":"from nowhere"}"#;

struct RunsNothing;

impl Engine for RunsNothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn isolation(&self) -> Isolation {
        Isolation::Container
    }

    fn start(&self, workload: Workload) -> Result<Box<dyn Running>, EngineError> {
        assert_eq!(workload.process.command, ["coglet"]);
        let passed = workload.process.passed_fds.into_iter();
        let mut passed: HashMap<_, _> = passed.map(|one| (one.variable, one.fd)).collect();
        let listener = TcpListener::from(passed.remove(COG_LISTEN_FD).expect("a socket"));
        let mut ready = fs_err::File::from_parts(
            std::fs::File::from(passed.remove(COG_READY_FD).expect("a pipe")),
            "readiness pipe",
        );
        std::thread::spawn(move || {
            writeln!(ready, "READY").unwrap();
            for stream in listener.incoming() {
                answer(stream.unwrap());
            }
        });
        let (ended, end) = channel();
        Ok(Box::new(Imagined {
            remote: Arc::new(Button(Mutex::new(ended))),
            end,
            exit: None,
        }))
    }
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim().to_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(
        stream,
        "{head}content-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    )
    .unwrap();
}

#[derive(Debug)]
struct Imagined {
    remote: Arc<Button>,
    end: Receiver<Exit>,
    exit: Option<Exit>,
}

#[derive(Debug)]
struct Button(Mutex<Sender<Exit>>);

impl Button {
    fn press(&self, exit: Exit) {
        // Nobody waits for what has ended.
        let _ = self.0.lock().unwrap().send(exit);
    }
}

impl Remote for Button {
    fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        self.press(Exit::Signal(signal.as_raw()));
        Ok(())
    }

    fn end(&self) {
        self.press(Exit::Signal(Signal::KILL.as_raw()));
    }
}

impl Running for Imagined {
    fn remote(&self) -> Arc<dyn Remote> {
        self.remote.clone()
    }

    fn take_stdin(&mut self) -> Option<ChildStdin> {
        None
    }

    fn take_stdout(&mut self) -> Option<ChildStdout> {
        None
    }

    fn take_stderr(&mut self) -> Option<ChildStderr> {
        None
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        None
    }

    fn wait(&mut self) -> Result<Exit, EngineError> {
        Ok(self.wait_timeout(PATIENCE)?.expect("it is ended"))
    }

    fn wait_timeout(&mut self, time: Duration) -> Result<Option<Exit>, EngineError> {
        self.exit = self.exit.or_else(|| self.end.recv_timeout(time).ok());
        Ok(self.exit)
    }

    fn kill(&mut self) -> Result<Exit, EngineError> {
        self.remote.end();
        self.wait()
    }
}

#[test]
fn an_engine_that_runs_nothing_serves_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let launcher = Launcher {
        engine: Box::new(RunsNothing),
        place: Place::of_nothing(&store),
        gpus: Gpus::default(),
        printer: Printer::new(crate::printer::Colour::Off, false),
    };
    let mut server = launcher.start_server(&Request::default(), &[]).unwrap();
    let response = block_on(async {
        server.await_ready(PATIENCE, None).await?;
        let body = Bytes::from_static(br#"{"input":{}}"#);
        client::predict(server.address, body).await
    });
    let Answer::Whole(response) = response.unwrap() else {
        panic!("it has no events")
    };
    assert_eq!(
        (response.status, &response.body[..]),
        (200, ANSWER.as_bytes())
    );
    let exit = server.running.stop(PATIENCE).unwrap();
    assert_eq!(exit, Exit::Signal(Signal::TERM.as_raw()));
}
