//! A small root file system, put together from the host's own programs and the libraries they load.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 25] = [
    "bash", "cat", "chmod", "chown", "df", "env", "head", "hostname", "id", "ldconfig", "ln", "ls",
    "mkdir", "mknod", "mount", "mv", "readlink", "rm", "sleep", "stat", "touch", "true", "umount",
    "unshare", "yes",
];

/// The layer, made once for all tests.
pub(crate) fn base() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-base-2");
    if !place.exists() {
        let parts = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = parts.path().join("root");
        fill(&root);
        // Another test may have been quicker.
        let _ = fs_err::rename(&root, &place);
    }
    place
}

fn fill(root: &Path) {
    for folder in ["bin", "etc", "tmp", "data"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    for program in PROGRAMS {
        let source = find(program);
        for library in libraries(&source) {
            copy(&library, &root.join(library.strip_prefix("/").unwrap()));
        }
        copy(&source, &root.join("bin").join(program));
    }
    std::os::unix::fs::symlink("bash", root.join("bin/sh")).unwrap();
    fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs_err::write(root.join("data/lower"), "from the base\n").unwrap();
}

fn find(program: &str) -> PathBuf {
    let folders =
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    folders
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("the host has no `{program}`"))
}

/// Every absolute path that `ldd` names.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn copy(from: &Path, to: &Path) {
    if !to.exists() {
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::copy(from, to).unwrap();
        fs_err::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
