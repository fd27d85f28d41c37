//! What of the caller's surroundings reaches uv: where it may look and whom it may trust, but nothing that would change
//! what it chooses or where it writes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::settings;

/// Variables that would make uv resolve for, or install into, something of the caller's.
const FOREIGN: [&str; 5] = [
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "FORCE_COLOR",
];

/// uv's own variables begin with this. There are new ones with each version, so those that may reach it are listed.
const OWN: &str = "UV_";

/// Those that say where and how uv fetches.
const FETCHING: [&str; 19] = [
    "UV_CREDENTIALS_DIR",
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_GITHUB_TOKEN",
    "UV_GIT_LFS",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_LOCK_TIMEOUT",
    "UV_NATIVE_TLS",
    "UV_NO_GITHUB_FAST_PATH",
    "UV_NO_HF_TOKEN",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "UV_PYTHON_DOWNLOADS_JSON_URL",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_REQUEST_TIMEOUT",
    "UV_SYSTEM_CERTS",
];

/// The same, in groups.
const FETCHING_GROUPS: [&str; 5] = [
    "UV_AZURE_",
    "UV_CONCURRENT_",
    "UV_GCS_",
    "UV_HTTP_",
    "UV_S3_",
];

/// Those that count in another way than by reaching uv.
const COUNTED_HERE: [&str; 4] = [
    CACHE,
    "UV_PYTHON_INSTALL_DIR",
    settings::CONFIG_FILE,
    settings::NO_CONFIG,
];

/// Names of files and folders: the caller may mean them from where it is, but uv runs elsewhere.
const PATHS: [&str; 3] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT"];

const CACHE: &str = "UV_CACHE_DIR";

/// Where uv keeps what it downloads: where the user says, else below `cache_dir`, on the file system that packages are
/// installed on, so that they need not be copied.
pub(super) fn cache(cache_dir: &Path) -> PathBuf {
    let chosen = variable(CACHE).map(PathBuf::from);
    let folder = chosen.unwrap_or_else(|| cache_dir.join("uv").join("cache"));
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Gives `command` all that it needs of the surroundings, and takes away the rest.
pub(super) fn set(command: &mut Command, cache: &Path) {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| !may_reach(name)) {
        command.env_remove(name);
    }
    for name in PATHS {
        if let Some(value) = variable(name)
            && let Ok(absolute) = std::path::absolute(&value)
        {
            command.env(name, absolute);
        }
    }
    command
        .env(CACHE, cache)
        .env("UV_PYTHON_DOWNLOADS", "never")
        .env("NO_COLOR", "1")
        .env("UV_NO_PROGRESS", "1");
    for (name, value) in trust() {
        command.env(name, value);
    }
    if let Some(index) = index_of_pip() {
        command.env("UV_DEFAULT_INDEX", index);
    }
}

/// The variables that uv needs where it runs in a container, which does not see those of the caller: proxies, indexes
/// and what belongs to them.
pub fn passed_on() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, value)| is_about_an_index(name) && !value.is_empty())
        .collect();
    all.extend(proxies());
    if let Some(index) = index_of_pip().and_then(|index| index.into_string().ok()) {
        all.push(("UV_DEFAULT_INDEX".to_owned(), index));
    }
    all.sort();
    all
}

/// The proxies of the caller, for programs in containers. Some know only the small letters and some only the capitals, so
/// they get both.
pub fn proxies() -> Vec<(String, String)> {
    const NAMES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    let mut all = Vec::new();
    for name in NAMES {
        let capitals = name.to_ascii_uppercase();
        let value = variable(name).or_else(|| variable(&capitals));
        if let Some(value) = value.and_then(|value| value.into_string().ok()) {
            all.push((name.to_owned(), value.clone()));
            all.push((capitals, value));
        }
    }
    all
}

/// uv's variables that are set and do not reach it.
pub fn left_out() -> Vec<String> {
    let mut all: Vec<String> = std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| !may_reach(name) && name.starts_with(OWN))
        .filter(|name| !COUNTED_HERE.contains(&name.as_str()))
        .collect();
    all.sort();
    all
}

/// Whether uv may see the variable `name` of the caller.
fn may_reach(name: &str) -> bool {
    if !name.starts_with(OWN) {
        return !FOREIGN.contains(&name);
    }
    let in_group = |group: &&str| name.starts_with(*group);
    FETCHING.contains(&name) || FETCHING_GROUPS.iter().any(in_group) || is_about_an_index(name)
}

fn is_about_an_index(name: &str) -> bool {
    const EXACT: [&str; 7] = [
        "UV_DEFAULT_INDEX",
        "UV_EXCLUDE_NEWER",
        "UV_EXTRA_INDEX_URL",
        "UV_INSECURE_HOST",
        "UV_NO_INDEX",
        "UV_CONCURRENT_DOWNLOADS",
        "UV_REQUEST_TIMEOUT",
    ];
    EXACT.contains(&name)
        || name.starts_with("UV_HTTP_")
        || (name.starts_with("UV_INDEX") && name != "UV_INDEX_STRATEGY")
}

/// pip's index, where uv is told none.
fn index_of_pip() -> Option<OsString> {
    let told = variable("UV_DEFAULT_INDEX").or_else(|| variable("UV_INDEX_URL"));
    match told {
        Some(_) => None,
        None => variable("PIP_INDEX_URL"),
    }
}

/// Where Linux distributions have the certificates that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes uv trust what the system trusts, and not its own list, unless the user chose. A system without certificates
/// is left with that list. `SSL_CERT_FILE` and `SSL_CERT_DIR` count in any case.
fn trust() -> Vec<(&'static str, &'static str)> {
    // The second is the name that versions before 0.11 know.
    const NAMES: [&str; 2] = ["UV_SYSTEM_CERTS", "UV_NATIVE_TLS"];
    let chosen = NAMES.iter().any(|name| variable(name).is_some());
    let there = BUNDLES.iter().any(|bundle| Path::new(bundle).is_file());
    if chosen || !there {
        return Vec::new();
    }
    NAMES.into_iter().map(|name| (name, "true")).collect()
}

/// Makes pip trust what the system trusts, or `certificates` in place of that, and not its own list, unless the user
/// chose.
pub(super) fn trust_in_pip(command: &mut Command, certificates: Option<&Path>) {
    const CHOICES: [&str; 2] = ["PIP_CERT", "REQUESTS_CA_BUNDLE"];
    if CHOICES.iter().any(|name| variable(name).is_some()) {
        return;
    }
    let of_system = || {
        BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    };
    let bundle = certificates
        .map(Path::to_owned)
        .or_else(|| variable("SSL_CERT_FILE").map(PathBuf::from))
        .or_else(of_system);
    if let Some(bundle) = bundle {
        command.env("PIP_CERT", bundle);
    }
}

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_passed_on_and_nothing_else() {
        for name in [
            "UV_INDEX",
            "UV_INDEX_PRIVATE_PASSWORD",
            "UV_HTTP_TIMEOUT",
            "UV_DEFAULT_INDEX",
        ] {
            assert!(is_about_an_index(name), "{name}");
        }
        for name in [
            "UV_CACHE_DIR",
            "UV_INDEX_STRATEGY",
            "UV_PYTHON",
            "HOME",
            "PATH",
            "AWS_KEY",
        ] {
            assert!(!is_about_an_index(name), "{name}");
        }
    }

    #[test]
    fn the_cache_is_in_the_store_and_absolute() {
        let mut command = Command::new("x");
        // No test sets this variable, and whoever runs the tests may have.
        if variable(CACHE).is_none() {
            set(&mut command, &cache(Path::new("/store")));
            let value = command.get_envs().find(|(name, _)| *name == CACHE);
            assert_eq!(value.unwrap().1.unwrap(), "/store/uv/cache");
            assert!(cache(Path::new("relative")).is_absolute());
        }
    }

    #[test]
    fn what_chooses_packages_does_not_reach_uv() {
        for name in [
            "UV_FIND_LINKS",
            "UV_KEYRING_PROVIDER",
            "UV_INDEX_PRIVATE_USERNAME",
            "UV_CONCURRENT_BUILDS",
            "SSL_CERT_FILE",
            "HTTPS_PROXY",
            "NETRC",
            "HOME",
        ] {
            assert!(may_reach(name), "{name}");
        }
        for name in [
            "UV_EXCLUDE",
            "UV_RESOLUTION",
            "UV_NO_BINARY",
            "UV_INDEX_STRATEGY",
            "UV_SOMETHING_NEW",
            "VIRTUAL_ENV",
        ] {
            assert!(!may_reach(name), "{name}");
        }
    }
}
