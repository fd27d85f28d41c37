//! Probes with true status codes.

use serde_json::{Value, json};

use crate::http::Response;
use crate::server::{Model, Server, eventually};

fn told(response: Response) -> (u16, Value) {
    (response.status, response.json())
}

fn codes(server: &Server) -> [u16; 3] {
    ["/health/live", "/health/ready", "/health/startup"].map(|path| server.get(path).status)
}

#[test]
fn a_slow_start() {
    let server = Model::new(
        "import os, time\nclass Runner:\n    def setup(self):\n        \
         while not os.path.exists('go'): time.sleep(0.01)\n    def run(self) -> int: return 1\n",
    )
    .start();
    assert_eq!(codes(&server), [200, 503, 503]);
    let expected = json!({"status": "STARTING", "reason": "setup has not finished yet"});
    assert_eq!(told(server.get("/health/ready")), (503, expected.clone()));
    assert_eq!(told(server.get("/health/startup")), (503, expected));
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    eventually("readiness", || codes(&server) == [200, 200, 200]);
    assert_eq!(
        told(server.get("/health/ready")),
        (200, json!({"status": "READY"}))
    );
}

#[test]
fn a_failed_setup() {
    let server = Model::new(
        "class Runner:\n    def setup(self): raise ValueError('no')\n    def run(self) -> int: return 1\n",
    )
    .setup_failed();
    assert_eq!(codes(&server), [200, 503, 503]);
    let (_, startup) = told(server.get("/health/startup"));
    assert_eq!(startup["status"], "SETUP_FAILED");
    assert_eq!(
        startup["reason"],
        "setup failed: its log is at /health-check"
    );
}

#[test]
fn a_busy_server_is_ready() {
    let server = Model::run(
        "def run(self) -> str",
        "open('running', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nreturn 'ok'",
    )
    .ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    assert_eq!(
        told(server.get("/health/ready")),
        (200, json!({"status": "BUSY"}))
    );
    fs_err::write(server.directory.path().join("go"), "").unwrap();
    assert_eq!(running.answer().json()["output"], "ok");
}

#[test]
fn a_model_that_feels_unwell_gets_no_traffic() {
    let server = Model::new(
        "import os\nclass Runner:\n    def run(self) -> int: return 1\n    \
         def healthcheck(self):\n        return not os.path.exists('ill')\n",
    )
    .ready();
    assert_eq!(codes(&server), [200, 200, 200]);
    fs_err::write(server.directory.path().join("ill"), "").unwrap();
    let (code, told) = told(server.get("/health/ready"));
    assert_eq!((code, &told["status"]), (503, &json!("UNHEALTHY")));
    assert!(told["reason"].as_str().unwrap().contains("returned False"));
    assert_eq!(codes(&server), [200, 503, 200]);
}

#[test]
fn a_lost_worker_is_a_matter_of_readiness() {
    let server = Model::new(
        "import os, time\nclass Runner:\n    def setup(self):\n        \
         while os.path.exists('wait'): time.sleep(0.01)\n    def run(self) -> int: os._exit(3)\n",
    )
    .ready();
    fs_err::write(server.directory.path().join("wait"), "").unwrap();
    assert_eq!(server.predict(json!({}))["status"], "failed");
    assert_eq!(codes(&server), [200, 503, 200]);
    fs_err::remove_file(server.directory.path().join("wait")).unwrap();
    eventually("readiness", || codes(&server) == [200, 200, 200]);
}
