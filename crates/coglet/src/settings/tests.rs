use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<Settings, Error> {
    let lookup = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found
            .map(|(_, value)| (*value).to_owned())
            .or((name == env::PREDICT_REFERENCE).then(|| "m.py:M".into()))
    };
    Settings::new(Arguments::default(), &lookup)
}

#[test]
fn an_unset_model_is_named() {
    for empty in [
        settings(&[(env::PREDICT_REFERENCE, "")]),
        Settings::new(Arguments::default(), &|_| None),
    ] {
        let message = empty.unwrap_err().to_string();
        assert!(
            message.starts_with("COG_PREDICT_TYPE_STUB environment variable is not set."),
            "{message}"
        );
    }
}

#[test]
fn the_port_must_be_a_number() {
    assert_eq!(settings(&[]).unwrap().port, 5000);
    assert_eq!(settings(&[("PORT", "")]).unwrap().port, 5000);
    assert_eq!(settings(&[("PORT", "0")]).unwrap().port, 0);
    assert!(
        matches!(settings(&[("PORT", "http")]), Err(Error::InvalidPort { value }) if value == "http")
    );
}

#[test]
fn processes_and_devices_have_a_bound() {
    for variable in ["COG_WORKERS", "COG_GPUS_PER_WORKER"] {
        for wrong in ["0", "-1", "1025", "18446744073709551615", "two"] {
            let error = settings(&[(variable, wrong)]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("`{wrong}` in `{variable}` is not a whole number from 1 to 1024")
            );
        }
    }
    assert_eq!(settings(&[("COG_WORKERS", "1024")]).unwrap().workers, 1024);
}

#[test]
fn what_would_be_sent_to_nobody_is_refused() {
    for (variable, value) in [
        ("WEBHOOK_AUTH_TOKEN", "a\nb"),
        ("COG_USER_AGENT", "a\u{7f}"),
        ("COG_WEBHOOK_TOKEN_HOSTS", "https://hooks.example"),
        ("COG_ALLOW_PRIVATE_HOSTS", "localhost:8000"),
    ] {
        let error = settings(&[(variable, value)]).unwrap_err().to_string();
        assert!(error.contains(variable), "{error}");
    }
    let token = settings(&[("WEBHOOK_AUTH_TOKEN", "abc\n")]).unwrap();
    assert_eq!(token.webhook_token.as_deref(), Some("abc"));
}

#[test]
fn what_the_published_server_ignores_is_warned_of() {
    let warned = |variable, value| settings(&[(variable, value)]).unwrap().warnings;
    assert_eq!(
        warned("COG_LOG_LEVEL", "loud"),
        ["`COG_LOG_LEVEL` is `loud`, not `debug`, `info`, `warn` or `error`: using `info`"]
    );
    assert_eq!(
        warned("COG_THROTTLE_RESPONSE_INTERVAL", "soon"),
        ["`soon` in `COG_THROTTLE_RESPONSE_INTERVAL` is not a number of seconds: using 0.5"]
    );
    for (variable, value) in [
        ("COG_LOG_LEVEL", ""),
        ("COG_LOG_LEVEL", "info"),
        ("COG_THROTTLE_RESPONSE_INTERVAL", "0"),
    ] {
        assert_eq!(warned(variable, value), [""; 0]);
    }
}

#[test]
fn concurrency_falls_back_to_one_with_a_warning() {
    let slots = |value| {
        settings(&[("COG_MAX_CONCURRENCY", value)])
            .map(|s| (s.slots, s.warnings.len()))
            .unwrap()
    };
    assert_eq!(slots("5"), (5, 0));
    for bad in ["wat", "0", "-1", ""] {
        assert_eq!(slots(bad), (1, 1), "{bad}");
    }
}

#[test]
fn each_worker_has_its_gpus() {
    let gpus = |workers, each, visible| {
        settings(&[
            ("COG_WORKERS", workers),
            ("COG_GPUS_PER_WORKER", each),
            ("CUDA_VISIBLE_DEVICES", visible),
        ])
        .map(|settings| settings.gpus)
    };
    assert_eq!(gpus("2", "", "0,1").unwrap(), [""; 0]);
    assert_eq!(gpus("2", "2", "").unwrap(), ["0,1", "2,3"]);
    assert_eq!(
        gpus("2", "1", "GPU-a, GPU-b,GPU-c").unwrap(),
        ["GPU-a", "GPU-b"]
    );
    let message = gpus("3", "2", "0,1,2").unwrap_err().to_string();
    assert!(message.contains("need 6 GPUs"), "{message}");
    assert!(gpus("0", "1", "").is_err());
}

#[test]
fn the_replay_can_be_turned_off() {
    let replayed = |value| {
        settings(&[("COG_STREAM_HISTORY_CAPACITY", value)])
            .map(|s| (s.replayed_events, s.warnings.len()))
            .unwrap()
    };
    assert_eq!(replayed("0"), (0, 0));
    assert_eq!(replayed("9"), (9, 0));
    assert_eq!(replayed("many"), (1024, 1));
}

#[test]
fn the_setup_timeout_is_whole_seconds() {
    let timeout = |value| {
        settings(&[("COG_SETUP_TIMEOUT", value)])
            .unwrap()
            .setup_timeout
    };
    assert_eq!(timeout("10"), Some(Duration::from_secs(10)));
    assert_eq!(timeout("18446744073709551615"), Some(parse::LONGEST));
    assert_eq!(timeout("0"), None);
    assert_eq!(timeout("soon"), None);
}

#[test]
fn the_throttle_is_a_fraction_of_seconds() {
    let interval = |value| {
        settings(&[("COG_THROTTLE_RESPONSE_INTERVAL", value)])
            .unwrap()
            .throttle_interval
    };
    assert_eq!(interval("0.25"), Duration::from_millis(250));
    assert_eq!(interval("-1"), Duration::from_millis(500));
}
