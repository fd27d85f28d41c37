//! The virtual environment of an image: where it is and what makes it one.

use cog_image::{Entry, EntryKind};

/// Where the environment is, without leading slash.
pub(crate) const VENV: &str = "opt/venv";

/// The interpreter that the environment uses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Interpreter {
    /// Absolute path in the image, such as `/usr/bin/python3.11`.
    pub path: String,
    /// Major and minor version, such as `3.11`.
    pub minor: String,
}

impl Interpreter {
    /// The folder for packages, without leading slash.
    pub(crate) fn site_packages(&self) -> String {
        format!("{VENV}/lib/python{}/site-packages", self.minor)
    }
}

/// The environment without packages: its configuration and the links to the interpreter.
pub(crate) fn skeleton(interpreter: &Interpreter) -> Vec<Entry> {
    let home = interpreter
        .path
        .rsplit_once('/')
        .map_or("/", |(folder, _)| folder);
    let configuration = format!(
        "home = {home}\ninclude-system-site-packages = false\nversion = {}\n",
        interpreter.minor
    );
    let link = |name: &str, target: &str| Entry {
        path: format!("{VENV}/bin/{name}").into(),
        kind: EntryKind::Symlink(target.to_owned()),
        mode: 0o777,
    };
    vec![
        Entry {
            path: format!("{VENV}/pyvenv.cfg").into(),
            kind: EntryKind::Bytes(configuration.into_bytes()),
            mode: 0o644,
        },
        link("python", &interpreter.path),
        link("python3", "python"),
        link(&format!("python{}", interpreter.minor), "python"),
        Entry {
            path: interpreter.site_packages().into(),
            kind: EntryKind::Directory,
            mode: 0o755,
        },
    ]
}
