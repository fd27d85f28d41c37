//! Build containers pretend that there are other users and devices.

use crate::job::{Place, containers_work, tree};

#[test]
fn changing_owners_succeeds_and_does_nothing() {
    if !containers_work() {
        return;
    }
    let script = "touch /file; ln -s file /link; chown 1234:5678 /file && chown -h 1234 /link && chown -R 33 /data
        stat -c %u:%g /file /link /data";
    let place = Place::new();
    let said = place.container().build().script(script);
    assert_eq!(said.text(), "0:0\n0:0\n0:0");
}

#[test]
fn device_nodes_are_not_made_and_pipes_are() {
    if !containers_work() {
        return;
    }
    let script = "mknod /null c 1 3 && mknod /disk b 8 0 && mknod /pipe p && ls /null /disk; stat -c %F /pipe";
    let place = Place::new();
    let said = place.container().build().script(script);
    assert_eq!(said.stdout, "fifo\n");
}

#[test]
fn a_run_container_does_not_pretend() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let said = place.container().script("mknod /null c 1 3");
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("not permitted"), "{}", said.stderr);
}

#[test]
fn the_hosts_files_are_neither_changed_nor_kept() {
    if !containers_work() {
        return;
    }
    let place = Place::new();
    let upper = place.directory("upper");
    let job = place.container().build().option("--upper", &upper);
    let said = job.script("touch /etc/own; echo 192.0.2.1 other >> /etc/hosts");
    assert!(said.stderr.contains("Read-only"), "{}", said.stderr);
    assert_eq!(tree(&upper), ["etc 40755", "etc/own 100644"]);
}
