//! Installs packages with `apt`, in two containers over one upper folder: the first finds out which package files are
//! needed, the second installs. A daemon's containers do not follow one another that way: there, one does both.
//!
//! What is in a container may lie: a base is foreign, and a project's variables reach `apt` too. So no container sees
//! the cache of downloads. It gets a copy of the files that it names by checksum, and what it downloaded itself goes
//! into the cache only under the checksum that it really has.

use std::io::Read as _;
use std::path::Path;

use cog_debian::{APT_SOURCES_PATH, Downloads, ListedPackage, PackageFile, REPRODUCIBLE};
use cog_image::{Layer, Scratch};
use rustix::fs::{Mode, OFlags};

use super::missing;
use crate::container::{Job, Mount, Upper};
use crate::error::{BuildError, CommandOutput, MovedPackage, Result};
use crate::executor::Executor;
use crate::lock::Versions;
use crate::plan::SystemPackages;

/// Where containers see the folder that they share with us. Not where `apt` has its cache: official images clear that
/// after each use.
const SHARED: &str = "/tmp/.cog-apt";

/// Of what a container writes for us; a list of all packages has some 2 MiB.
const MAX_NOTE: u64 = 32 * 1024 * 1024;

/// One user exists in the container, so the package manager cannot become another one to download. What it made of the
/// package lists is kept for the second container: making it takes longer than all else but unpacking.
const OPTIONS: &str = r#"set -e
shared=/tmp/.cog-apt
options="-o APT::Sandbox::User=root -o Dpkg::Use-Pty=0 -o Acquire::Retries=3"
options="$options -o Acquire::https::CaInfo=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}"
options="$options -o Dir::Cache::archives=$shared/archives -o APT::Keep-Downloaded-Packages=true"
options="$options -o Dir::Cache::pkgcache=$shared/index -o Dir::Cache::srcpkgcache=$shared/sources"
mkdir -p /var/lib/apt/lists/partial
if [ -f $shared/pins ]; then
    cat $shared/pins /etc/apt/preferences > $shared/preferences 2>/dev/null || cp $shared/pins $shared/preferences
    options="$options -o Dir::Etc::preferences=$shared/preferences"
fi
if [ -d $shared/kept ]; then
    mkdir -p $shared/sources.list.d
    cp /etc/apt/sources.list.d/* $shared/sources.list.d/ 2>/dev/null || true
    echo "deb [trusted=yes] file:$shared/kept ./" > $shared/sources.list.d/cog-kept.list
    for file in $shared/kept/*.deb; do
        dpkg-deb --field "$file"
        printf 'Filename: ./%s\nSize: %s\nSHA256: ' "${file##*/}" "$(stat -c %s "$file")"
        sha256sum "$file" | cut -d ' ' -f 1
        echo
    done > $shared/kept/Packages
    options="$options -o Dir::Etc::sourceparts=$shared/sources.list.d"
fi
"#;

/// `$@` are the packages; recommended ones are installed too, as projects expect. If that is not possible, it leaves
/// what helps to say why: which distribution this is, and what it has. Without being told, `apt` names the weakest checksum.
const CHOOSE: &str = r#"export LC_ALL=C.UTF-8
apt-get $options -o APT::Update::Error-Mode=any update -qq
if apt-get $options -o Acquire::ForceHash=SHA256 install -qq --print-uris -- "$@" > $shared/files; then exit; fi
cat /etc/os-release > $shared/release || true
apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' | while read -r list; do
    /usr/lib/apt/apt-helper cat-file "$list"
done | sed -n 's/^Package: //p' > $shared/names || true
exit 100
"#;

const INSTALL: &str = r#"apt-get $options install -qqy -- "$@"
"#;

/// In a daemon all that is there at the end comes back, and of this nothing is kept: it is far more than most packages.
const FORGET: &str = "rm -rf /var/lib/apt/lists/* $shared/index $shared/sources\n";

/// A package manager at work.
pub(super) struct Apt<'a> {
    executor: &'a Executor<'a>,
    step: &'a SystemPackages,
    below: &'a [Layer],
    downloads: Downloads,
    /// Packages that the archive no longer has, from the cache.
    kept: Vec<ListedPackage>,
    scratch: Scratch,
}

impl<'a> Apt<'a> {
    pub(super) fn new(
        executor: &'a Executor<'a>,
        step: &'a SystemPackages,
        below: &'a [Layer],
    ) -> Result<Self> {
        let scratch = executor.store.scratch()?;
        let shared = scratch.path().join("shared");
        fs_err::create_dir_all(shared.join("archives/partial"))?;
        if !step.versions.packages().is_empty() {
            fs_err::write(shared.join("pins"), preferences(step.versions.packages()))?;
        }
        if let Some(debian) = &step.release {
            fs_err::write(scratch.path().join("sources"), debian.apt_sources()?)?;
        }
        Ok(Self {
            executor,
            step,
            below,
            downloads: Downloads::open(&executor.store.root().join("debian"))?,
            kept: Vec::new(),
            scratch,
        })
    }

    /// Installs the packages: what changed, and which files were wanted. What the archive no longer has is taken from the
    /// cache, if all of it is there.
    pub(super) fn work(mut self) -> Result<(Upper, Vec<PackageFile>)> {
        match self.work_once() {
            Err(BuildError::PackagesMoved { gone }) => {
                if !self.keep(&gone)? {
                    return Err(BuildError::PackagesMoved { gone });
                }
                self.work_once()
            }
            other => other,
        }
    }

    fn work_once(&self) -> Result<(Upper, Vec<PackageFile>)> {
        let upper = self.executor.upper()?;
        let files = if self.executor.daemon().is_some() {
            self.choose_and_install(&upper)?
        } else {
            let files = self.choose(&upper)?;
            self.install(&upper, &files)?;
            files
        };
        Ok((upper, files))
    }

    /// Puts the packages where `apt` finds them beside those of the archive. Says whether the cache has them all.
    fn keep(&mut self, gone: &[MovedPackage]) -> Result<bool> {
        let folder = self.shared().join("kept");
        fs_err::create_dir_all(&folder)?;
        let locked = self.step.versions.packages();
        for one in gone {
            let is_it =
                |other: &&ListedPackage| other.name == one.name && other.version == one.version;
            let Some(package) = locked.iter().find(is_it) else {
                return Ok(false);
            };
            let Some(file) = self.downloads.find(package)? else {
                return Ok(false);
            };
            if !self.downloads.copy_out(&file, &folder)? {
                return Ok(false);
            }
            self.kept.push(package.clone());
        }
        Ok(true)
    }

    /// The package files that `apt` wants to install.
    fn choose(&self, upper: &Upper) -> Result<Vec<PackageFile>> {
        self.chosen(self.run(upper, CHOOSE))
    }

    /// The package files that were installed. They are in the cache now.
    fn choose_and_install(&self, upper: &Upper) -> Result<Vec<PackageFile>> {
        let script = format!("(\n{CHOOSE})\n{INSTALL}{FORGET}");
        let files = self.chosen(self.run(upper, &script))?;
        let archives = self.shared().join("archives");
        for file in &files {
            self.downloads.keep(file, &archives)?;
        }
        Ok(files)
    }

    /// What [`CHOOSE`] has left, after it ended so.
    fn chosen(&self, ended: Result<()>) -> Result<Vec<PackageFile>> {
        match ended {
            Ok(()) => {
                let note = self.note("files")?;
                let files: Vec<_> = note.lines().filter_map(PackageFile::from_apt).collect();
                if let Versions::Exactly(locked) = &self.step.versions {
                    check_versions(locked, &files, &self.kept)?;
                }
                Ok(files)
            }
            Err(BuildError::CommandFailed { lines, .. }) if !missing::names(&lines).is_empty() => {
                let (release, names) = (self.note("release")?, self.note("names")?);
                Err(missing::explain(&missing::names(&lines), &release, &names))
            }
            Err(error) => Err(error),
        }
    }

    /// Installs the packages, whose files are taken from the cache or go there.
    fn install(&self, upper: &Upper, files: &[PackageFile]) -> Result<()> {
        let archives = self.shared().join("archives");
        let mut fetched = Vec::new();
        for file in files {
            if !self.downloads.copy_out(file, &archives)? {
                fetched.push(file);
            }
        }
        self.run(upper, INSTALL)?;
        for file in fetched {
            self.downloads.keep(file, &archives)?;
        }
        Ok(())
    }

    fn run(&self, upper: &Upper, script: &str) -> Result<()> {
        let packages = &self.step.packages;
        let script = [OPTIONS, script].concat();
        let shell = ["/bin/sh", "-c", &script, "apt-get"].map(str::to_owned);
        // A base made of the archive's packages names no mirror, so it gets this machine's for the time.
        let mut mounts = vec![Mount::writable(self.shared(), SHARED)];
        if self.step.release.is_some() {
            let sources = self.scratch.path().join("sources");
            mounts.push(Mount::read_only(sources, APT_SOURCES_PATH));
        }
        let mut environment = self.step.environment.clone();
        for (name, value) in REPRODUCIBLE {
            if !environment.iter().any(|(known, _)| known == name) {
                environment.push((name.to_owned(), value.to_owned()));
            }
        }
        let job = Job {
            title: format!("apt-get install {}", packages.join(" ")),
            arguments: shell.into_iter().chain(packages.iter().cloned()).collect(),
            environment,
            working_dir: "/".to_owned(),
            mounts,
            output: CommandOutput::Kept,
        };
        self.executor.run_container_in(upper, self.below, &job)
    }

    fn shared(&self) -> std::path::PathBuf {
        self.scratch.path().join("shared")
    }

    /// What the container wrote into a file of the shared folder; nothing if that is no file.
    fn note(&self, name: &str) -> Result<String> {
        Ok(read_note(&self.shared().join(name))?)
    }
}

/// What makes `apt` take the versions of these packages: it chooses among all versions that there are, and takes one that
/// has such a priority even where another is installed or newer.
fn preferences(packages: &[ListedPackage]) -> String {
    let stanza = |one: &ListedPackage| {
        let ListedPackage { name, version, .. } = one;
        format!("Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n")
    };
    packages.iter().map(stanza).collect()
}

/// Refuses other packages than the lock file names, before anything is installed. `apt` does not tell the files that are
/// `kept`, which it need not fetch.
fn check_versions(
    locked: &[ListedPackage],
    files: &[PackageFile],
    kept: &[ListedPackage],
) -> Result<()> {
    let files = files.iter().filter_map(PackageFile::package);
    let found: Vec<ListedPackage> = files.chain(kept.iter().cloned()).collect();
    let gone = locked.iter().filter(|one| !found.contains(one));
    let gone: Vec<MovedPackage> = gone
        .map(|one| MovedPackage {
            name: one.name.clone(),
            version: one.version.clone(),
            instead: found
                .iter()
                .find(|other| other.name == one.name)
                .map(|other| other.version.clone()),
        })
        .collect();
    let mut new = found.iter().filter(|one| !locked.contains(one));
    match new.next() {
        _ if !gone.is_empty() => Err(BuildError::PackagesMoved { gone }),
        Some(new) => Err(BuildError::PackageAdded {
            name: new.name.clone(),
            version: new.version.clone(),
        }),
        None => Ok(()),
    }
}

fn read_note(path: &Path) -> std::io::Result<String> {
    // Neither a link to elsewhere nor a pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(descriptor) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Ok(String::new());
    };
    let file = std::fs::File::from(descriptor);
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(MAX_NOTE).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_files_or_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("note"), b"a\xffb").expect("written");
        std::os::unix::fs::symlink(at("note"), at("link")).expect("made");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("made");
        let read = |name: &str| read_note(&at(name)).expect("readable");
        assert_eq!(read("note"), "a\u{fffd}b");
        for nothing in ["link", "pipe", "none", ""] {
            assert_eq!(read(nothing), "", "{nothing}");
        }
    }

    fn file(name: &str, version: &str, sum: &str) -> PackageFile {
        PackageFile {
            name: format!("{name}_{version}_amd64.deb"),
            sha256: sum.repeat(32),
            size: 1,
        }
    }

    #[test]
    fn other_packages_than_those_that_are_locked_are_refused() {
        let listed = |one: &PackageFile| one.package().expect("it has a name");
        let (sl, gpm) = (file("sl", "5%3a1", "00"), file("libgpm2", "1", "01"));
        let locked = [listed(&sl), listed(&gpm)];
        let check = |files: &[PackageFile], kept: &[ListedPackage]| {
            let checked = check_versions(&locked, files, kept);
            checked.map_err(|error| error.to_string())
        };
        let place = "the base's package archive no longer has";
        assert_eq!(check(&[gpm.clone(), sl.clone()], &[]), Ok(()));
        assert_eq!(
            check(&[gpm.clone(), file("sl", "5%3a2", "02")], &[]),
            Err(format!("{place} `sl` 5:1 (but 5:2), which cog.lock names"))
        );
        // The same version with another content is another package.
        assert!(check(&[gpm.clone(), file("sl", "5%3a1", "02")], &[]).is_err());
        assert_eq!(
            check(&[], &[]),
            Err(format!(
                "{place} `sl` 5:1, `libgpm2` 1, which cog.lock names"
            ))
        );
        assert_eq!(
            check(&[gpm.clone(), sl.clone(), file("more", "1", "03")], &[]),
            Err("`more` 1 would be installed too, which cog.lock does not name".to_owned())
        );
        assert_eq!(check(std::slice::from_ref(&gpm), &locked[..1]), Ok(()));
        assert!(check(&[gpm, file("sl", "5%3a2", "02")], &locked[..1]).is_err());
    }

    #[test]
    fn preferences_go_before_what_is_newer() {
        let package = file("sl", "5%3a1+b1", "00")
            .package()
            .expect("it has a name");
        assert_eq!(
            preferences(&[package]),
            "Package: sl\nPin: version 5:1+b1\nPin-Priority: 1001\n\n"
        );
    }

    #[test]
    fn scripts_name_the_shared_folder() {
        assert!(OPTIONS.contains(&format!("shared={SHARED}\n")));
    }
}
