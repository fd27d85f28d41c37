//! Predictions that take too long.

use serde_json::json;

use crate::http::Request;
use crate::server::{Model, Server};

/// Sleeps in Python, or where no signal of Python is looked at.
const SLOW: &str = "import signal\n\
                    if how == 'stubborn': signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n\
                    print('begun')\n\
                    if how: time.sleep(60)\n\
                    return os.getpid()";

fn model() -> Model {
    Model::run("def run(self, how: str = '') -> int", SLOW)
}

fn predict_within(server: &Server, seconds: &str, how: &str) -> crate::http::Response {
    let body = json!({"input": {"how": how}});
    let request = Request::json("POST", "/predictions", &body);
    server.send(request.header("Cog-Timeout", seconds)).answer()
}

#[test]
fn the_server_limits_all_predictions() {
    let server = model().env("COG_PREDICT_TIMEOUT", 0.2).ready();
    let before = server.output(json!({}));
    let late = server.predict(json!({"how": "slow"}));
    assert_eq!(late["status"], "failed");
    assert_eq!(late["error"], "Prediction timed out after 0.2 s");
    assert_eq!(late["logs"], "begun\n");
    assert_eq!(
        server.output(json!({})),
        before,
        "the worker is still the same"
    );
}

#[test]
fn a_client_limits_its_own() {
    let server = model().ready();
    let late = predict_within(&server, "0.1", "slow").json();
    assert_eq!(late["error"], "Prediction timed out after 0.1 s");
    assert_eq!(
        predict_within(&server, "9", "").json()["status"],
        "succeeded"
    );
    for wrong in ["0", "-1", "soon", "inf"] {
        let refused = predict_within(&server, wrong, "");
        assert_eq!(refused.status, 422, "{wrong}");
        assert_eq!(
            refused.json()["detail"][0]["loc"],
            json!(["header", "cog-timeout"])
        );
    }
}

#[test]
fn the_time_of_a_client_runs_while_it_waits() {
    let server = model()
        .env("COG_QUEUE", 1)
        .env("COG_PREDICT_TIMEOUT", 1)
        .ready();
    let running = server.begin("p0", json!({"how": "slow"}));
    server.until_logged("begun");
    let waiting = predict_within(&server, "0.1", "").json();
    assert_eq!(waiting["error"], "Prediction timed out after 0.1 s");
    assert_eq!(
        running.answer().json()["error"],
        "Prediction timed out after 1 s"
    );
}

#[test]
fn an_async_prediction_is_canceled_and_others_go_on() {
    let server = Model::run(
        "async def run(self, seconds: float) -> str",
        "try: await asyncio.sleep(seconds)\nexcept asyncio.CancelledError: print('stopped'); raise\nreturn 'done'",
    )
    .env("COG_MAX_CONCURRENCY", 2)
    .env("COG_PREDICT_TIMEOUT", 0.5)
    .ready();
    let slow = server.begin("p0", json!({"seconds": 60}));
    assert_eq!(server.output(json!({"seconds": 0.01})), "done");
    let late = slow.answer().json();
    assert_eq!(late["error"], "Prediction timed out after 0.5 s");
    assert_eq!(late["logs"], "stopped\n");
}

#[test]
fn a_model_that_does_not_stop_is_replaced_and_not_blamed() {
    let server = model().env("COG_PREDICT_TIMEOUT", 0.1).ready();
    let before = server.output(json!({}));
    let late = server.predict(json!({"how": "stubborn"}));
    assert_eq!(late["error"], "Prediction timed out after 0.1 s");
    server.until_logged("did not stop when its time was over");
    server.until_status("READY");
    assert_ne!(server.output(json!({})), before);
    server.stop();
}
