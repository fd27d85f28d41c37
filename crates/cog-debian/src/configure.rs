//! Lets the packages set themselves up, in one container over the tree.

use std::path::Path;

use super::error::{DebianError, Result};
use super::lock::Lock;
use super::unpack::Unpacked;

/// Runs commands with a directory as their root file system.
pub trait RunInRoot {
    /// Runs `command` to its end with `root` as its `/`, which it changes in place, as root in a container with
    /// `/proc`, `/dev` and `/tmp`; `env` is its whole environment. Changes of owner must succeed, with or without
    /// effect. Network is not needed.
    fn run(
        &self,
        root: &Path,
        command: &[&str],
        env: &[(&str, &str)],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// Dates in generated files are counted from 1970, and the first day has a meaning of its own: a password of that day
/// must be changed.
pub(super) const SECOND_DAY: &str = "86400";

/// Makes what scripts of packages write the same every time.
pub const REPRODUCIBLE: [(&str, &str); 4] = [
    // Byte code refers to its source by a hash then, instead of a time.
    ("SOURCE_DATE_EPOCH", SECOND_DAY),
    // The order of what scripts write must not be by chance.
    ("PERL_HASH_SEED", "0"),
    ("PERL_PERTURB_KEYS", "0"),
    ("PYTHONHASHSEED", "0"),
];

const ENVIRONMENT: [(&str, &str); 8] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("TERM", "dumb"),
    ("LC_ALL", "C.UTF-8"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ("DEBCONF_NOWARNINGS", "yes"),
    ("DPKG_FRONTEND_LOCKED", "true"),
];

/// What `dpkg` would do between unpacking and configuring is to run the `preinst` scripts, before unpacking in fact.
/// They prepare for what the packages contain, such as the first `/etc/passwd`, and none minds that it is there
/// already. `$1` is the architecture, `$@` then the packages that have such a script.
///
/// `--force-unsafe-io`: the tree is of no use after a crash anyway. `--force-confnew`: there are no other files yet.
const SCRIPT: &str = r#"set -e
DPKG_MAINTSCRIPT_ARCH=$1
DPKG_MAINTSCRIPT_NAME=preinst
DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
DPKG_RUNNING_VERSION=$(dpkg-query --show --showformat '${Version}' dpkg)
DPKG_ADMINDIR=/var/lib/dpkg
DPKG_ROOT=
export DPKG_MAINTSCRIPT_ARCH DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT
export DPKG_RUNNING_VERSION DPKG_ADMINDIR DPKG_ROOT
shift
for package in "$@"; do
    DPKG_MAINTSCRIPT_PACKAGE=${package%:*} "/var/lib/dpkg/info/$package.preinst" install
done
unset DPKG_MAINTSCRIPT_ARCH DPKG_MAINTSCRIPT_NAME DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT
unset DPKG_RUNNING_VERSION DPKG_ADMINDIR DPKG_ROOT
exec dpkg --force-unsafe-io --force-confnew --configure --pending
"#;

/// Configures `packages` in the tree at `root`.
pub(super) fn configure(
    root: &Path,
    lock: &Lock,
    packages: &[Unpacked],
    container: &dyn RunInRoot,
) -> Result<()> {
    let prepared: Vec<String> = packages
        .iter()
        .filter(|package| package.control.files.contains_key("preinst"))
        .map(|package| package.control.database_name())
        .collect();
    let mut command = vec![
        "/bin/sh",
        "-c",
        SCRIPT,
        "configure",
        lock.architecture.name(),
    ];
    command.extend(prepared.iter().map(String::as_str));
    let suite = lock.suite.codename();
    container
        .run(root, &command, &[&ENVIRONMENT[..], &REPRODUCIBLE].concat())
        .map_err(|source| DebianError::Configure { suite, source })
}
