//! Looks into the layers of a base from a registry, which fetches them: for its Python, for packages of that, and for
//! the C library that it runs on.

use std::path::{Path, PathBuf};

use cog_image::registry::RemoteImage;
use cog_image::{Layer, Rootfs};
use cog_python::installed::Installed;
use cog_python::venv::Interpreter;

use crate::error::{BuildError, Result};
use crate::executor::Executor;

/// Folders in which images have their Python; `*` stands for any name. The prebuilt images with CUDA have one of uv's
/// or of pyenv's.
const FOLDERS: [&str; 5] = [
    "usr/local/bin",
    "usr/bin",
    "opt/conda/bin",
    "root/.local/share/uv/python/*/bin",
    "root/.pyenv/versions/*/bin",
];

/// Folders below the one of `bin` in which a Python `{}` has packages; those of Debian's are called otherwise.
const PACKAGES: [&str; 4] = [
    "lib/python{}/site-packages",
    "lib/python{}/dist-packages",
    "local/lib/python{}/dist-packages",
    "lib/python3/dist-packages",
];

/// Metadata of distributions is much smaller, and lists of files are.
const MAX_METADATA: u64 = 64 << 20;

/// An image's layers, put together.
pub(super) struct Inside {
    root: Rootfs,
}

impl Inside {
    /// Refuses an image in which no package would run.
    pub(super) fn of(executor: &Executor<'_>, remote: &RemoteImage) -> Result<Self> {
        let root = executor.store.rootfs(&remote.layers)?;
        if is_musl(&root) {
            return Err(musl(remote));
        }
        Ok(Self { root })
    }

    /// The interpreter of the Python `minor`, where links to it lead: a virtual environment looks for the standard
    /// library beside it.
    pub(super) fn interpreter(&self, minor: &str) -> Option<String> {
        let name = format!("python{minor}");
        let folders = FOLDERS.iter().flat_map(|folder| self.folders(folder));
        let mut candidates = folders
            .flat_map(|folder| [&*name, "python3", "python"].map(|program| folder.join(program)));
        candidates.find_map(|candidate| {
            let path = self.root.resolve(candidate)?;
            let is_it = path.file_name().is_some_and(|found| *found == *name);
            Some(format!("/{}", path.to_str().filter(|_| is_it)?))
        })
    }

    /// The interpreters that there are, for people.
    pub(super) fn pythons(&self) -> Vec<String> {
        let folders = FOLDERS.iter().flat_map(|folder| self.folders(folder));
        let interpreters = folders.flat_map(|folder| {
            let names = self.root.names(&folder).into_iter();
            names.filter_map(move |name| {
                let minor = name
                    .to_str()?
                    .strip_prefix("python3.")?
                    .parse::<u32>()
                    .ok()?;
                Some(format!("`/{}/python3.{minor}`", folder.display()))
            })
        });
        interpreters.collect()
    }

    /// The folders that a pattern stands for.
    fn folders(&self, pattern: &str) -> Vec<PathBuf> {
        let Some((parent, rest)) = pattern.split_once("/*/") else {
            return vec![PathBuf::from(pattern)];
        };
        let names = self.root.names(parent).into_iter();
        names
            .map(|name| Path::new(parent).join(name).join(rest))
            .collect()
    }

    /// The distributions that the interpreter finds, the first of each name, sorted by the folders that have them.
    pub(super) fn python_packages(&self, interpreter: &Interpreter) -> Vec<Installed> {
        let bin = Path::new(interpreter.path.trim_start_matches('/')).parent();
        let prefix = bin.and_then(Path::parent).unwrap_or(Path::new(""));
        let mut installed: Vec<Installed> = Vec::new();
        for folder in PACKAGES.map(|folder| prefix.join(folder.replace("{}", &interpreter.minor))) {
            let Some(folder) = self.root.resolve(folder) else {
                continue;
            };
            let names = self.root.names(&folder).into_iter();
            let infos = names.filter(|name| name.to_string_lossy().ends_with(".dist-info"));
            let found: Vec<Installed> = infos
                .filter_map(|info| self.distribution(&folder.join(info)))
                .filter(|one| {
                    installed
                        .iter()
                        .all(|had| had.freeze.name != one.freeze.name)
                })
                .collect();
            installed.extend(found);
        }
        installed
    }

    fn distribution(&self, info: &Path) -> Option<Installed> {
        let text = |file: &str| {
            let bytes = self.root.read(info.join(file), MAX_METADATA)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let record = text("RECORD").unwrap_or_default();
        let entry_points = text("entry_points.txt").unwrap_or_default();
        let origin = text("direct_url.json");
        Installed::read(
            &text("METADATA")?,
            &record,
            &entry_points,
            origin.as_deref(),
        )
    }
}

/// Refuses an image that says itself that it is made of Alpine Linux, before its layers are fetched.
pub(super) fn refuse_musl_by_name(remote: &RemoteImage) -> Result<()> {
    let tells = |text: &str| text.contains("alpine");
    let made = |layer: &Layer| {
        let by = &layer.created_by;
        by.contains("alpine-minirootfs") || by.contains("apk add")
    };
    if remote.reference.tag().is_some_and(tells) || remote.layers.iter().any(made) {
        return Err(musl(remote));
    }
    Ok(())
}

/// Whether programs in `root` run on the C library musl.
pub(crate) fn is_musl(root: &Rootfs) -> bool {
    let names = root.names(root.resolve("lib").unwrap_or_default());
    let has = |beginning: &str| {
        let mut names = names.iter();
        names.any(|name| name.to_string_lossy().starts_with(beginning))
    };
    root.find("etc/alpine-release").is_some() || has("ld-musl-")
}

fn musl(remote: &RemoteImage) -> BuildError {
    BuildError::Musl {
        base: remote.reference.familiar(),
    }
}
