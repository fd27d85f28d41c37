//! Looks into the layers of a base from a registry, which fetches them: for its Python, for packages of that, and for
//! the C library that it runs on.

use std::path::Path;

use cog_image::registry::RemoteImage;
use cog_image::{Layer, Rootfs};
use cog_python::installations;
use cog_python::installed::Installed;
use cog_python::venv::Interpreter;

use crate::error::{BuildError, Result};
use crate::executor::Executor;
use crate::image_files::ImageFiles;

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
        let folders = installations::program_folders(&self.files()).into_iter();
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
        let folders = installations::program_folders(&self.files()).into_iter();
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

    /// The distributions that the interpreter finds.
    pub(super) fn python_packages(&self, interpreter: &Interpreter) -> Vec<Installed> {
        let program = Path::new(interpreter.path.trim_start_matches('/'));
        installations::installed_for(&self.files(), program, &interpreter.minor)
    }

    fn files(&self) -> ImageFiles<'_> {
        ImageFiles(&self.root)
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
