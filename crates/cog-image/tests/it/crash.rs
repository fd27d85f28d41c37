//! Processes that die at any moment, and processes that work at the same time.

use std::time::{Duration, Instant};

use cog_image::{Store, validate};

use crate::children::start;
use crate::support::{files_below, test_store};

fn check_all_sound(store: &Store) -> usize {
    let images = store.images().unwrap();
    for image in &images {
        let report = validate(store, &image.name).unwrap();
        assert!(report.is_sound(), "{}: {:?}", image.name, report.problems);
    }
    images.len()
}

/// However slow the machine is: one round must get as far as a name, or nothing would be tested.
fn wait_for_an_image(store: &Store) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while store.images().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the writer writes nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_writer_leaves_a_usable_store() {
    let store = test_store();
    let root = store.root().to_owned();
    for round in 0..25_u64 {
        let mut child = start("write_for_ever", &root, "killed");
        if round == 0 {
            wait_for_an_image(&store);
        }
        // No event to wait for: the point is to hit any moment.
        std::thread::sleep(Duration::from_millis(20 + round * 7 % 90));
        child.kill().unwrap();
        child.wait().unwrap();
        // What a name refers to is complete at once, before anybody cleans up.
        check_all_sound(&store);
    }
    assert!(check_all_sound(&store) > 0);
    let status = start("write_twenty_times", &root, "killed")
        .wait_with_output()
        .unwrap();
    assert!(status.status.success());
    assert_eq!(check_all_sound(&store), 10);
    // The next scratch directory removes what is left of the dead.
    drop(store.scratch().unwrap());
    let left = files_below(&root.join("tmp"));
    let ours = left
        .iter()
        .filter(|path| path.starts_with(&std::process::id().to_string()));
    assert_eq!(ours.count(), left.len(), "{left:?}");
}

#[test]
fn processes_do_not_disturb_each_other() {
    let store = test_store();
    let children: Vec<_> = ["one", "two", "three"]
        .map(|name| start("write_twenty_times", store.root(), name))
        .into();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(check_all_sound(&store), 30);
}
