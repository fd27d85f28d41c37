//! `GET /metrics`.
#![expect(
    clippy::float_cmp,
    reason = "the numbers compared are counts, which are exact"
)]

use std::collections::HashMap;

use serde_json::json;

use crate::server::{Model, Server, eventually};

fn page(server: &Server) -> String {
    let response = server.get("/metrics");
    assert_eq!(response.status, 200);
    assert!(
        response
            .headers
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        response.headers
    );
    response.text()
}

/// All samples by name and labels. Checks that each was announced with its type before.
fn samples(server: &Server) -> HashMap<String, f64> {
    let page = page(server);
    let mut announced = Vec::new();
    let mut samples = HashMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            announced.push(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = announced.last().unwrap();
            assert!(name.starts_with(family.as_str()), "{line} under {family}");
            let earlier = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(earlier, None, "{name} twice");
        }
    }
    let mut once = announced.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), announced.len(), "a family announced twice");
    samples
}

#[test]
fn predictions_are_counted_and_timed() {
    let server = Model::run(
        "def run(self, s: str = 'x') -> str",
        "if s == 'bad': raise ValueError('bad')\ntime.sleep(0.03)\nreturn s",
    )
    .ready();
    let before = samples(&server);
    assert_eq!(
        before["cog_prediction_duration_seconds_count{status=\"succeeded\"}"],
        0.0
    );
    for s in ["a", "b", "bad"] {
        server.predict(json!({"s": s}));
    }
    assert_eq!(server.get("/nowhere").status, 404);
    let after = samples(&server);
    let expected = [
        (
            "cog_http_requests_total{method=\"POST\",route=\"/predictions\",status=\"200\"}",
            3.0,
        ),
        (
            "cog_http_requests_total{method=\"GET\",route=\"unknown\",status=\"404\"}",
            1.0,
        ),
        (
            "cog_http_requests_total{method=\"GET\",route=\"/metrics\",status=\"200\"}",
            1.0,
        ),
        (
            "cog_prediction_duration_seconds_count{status=\"succeeded\"}",
            2.0,
        ),
        (
            "cog_prediction_duration_seconds_count{status=\"failed\"}",
            1.0,
        ),
        (
            "cog_prediction_duration_seconds_bucket{status=\"succeeded\",le=\"0.025\"}",
            0.0,
        ),
        (
            "cog_prediction_duration_seconds_bucket{status=\"succeeded\",le=\"+Inf\"}",
            2.0,
        ),
        ("cog_prediction_queue_seconds_count", 3.0),
        ("cog_predictions_in_flight", 0.0),
        ("cog_queue_depth", 0.0),
        ("cog_slots", 1.0),
        ("cog_slots_busy", 0.0),
        ("cog_ready", 1.0),
        ("cog_worker_restarts_total", 0.0),
        ("cog_workers_ready", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(after.get(name), Some(&value), "{name}");
    }
    assert!(after["cog_prediction_duration_seconds_sum{status=\"succeeded\"}"] >= 0.06);
    assert!(after["cog_worker_resident_memory_bytes{worker=\"0\"}"] > f64::from(1 << 20));
    assert!(after["process_resident_memory_bytes"] > f64::from(1 << 20));
    assert!(after["cog_setup_duration_seconds"] > 0.0);
    let info = after.keys().find(|name| name.starts_with("cog_build_info"));
    assert!(info.unwrap().contains("python=\"3."), "{info:?}");
}

#[test]
fn what_runs_and_what_was_lost() {
    let server = Model::run(
        "def run(self, die: bool = False) -> str",
        "if die: os._exit(3)\nopen('running', 'w').close()\n\
         while not os.path.exists('go'): time.sleep(0.01)\nreturn 'ok'",
    )
    .ready();
    let running = server.begin("a", json!({}));
    server.until_file("running");
    assert_eq!(server.post("/predictions", &json!({})).status, 409);
    let busy = samples(&server);
    assert_eq!(busy["cog_predictions_in_flight"], 1.0);
    assert_eq!(busy["cog_slots_busy"], 1.0);
    assert_eq!(
        busy["cog_http_requests_total{method=\"POST\",route=\"/predictions\",status=\"409\"}"],
        1.0
    );
    // The client hangs up: the request has no answer, and counts all the same.
    drop(running);
    let left = "cog_http_requests_total{method=\"POST\",route=\"/predictions\",status=\"499\"}";
    eventually("the hang-up", || samples(&server).get(left) == Some(&1.0));
    let canceled = "cog_prediction_duration_seconds_count{status=\"canceled\"}";
    eventually("the cancel", || samples(&server)[canceled] == 1.0);

    server.predict(json!({"die": true}));
    eventually("a restart", || {
        samples(&server)["cog_worker_restarts_total"] == 1.0
    });
    server.until_status("READY");
    assert_eq!(samples(&server)["cog_ready"], 1.0);
}

#[test]
fn every_metric_is_documented() {
    let server = Model::echo().ready();
    server.output(json!({"s": "x"}));
    let reference = fs_err::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md"),
    )
    .unwrap();
    let page = page(&server);
    let names: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    for name in &names {
        assert!(
            reference.contains(&format!("| `{name}` |")),
            "{name} is not documented"
        );
    }
    let documented = reference
        .lines()
        .filter(|line| line.starts_with("| `"))
        .count();
    assert_eq!(documented, names.len(), "documented and gone");
}
