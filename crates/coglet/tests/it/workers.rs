//! Several workers.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::http::Pending;
use crate::server::{Model, Server, eventually};

/// Says who it is once it is told to go on; dies if it is told to.
const WHO: &str = "open(f'running-{n}', 'w').close()\n\
                   while not os.path.exists('go'): time.sleep(0.01)\n\
                   if how == 'die': os._exit(3)\n\
                   print('done', n)\n\
                   return f\"{os.environ['COG_WORKER_INDEX']} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getpid()}\"";

fn model(workers: usize) -> Model {
    Model::run("def run(self, n: int, how: str = '') -> str", WHO).env("COG_WORKERS", workers)
}

fn begin(server: &Server, n: u32, how: &str) -> Pending {
    let pending = server.begin(&format!("p{n}"), json!({"n": n, "how": how}));
    server.until_file(&format!("running-{n}"));
    pending
}

fn release(server: &Server) {
    fs_err::write(server.directory.path().join("go"), "").unwrap();
}

fn answers(pending: Vec<Pending>) -> Vec<Value> {
    pending.into_iter().map(|one| one.answer().json()).collect()
}

fn process(prediction: &Value) -> String {
    let output = prediction["output"].as_str().unwrap();
    output.rsplit(' ').next().unwrap().to_owned()
}

fn metric(server: &Server, line: &str) -> bool {
    let page = server.get("/metrics").text();
    page.lines().any(|found| found == line)
}

#[test]
fn each_worker_runs_one_prediction_and_keeps_its_logs_apart() {
    let server = model(3).env("COG_GPUS_PER_WORKER", 2).ready();
    assert_eq!(server.status(), "READY");
    let pending = (0..3).map(|n| begin(&server, n, "")).collect();
    assert_eq!(server.status(), "BUSY");
    let refused = server.post("/predictions", &json!({"input": {"n": 9}}));
    assert_eq!(refused.status, 409);
    assert!(metric(&server, "cog_slots 3") && metric(&server, "cog_slots_busy 3"));
    release(&server);
    let ended = answers(pending);
    let processes: HashSet<_> = ended.iter().map(process).collect();
    assert_eq!(processes.len(), 3);
    for (n, prediction) in ended.iter().enumerate() {
        assert_eq!(prediction["logs"], format!("done {n}\n"));
        let output = prediction["output"].as_str().unwrap();
        let expected = ["0 0,1 ", "1 2,3 ", "2 4,5 "][n];
        assert!(output.starts_with(expected), "{output}");
    }
    server.stop();
}

#[test]
fn a_lost_worker_takes_only_its_own_predictions_with_it() {
    let server = model(2).ready();
    let pending = vec![begin(&server, 0, "die"), begin(&server, 1, "")];
    release(&server);
    let ended = answers(pending);
    assert_eq!(ended[0]["error"], "Worker crashed: exit code 3");
    assert_eq!(ended[1]["status"], "succeeded");
    // While the other one is being started again, the server serves.
    assert_eq!(server.output(json!({"n": 2})), ended[1]["output"]);
    eventually("both are there", || metric(&server, "cog_workers_ready 2"));
    assert!(metric(&server, "cog_worker_restarts_total 1"));
    server.stop();
}

#[test]
fn a_worker_that_keeps_dying_is_tried_again_as_long_as_others_go_on() {
    let setup = "import os, time\nfrom cog import BaseRunner\n\nclass Runner(BaseRunner):\n    def setup(self):\n        \
                 if os.path.exists('broken') and os.environ['COG_WORKER_INDEX'] == '0': raise ValueError('broken')\n    \
                 def run(self, n: int) -> int:\n        if n: os._exit(1)\n        return os.getpid()\n";
    let server = Model::new(setup).env("COG_WORKERS", 2).ready();
    fs_err::write(server.directory.path().join("broken"), "").unwrap();
    // The first one is lost, as the one that is free first.
    assert_eq!(server.predict(json!({"n": 1}))["status"], "failed");
    // One more than after which a worker that is alone is given up.
    eventually("enough tries", || {
        metric(&server, "cog_worker_restarts_total 5")
    });
    assert_eq!(server.status(), "READY");
    let (first, second) = (
        server.output(json!({"n": 0})),
        server.output(json!({"n": 0})),
    );
    assert_eq!(first, second);
    assert!(metric(&server, "cog_workers_ready 1") && metric(&server, "cog_slots_busy 0"));
    fs_err::remove_file(server.directory.path().join("broken")).unwrap();
    eventually("both are there", || metric(&server, "cog_workers_ready 2"));
    server.stop();
}

#[test]
fn one_failed_setup_is_the_failure_of_the_start() {
    let server = Model::new(
        "import os\nfrom cog import BaseRunner\n\nclass Runner(BaseRunner):\n    def setup(self):\n        \
         assert os.environ['COG_WORKER_INDEX'] == '0', 'only the first'\n    def run(self) -> int:\n        return 1\n",
    )
    .env("COG_WORKERS", 2)
    .setup_failed();
    assert_eq!(server.status(), "SETUP_FAILED");
    assert!(
        server
            .setup_logs()
            .contains("[coglet::setup 1] AssertionError: only the first")
    );
    assert_eq!(
        server.post("/predictions", &json!({"input": {}})).status,
        503
    );
    server.stop();
}

#[test]
fn what_waits_goes_to_whichever_worker_is_free() {
    let server = model(2).env("COG_QUEUE", 4).ready();
    let mut pending: Vec<_> = (0..2).map(|n| begin(&server, n, "")).collect();
    pending.extend((2..6).map(|n| server.begin(&format!("p{n}"), json!({"n": n}))));
    eventually("four wait", || metric(&server, "cog_queue_depth 4"));
    release(&server);
    let ended = answers(pending);
    assert!(
        ended.iter().all(|one| one["status"] == "succeeded"),
        "{ended:?}"
    );
    assert!(metric(&server, "cog_slots_busy 0"));
}

#[test]
fn a_daemon_of_one_worker_outlives_the_loss_of_another() {
    let daemon = "import subprocess, sys\nif how == 'die': os._exit(3)\n\
                  child = subprocess.Popen(['sh', '-c', 'setsid sleep 600 & echo $!'], stdout=subprocess.PIPE)\n\
                  open(f'running-{n}', 'w').close()\n\
                  while not os.path.exists('go'): time.sleep(0.01)\n\
                  return int(child.stdout.readline())";
    let server = Model::run("def run(self, n: int, how: str = '') -> int", daemon)
        .env("COG_WORKERS", 2)
        .ready();
    let keeps = begin(&server, 0, "");
    let dies = server.predict(json!({"n": 1, "how": "die"}));
    assert_eq!(dies["error"], "Worker crashed: exit code 3");
    eventually("both are there", || metric(&server, "cog_workers_ready 2"));
    release(&server);
    let daemon = keeps.answer().json()["output"].as_u64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{daemon}")).exists());
    server.stop();
    assert!(!std::path::Path::new(&format!("/proc/{daemon}")).exists());
}

#[test]
fn the_health_check_of_every_worker_counts() {
    let server = Model::new(
        "import os\nfrom cog import BaseRunner\n\nclass Runner(BaseRunner):\n    def healthcheck(self) -> bool:\n        \
         return os.environ['COG_WORKER_INDEX'] == '0'\n    def run(self) -> int:\n        return 1\n",
    )
    .env("COG_WORKERS", 2)
    .ready();
    let health = server.health();
    assert_eq!(health["status"], "UNHEALTHY");
    let error = health["user_healthcheck_error"].as_str().unwrap();
    assert!(error.starts_with("worker 1: "), "{error}");
}
