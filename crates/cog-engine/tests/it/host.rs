//! Workloads without a container.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::job::{Place, outcome};
use crate::lifetime::{assert_gone, family, marker, processes, start};

#[test]
fn the_environment_comes_first_and_the_host_stays() {
    let place = Place::new();
    let tool = place.file(
        "venv/bin/tool",
        "#!/bin/sh\npwd; echo $GREETING; echo $VIRTUAL_ENV; echo $OF_HOST; echo $PATH\n",
    );
    fs_err::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = place
        .host()
        .option("--env", "GREETING=hello")
        .option("--env", "PATH=/nowhere")
        .command(&["tool"]);
    let said = outcome(
        &command
            .env("OF_HOST", "kept")
            .stdin(Stdio::null())
            .output()
            .unwrap(),
    );
    let venv = place.path("venv");
    let lines: Vec<&str> = said.text().lines().collect();
    let project = place.dir.path().canonicalize().unwrap();
    assert_eq!(
        lines[..4],
        [
            project.to_str().unwrap(),
            "hello",
            venv.to_str().unwrap(),
            "kept"
        ]
    );
    assert!(
        lines[4].starts_with(&format!("{}/bin:/", venv.display())),
        "{}",
        lines[4]
    );
    assert!(
        !lines[4].contains("/nowhere"),
        "a container's path is of no use here"
    );
}

#[test]
fn statuses_signals_and_errors_are_as_in_a_container() {
    let place = Place::new();
    assert_eq!(place.host().script("exit 7").code, 7);
    assert_eq!(
        place.host().script("kill -KILL $$").stderr.trim(),
        "ended by signal 9"
    );
    let absent = place.host().run(&["no-such-program"]);
    assert_eq!(
        absent.error(),
        "error: `no-such-program`: executable file not found in $PATH"
    );
    let nowhere = place.host().option("--cwd", "/src/absent").run(&["true"]);
    assert!(
        nowhere.error().contains("working directory"),
        "{}",
        nowhere.stderr
    );
}

#[test]
fn stopping_asks_first_and_then_ends_all() {
    let place = Place::new();
    let polite = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done";
    assert_eq!(
        place.host().option("--stop", "20000").script(polite).code,
        42
    );
    let deaf = format!("trap '' TERM; {}", family(&place));
    assert_eq!(place.host().option("--stop", "100").script(&deaf).code, 137);
    assert_eq!(processes(&marker(&place)), Vec::<i32>::new());
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let place = Place::new();
    let marker = marker(&place);
    let script = format!("setsid sleep {marker} < /dev/null > /dev/null 2>&1 & sleep 0.1; exit 5");
    assert_eq!(place.host().script(&script).code, 5);
    assert_eq!(processes(&marker), Vec::<i32>::new());
}

#[test]
fn a_killed_parent_takes_everything_along() {
    let place = Place::new();
    let marker = marker(&place);
    let mut child = start(
        place.host(),
        &format!("setsid sleep {marker} & {}", family(&place)),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&marker);
}

#[test]
fn descriptors_pass_through() {
    let place = Place::new();
    let file = place.file("passed", "");
    place
        .host()
        .option("--pass", format!("OUT={}", file.display()))
        .script("echo through >&$OUT")
        .text();
    assert_eq!(fs_err::read_to_string(file).unwrap(), "through\n");
}

#[test]
fn a_workload_of_layers_is_refused() {
    let place = Place::new();
    fs_err::create_dir_all(place.path("venv")).unwrap();
    let root = cog_engine::Root::Layers(Vec::new());
    let error = cog_engine::Engine::start(&cog_engine::Host, workload(root)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the host engine cannot run a workload made for a container of ours"
    );
    let root = cog_engine::Root::Host {
        environment: place.path("venv"),
    };
    let error = cog_engine::Engine::start(&cog_engine::Embedded, workload(root)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the embedded engine cannot run a workload made for the host"
    );
}

fn workload(root: cog_engine::Root) -> cog_engine::Workload {
    cog_engine::Workload {
        root,
        writable: cog_engine::Writable::Temporary(std::env::temp_dir()),
        mounts: Vec::new(),
        process: cog_engine::Process {
            command: vec!["true".into()],
            env: Vec::new(),
            working_dir: "/".into(),
            stdin: Stdio::null(),
            stdout: Stdio::null(),
            stderr: Stdio::null(),
            terminal: None,
            passed_fds: Vec::new(),
        },
        purpose: cog_engine::Purpose::Run,
        ca_bundle: None,
        gpus: cog_engine::Gpus::default(),
        emulator: None,
        network: cog_engine::Network::default(),
    }
}
