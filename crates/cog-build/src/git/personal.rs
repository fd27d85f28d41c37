//! What of the user's own settings for Git says how files are to be compared. Git is asked for them where there is no
//! repository; asking runs nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::{GitCommand, small_file};

/// What Git takes to find the user's settings.
const VARIABLES: [&str; 5] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
];

/// The names of settings that are asked for.
const WANTED: &str = r"^(core\.[a-z]+|filter\..*\.(clean|process))$";

/// The user's settings.
#[derive(Debug, Default)]
pub(super) struct Personal {
    /// Those below `core`, by names in lower case.
    pub(super) core: Vec<(String, String)>,
    /// Names of filters that files go through.
    pub(super) filters: Vec<String>,
    /// Attributes of files in every repository.
    pub(super) attributes: Option<String>,
}

impl Personal {
    /// Asks in `folder`, which is no repository, for the settings of the user whose surroundings have these variables.
    pub(super) fn ask(
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
        deadline: Instant,
    ) -> Self {
        let asked = Command::new("git")
            .args(["config", "--null", "--get-regexp", WANTED])
            .current_dir(folder)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(
                VARIABLES
                    .iter()
                    .filter_map(|name| Some((name, variable(name)?))),
            )
            .envs(
                folder
                    .parent()
                    .map(|parent| ("GIT_CEILING_DIRECTORIES", parent)),
            )
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let said = asked
            .ok()
            .map(|child| GitCommand(child).output_until(deadline));
        let said = said.and_then(Result::ok).flatten().unwrap_or_default();
        let mut personal = Self::default();
        for setting in said.split(|byte| *byte == 0) {
            let setting = String::from_utf8_lossy(setting);
            if let Some((name, value)) = setting.split_once('\n') {
                personal.add(name, value);
            }
        }
        personal.attributes = personal
            .attributes_file(variable)
            .and_then(|file| small_file(&file));
        personal
    }

    fn add(&mut self, name: &str, value: &str) {
        if let Some(name) = name.strip_prefix("core.") {
            self.core.push((name.to_owned(), value.to_owned()));
        } else if let Some((filter, _)) = name
            .strip_prefix("filter.")
            .and_then(|rest| rest.rsplit_once('.'))
        {
            self.filters.push(filter.to_owned());
        }
    }

    fn attributes_file(&self, variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let home = || variable("HOME").map(PathBuf::from);
        let mut of_core = self.core.iter().rev();
        let named = of_core.find(|(name, _)| name == "attributesfile");
        if let Some((_, file)) = named {
            return match file.strip_prefix("~/") {
                Some(rest) => Some(home()?.join(rest)),
                None => Some(file.into()),
            };
        }
        let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let folder = folder.or_else(|| Some(home()?.join(".config")))?;
        Some(folder.join("git/attributes"))
    }
}
