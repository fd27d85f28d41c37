//! The virtual environment without packages.

use crate::plan::BasePackages;
use cog_image::{Entry, EntryKind};
use cog_python::venv::{Interpreter, VENV};

/// The environment without packages: its configuration and the links to the interpreter.
pub(super) fn skeleton(interpreter: &Interpreter, below: BasePackages) -> Vec<Entry> {
    let home = interpreter
        .path
        .rsplit_once('/')
        .map_or("/", |(folder, _)| folder);
    let seen = below == BasePackages::Seen;
    let configuration = format!(
        "home = {home}\ninclude-system-site-packages = {seen}\nversion = {}\n",
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
