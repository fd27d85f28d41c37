//! The same image, whoever builds it.

use std::path::Path;
use std::process::Command;

use crate::support::{Project, skipped, store_at};
use cog_testing::skip;

/// Tells the test below where it is to build, when it runs as another user.
const CHILD_STORE: &str = "COG_TEST_CHILD_STORE";

/// Packages whose scripts leave byte code, caches, accounts and alternatives. Others can be named for a trial.
const PACKAGES: [&str; 4] = ["python3-yaml", "fontconfig", "dbus", "netcat-openbsd"];
const OTHER_PACKAGES: &str = "COG_TEST_SYSTEM_PACKAGES";

/// Builds on an empty store with `threads` threads, and gives a line for each layer and one for the
/// image.
fn digests(store: &Path, threads: usize) -> Vec<String> {
    let mut project = Project::new();
    project.threads = threads;
    project.build_section().python_packages = vec!["markupsafe".into()];
    project.build_section().system_packages = match std::env::var(OTHER_PACKAGES) {
        Ok(names) => names.split_whitespace().map(str::to_owned).collect(),
        Err(_) => PACKAGES.map(str::to_owned).to_vec(),
    };
    let command = "mkdir -p /made/dir && echo x > /made/file && chmod 600 /made/file";
    project.build_section().run = vec![cog_config::RunCommand {
        command: command.into(),
        mounts: Vec::new(),
    }];
    let built = project.build(&store_at(store)).expect("it builds");
    let layers = built.image.layers.iter();
    let lines = layers.map(|layer| format!("{} {}", layer.blob.digest, layer.created_by));
    lines
        .chain([format!("{} image", built.image.manifest.digest)])
        .collect()
}

#[test]
fn digests_depend_on_neither_user_nor_threads_nor_paths() {
    if let Some(store) = std::env::var_os(CHILD_STORE) {
        for line in digests(Path::new(&store), 2) {
            println!("digest: {line}");
        }
        return;
    }
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = digests(&folder.path().join("one"), 1);
    if !rustix::process::geteuid().is_root() {
        skip("a part, only root can become another user");
        assert_eq!(first, digests(&folder.path().join("two"), 2));
        return;
    }
    assert_eq!(first, digests_as_nobody());
}

/// Runs this test as the user `nobody`, from a copy of the program that it can read.
fn digests_as_nobody() -> Vec<String> {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("it");
    fs_err::copy(std::env::current_exe().expect("known"), &program).expect("copied");
    fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("set");
    chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("changed");
    // Long paths do not fit everywhere that a short one does, such as into the address of a socket.
    let deep = folder
        .path()
        .join("long".repeat(30))
        .join("and longer".repeat(8));
    fs_err::create_dir_all(&deep).expect("created");
    for part in deep.ancestors().take(2) {
        chown(part, Some(NOBODY), Some(NOBODY)).expect("changed");
    }
    // Their umask is another one, too.
    let output = Command::new("/bin/sh")
        .args(["-c", "umask 077 && exec \"$@\"", "sh", "setpriv"])
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args([
            "--exact",
            "users::digests_depend_on_neither_user_nor_threads_nor_paths",
            "--nocapture",
        ])
        .env(CHILD_STORE, deep.join("store"))
        .env("HOME", &deep)
        .env("TMPDIR", &deep)
        .env("TZ", "Asia/Tokyo")
        .env("LANG", "de_DE.UTF-8")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env_remove("XDG_CACHE_HOME")
        .current_dir(&deep)
        .output()
        .expect("setpriv runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let digests: Vec<String> = text
        .lines()
        .filter_map(|line| {
            line.split_once("digest: ")
                .map(|(_, digest)| digest.to_owned())
        })
        .collect();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    digests
}
