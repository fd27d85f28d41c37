//! A folder to work in, and uv.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cog_python::requirements::{RequirementError, Requirements};
use cog_python::resolution::Resolution;
use cog_python::uv::{Builds, Progress, Refresh, Staged, Target, Uv, UvError};
use cog_testing::skip;

/// What uv told.
pub(crate) static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// uv, whose packages are kept in `cache`. None, and that is said, if it cannot be had here.
pub(crate) fn uv(cache: &Path) -> Option<Uv<'static>> {
    // It is downloaded once for all runs.
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uv-store");
    fs_err::create_dir_all(&shared).unwrap();
    if let Err(error) = Uv::find(&shared, None, |_| {}) {
        skip(error);
        return None;
    }
    let programs = shared.join("uv");
    if programs.is_dir() {
        fs_err::create_dir_all(cache).unwrap();
        let link = cache.join("uv");
        fs_err::create_dir_all(&link).unwrap();
        for version in fs_err::read_dir(&programs).unwrap().flatten() {
            if version.path().join("bin/uv").is_file() {
                std::os::unix::fs::symlink(version.path(), link.join(version.file_name())).unwrap();
            }
        }
    }
    let uv = Uv::find(cache, None, |progress| {
        let line = match progress {
            Progress::Notice(line) | Progress::Line(line) => line.to_owned(),
            Progress::Waiting(waiting) => format!("… {waiting}"),
            _ => return,
        };
        TOLD.lock().unwrap().push(line);
    });
    Some(uv.unwrap())
}

/// A project, and a folder beside it for uv to work in.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    requirements: Requirements,
}

impl Project {
    pub(crate) fn new(lines: &[&str]) -> Self {
        Self::with_files(&[], lines).unwrap()
    }

    pub(crate) fn with_files(
        files: &[(&str, &[u8])],
        lines: &[&str],
    ) -> Result<Self, RequirementError> {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        fs_err::create_dir(&project).unwrap();
        for (name, content) in files {
            let path = project.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let requirements = Requirements {
            source: "requirements.txt".to_owned(),
            ..Requirements::read(&lines, &project, &project, |text| {
                let lines = (1..).zip(text.lines());
                lines
                    .map(|(number, line)| (number, line.to_owned()))
                    .collect()
            })?
        };
        requirements
            .stage(&project, &folder.path().join("artifacts"), 0)
            .unwrap();
        Ok(Self {
            folder,
            requirements,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn prefix(&self) -> PathBuf {
        self.path().join("prefix")
    }

    fn target() -> Target {
        Target {
            python: "3.11".to_owned(),
            platform: Some("x86_64-manylinux_2_28".to_owned()),
        }
    }

    pub(crate) fn resolve(&self, uv: &Uv<'_>) -> Result<Resolution, UvError> {
        let artifacts = self.path().join("artifacts");
        uv.resolve(&self.staged(&artifacts), &Self::target(), Builds::Never)
    }

    pub(crate) fn install(&self, uv: &Uv<'_>, resolution: &Resolution) -> Result<(), UvError> {
        let artifacts = self.path().join("artifacts");
        uv.install(
            &self.staged(&artifacts),
            resolution,
            &Self::target(),
            &self.prefix(),
        )
    }

    fn staged<'a>(&'a self, artifacts: &'a Path) -> Staged<'a> {
        Staged {
            requirements: &self.requirements,
            artifacts,
            preferred: &[],
            refresh: Refresh::Nothing,
        }
    }
}
