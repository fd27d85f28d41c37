//! Ordinary users get the same containers as root.

use std::process::{Command, Stdio};

use crate::job::{Place, User, containers_work, example, ordinary_user, outcome, tree};
use crate::lifetime::{assert_gone, family, marker, start};
use cog_testing::skip;

const BUILD: &str = "umask; id -u; mkdir -p /opt/app; echo text > /opt/app/file; chmod 640 /opt/app/file
    chown -R 33:33 /opt/app; rm /data/lower; mknod /dev/x c 1 3; mknod /opt/null c 1 3; ln -s file /opt/app/link
    mkdir -m 000 /opt/closed; echo more >> /etc/passwd";

#[test]
fn root_and_others_build_the_same() {
    let Some(user) = ordinary_user() else { return };
    let trees = [user, User::Own].map(|user| {
        let place = Place::of(user);
        let upper = place.directory("upper");
        place
            .container()
            .build()
            .option("--upper", &upper)
            .script(BUILD)
            .text();
        let names = fs_err::read_dir(place.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let left = names
            .filter(|name| name.to_string_lossy().starts_with("container-"))
            .count();
        assert_eq!(left, 0, "overlayfs's own directories are gone");
        readable_tree(&upper)
    });
    assert!(trees[0].len() > 6, "{:?}", trees[0]);
    assert_eq!(trees[0], trees[1]);
}

/// Without the content of directories that are closed even to their owner.
fn readable_tree(upper: &std::path::Path) -> Vec<String> {
    let closed = upper.join("opt/closed");
    fs_err::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    tree(upper)
}

#[test]
fn an_ordinary_user_runs_containers() {
    let Some(user) = ordinary_user() else { return };
    let place = Place::of(user);
    let project = place.directory("project");
    let said = place.container().mount(&project, "/src").option("--cwd", "/src").script(
        "id -u; touch made; mkdir -p /a/b; chmod 000 /a/b /a; cat /data/lower; cat /proc/1/comm > /dev/null; exit 3",
    );
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (3, "0\nfrom the base\n"),
        "{}",
        said.stderr
    );
    assert!(project.join("made").exists());
    assert_eq!(fs_err::read_dir(place.path("scratch")).unwrap().count(), 0);
}

#[test]
fn an_ordinary_users_processes_end_with_the_parent() {
    let Some(user) = ordinary_user() else { return };
    let place = Place::of(user);
    let mut child = start(place.container(), &family(&place));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&marker(&place));
}

#[test]
fn root_reaches_the_files_of_others() {
    if ordinary_user() != Some(User::Nobody) {
        skip("needs root");
        return;
    }
    let place = Place::of(User::Nobody);
    place.file("home/project/file", "private\n");
    for (path, mode) in [
        ("home/project/file", 0o600),
        ("home/project", 0o700),
        ("home", 0o700),
    ] {
        place.directory("home/project");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs_err::set_permissions(place.path(path), permissions).unwrap();
    }
    let as_root = Place::new();
    for build in [false, true] {
        let mut job = as_root
            .container()
            .mount(&place.path("home/project"), "/src");
        if build {
            job = job.build();
        }
        assert_eq!(
            job.script("cat /src/file && echo more >> /src/file && chmod 600 /src/file")
                .code,
            0
        );
    }
    assert_eq!(
        fs_err::read_to_string(place.path("home/project/file")).unwrap(),
        "private\nmore\nmore\n"
    );
}

#[test]
fn a_kernel_without_user_namespaces_is_recognised() {
    if !containers_work() {
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" --probe";
    let mut command = Command::new("unshare");
    command
        .args(["-Ur", "sh", "-c", script])
        .arg(example())
        .stdin(Stdio::null());
    let said = outcome(&command.output().unwrap());
    assert!(
        said.error().contains("user namespaces are disabled"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_system_that_refuses_to_mount_is_recognised() {
    if !containers_work() {
        return;
    }
    // One namespace is left for the user, none for mounts.
    let script = "echo 0 > /proc/sys/user/max_mnt_namespaces && exec \"$0\" --probe";
    let mut command = Command::new("unshare");
    command
        .args(["-Ur", "sh", "-c", script])
        .arg(example())
        .stdin(Stdio::null());
    let said = outcome(&command.output().unwrap());
    assert!(said.error().contains("make namespaces"), "{}", said.stderr);
}
