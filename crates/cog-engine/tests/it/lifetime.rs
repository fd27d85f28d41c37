//! Signals reach a workload, and nothing outlives whoever started it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::job::{Job, Place, containers_work};

/// How long processes may take to disappear on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// An argument of `sleep` that no other process has.
pub(crate) fn marker(place: &Place) -> String {
    let unique: u32 = place
        .dir
        .path()
        .to_str()
        .unwrap()
        .bytes()
        .fold(7, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte));
    format!("98765.{unique}")
}

/// Processes of the host whose command line contains `text`, this test's own aside.
pub(crate) fn processes(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(text) {
            found.push(pid);
        }
    }
    found
}

#[track_caller]
pub(crate) fn assert_gone(text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !processes(text).is_empty() {
        assert!(
            Instant::now() < deadline,
            "left over: {:?}",
            processes(text)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `script`, which says something when it is ready.
pub(crate) fn start(job: Job, script: &str) -> Child {
    let mut command = job.command(&["sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A process with two children, one of which left its session; all bear the marker.
pub(crate) fn family(place: &Place) -> String {
    let marker = marker(place);
    format!(
        "sleep {marker} & (trap '' TERM HUP INT; sleep {marker}) & echo ready; sleep {marker}; true"
    )
}

#[test]
fn a_killed_parent_takes_everything_along() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut child = start(place.container(), &family(&place));
    assert!(!processes(&marker(&place)).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&marker(&place));
    let deadline = Instant::now() + PATIENCE;
    while fs_err::read_dir(place.path("scratch")).unwrap().count() > 0 {
        assert!(
            Instant::now() < deadline,
            "the supervisor clears up even then"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_supervisor_takes_everything_along() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let mut child = start(place.container(), &family(&place));
    let children =
        fs_err::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let supervisor: u32 = children.split_whitespace().next().unwrap().parse().unwrap();
    kill(supervisor, Signal::KILL);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    assert_gone(&marker(&place));
}

#[test]
fn the_end_of_the_command_is_the_end_of_all() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let marker = marker(&place);
    let script = format!("sleep {marker} < /dev/null > /dev/null 2>&1 & exit 5");
    assert_eq!(place.container().script(&script).code, 5);
    assert_eq!(processes(&marker), Vec::<i32>::new());
}

#[test]
fn stopping_asks_first() {
    if !containers_work() {
        return;
    }
    let script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.01; done";
    let place = Place::new();
    let said = place.container().option("--stop", "20000").script(script);
    assert_eq!((said.code, said.stderr.trim()), (42, "stopped after ready"));
}

#[test]
fn stopping_ends_what_does_not_listen() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let script = format!("trap '' TERM; {}", family(&place));
    let started = Instant::now();
    let said = place.container().option("--stop", "100").script(&script);
    assert_eq!(said.code, 137, "{}", said.stderr);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!(processes(&marker(&place)), Vec::<i32>::new());
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[test]
fn orphans_are_reaped() {
    if !containers_work() {
        return;
    }
    let script = "for i in 1 2 3; do (sleep 0.01 &) ; done; sleep 0.3; cat /proc/[0-9]*/stat";
    let place = Place::new();
    let said = place.container().script(script);
    assert!(
        !said.text().lines().any(|line| line.contains(") Z ")),
        "{}",
        said.stdout
    );
}

#[test]
fn a_session_of_its_own_without_a_terminal() {
    if !containers_work() {
        return;
    }
    // The sixth field is the session; a process's own number means that it leads one.
    let script = "read -r stat < /proc/$$/stat; set -- ${stat##*) }; echo $(($4 == $$))";
    let place = Place::new();
    assert_eq!(place.container().script(script).text(), "1");
}
