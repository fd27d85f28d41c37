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

/// Words in a file that may answer that. Where there are none, Git need not be started.
const WORDS: [&str; 9] = [
    "attributesfile",
    "autocrlf",
    "eol",
    "filemode",
    "filter",
    "ignorecase",
    "include",
    "precomposeunicode",
    "symlinks",
];

/// Where the system's settings are.
const OF_SYSTEM: [&str; 2] = ["/etc/gitconfig", "/usr/local/etc/gitconfig"];

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
        let mut personal = Self::default();
        if files(variable).iter().any(|file| may_answer(file)) {
            personal.ask_git(folder, variable, deadline);
        }
        personal.attributes = personal
            .attributes_file(variable)
            .and_then(|file| small_file(&file));
        personal
    }

    fn ask_git(
        &mut self,
        folder: &Path,
        variable: &dyn Fn(&str) -> Option<String>,
        deadline: Instant,
    ) {
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
        for setting in said.split(|byte| *byte == 0) {
            let setting = String::from_utf8_lossy(setting);
            if let Some((name, value)) = setting.split_once('\n') {
                self.add(name, value);
            }
        }
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
        let mut of_core = self.core.iter().rev();
        let named = of_core.find(|(name, _)| name == "attributesfile");
        if let Some((_, file)) = named {
            return match file.strip_prefix("~/") {
                Some(rest) => Some(home(variable)?.join(rest)),
                None => Some(file.into()),
            };
        }
        Some(folder_of_user(variable)?.join("attributes"))
    }
}

fn home(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

fn folder_of_user(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(home(variable)?.join(".config")))?;
    Some(folder.join("git"))
}

/// The files that Git takes settings from where there is no repository.
fn files(variable: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let of_user = match variable("GIT_CONFIG_GLOBAL") {
        Some(file) => vec![file.into()],
        None => [
            home(variable).map(|home| home.join(".gitconfig")),
            folder_of_user(variable).map(|folder| folder.join("config")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let of_system = match variable("GIT_CONFIG_SYSTEM") {
        Some(file) => vec![file.into()],
        None => OF_SYSTEM.map(PathBuf::from).to_vec(),
    };
    of_user.into_iter().chain(of_system).collect()
}

/// Whether there may be something in the file that is asked for, or in one that it includes.
fn may_answer(file: &Path) -> bool {
    match small_file(file) {
        Some(text) => {
            let text = text.to_lowercase();
            WORDS.iter().any(|word| text.contains(word))
        }
        // It may be too large.
        None => file.exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_is_asked_where_a_file_may_say_something() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let path = home.path().to_str().expect("it is text").to_owned();
        let variable = |name: &str| match name {
            "HOME" => Some(path.clone()),
            "GIT_CONFIG_SYSTEM" => Some(format!("{path}/system")),
            _ => None,
        };
        let asks = || files(&variable).iter().any(|file| may_answer(file));
        assert!(!asks());
        let file = home.path().join(".gitconfig");
        fs_err::write(&file, "[user]\n\tname = A\n").expect("written");
        assert!(!asks());
        for text in [
            "[core]\n\tAutoCRLF = true\n",
            "[include]\n\tpath = x\n",
            "[filter \"lfs\"]\n",
        ] {
            fs_err::write(&file, text).expect("written");
            assert!(asks(), "{text}");
        }
        fs_err::remove_file(&file).expect("removed");
        fs_err::write(home.path().join("system"), "[core]\n\teol = lf\n").expect("written");
        assert!(asks());
    }
}
