//! Distributions: what uv installed below a prefix, as files of the image.
//!
//! Everything that depends on the host is normalised here: the interpreter in scripts, the Python
//! version in paths, the order of `RECORD`, and notes that uv leaves for itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use cog_files::{Folder, Found};
use sha2::{Digest as _, Sha256};

use crate::freeze::{self, Freeze};
use crate::record::{self, Row};
use crate::requirements::{ARTIFACTS_DIR, normalise};
use crate::resolution::{file_url, public_url};
use crate::script;
use crate::strip::{self, Stripped};
use crate::venv::{Interpreter, VENV};

/// What uv installed cannot be understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// A file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The prefix has no folder of packages.
    #[error("uv left no `site-packages` folder")]
    NoSitePackages,
    /// A `RECORD` has a line that is none.
    #[error("`{distribution}` lists its files in a broken `RECORD`: `{line}`")]
    BadRecord {
        /// The distribution's folder.
        distribution: String,
        /// The line.
        line: String,
    },
    /// A `RECORD` names a file elsewhere on the machine.
    #[error("`{distribution}` claims a file outside of the environment: `{path}`")]
    Escape {
        /// The distribution's folder.
        distribution: String,
        /// The path as listed.
        path: String,
    },
    /// A listed file is a link or device, or a link leads to it.
    #[error(
        "`{distribution}` has `{path}`, which is not a regular file or is reached through a link"
    )]
    NotAFile {
        /// The distribution's folder.
        distribution: String,
        /// The path as listed.
        path: String,
    },
    /// A file that every distribution has.
    #[error("`{distribution}` has no `{file}`")]
    Incomplete {
        /// The distribution's folder.
        distribution: String,
        /// The file.
        file: &'static str,
    },
    /// No name or version.
    #[error("`{0}` has no name or version in its `METADATA`")]
    NoMetadata(String),
}

/// One installed distribution.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Name, version and origin.
    pub freeze: Freeze,
    /// Its files, sorted by path.
    pub files: Vec<File>,
    /// Bytes of all files.
    pub size: u64,
    /// Hash over paths, modes and content of all files.
    pub fingerprint: String,
}

/// A file of the image.
#[derive(Debug, Clone)]
pub struct File {
    /// Path in the image, without leading slash.
    pub path: String,
    pub source: Source,
    pub executable: bool,
}

/// Where a file's content comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file below the prefix.
    Staged(PathBuf),
    /// Content that was changed for the image.
    Content(Vec<u8>),
}

/// A prefix that uv installed into. What was built for it may have run there, so it is read as a foreign tree.
#[derive(Debug)]
pub struct Prefix {
    root: PathBuf,
    tree: Folder,
    /// Path of the packages below `root`.
    site_packages: PathBuf,
    /// Folder that stands for the one with local artifacts in the image.
    artifacts: PathBuf,
    interpreter: Interpreter,
    /// Where libraries go from which symbols are taken; none are taken if absent.
    stripped: Option<PathBuf>,
}

const SITE_PACKAGES: &str = "site-packages";

impl Prefix {
    /// Finds the folder of packages below `root`. Local artifacts were installed from below
    /// `artifacts`.
    pub fn open(
        root: &Path,
        artifacts: &Path,
        interpreter: &Interpreter,
    ) -> Result<Self, DistributionError> {
        let tree = match Folder::open(root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DistributionError::NoSitePackages);
            }
            opened => opened?,
        };
        for version in tree.folders(Path::new("lib"))? {
            let folder = Path::new("lib").join(&version);
            let is_there = tree
                .folders(&folder)?
                .iter()
                .any(|name| name == SITE_PACKAGES);
            if version.starts_with("python") && is_there {
                return Ok(Self {
                    root: root.to_owned(),
                    tree,
                    site_packages: folder.join(SITE_PACKAGES),
                    artifacts: artifacts.to_owned(),
                    interpreter: interpreter.clone(),
                    stripped: None,
                });
            }
        }
        Err(DistributionError::NoSitePackages)
    }

    /// Takes the symbols for debuggers from shared libraries, which are then files in the new folder `folder`. Those
    /// below the prefix stay: they may be files of uv's cache too.
    #[must_use]
    pub fn stripped_into(mut self, folder: PathBuf) -> Self {
        self.stripped = Some(folder);
        self
    }

    /// All distributions, sorted by name, except those that the image brings itself.
    ///
    /// A file that two of them list belongs to the first.
    pub fn distributions(&self) -> Result<Vec<Distribution>, DistributionError> {
        if let Some(folder) = &self.stripped {
            fs_err::create_dir(folder)?;
        }
        let mut claimed = std::collections::HashSet::new();
        let mut distributions = Vec::new();
        for info in self.info_folders()? {
            let mut distribution = self.read(&info)?;
            if matches!(
                normalise(&distribution.freeze.name).as_str(),
                "cog" | "coglet"
            ) {
                continue;
            }
            distribution
                .files
                .retain(|file| claimed.insert(file.path.clone()));
            distributions.push(distribution);
        }
        Ok(distributions)
    }

    fn info_folders(&self) -> Result<Vec<String>, DistributionError> {
        let mut names = self.tree.folders(&self.site_packages)?;
        names.retain(|name| name.ends_with(".dist-info"));
        names.sort_by_cached_key(|name| (normalise(name), name.clone()));
        Ok(names)
    }

    fn read(&self, info: &str) -> Result<Distribution, DistributionError> {
        let text = |file: &'static str| {
            let text = self.tree.text(&self.site_packages.join(info).join(file))?;
            text.ok_or_else(|| DistributionError::Incomplete {
                distribution: info.to_owned(),
                file,
            })
        };
        let metadata = text("METADATA")?;
        let direct_url = self.direct_url(info)?;
        let freeze = freeze::parse(&metadata, direct_url.as_deref())
            .ok_or_else(|| DistributionError::NoMetadata(info.to_owned()))?;
        let rows =
            record::parse(&text("RECORD")?).map_err(|line| DistributionError::BadRecord {
                distribution: info.to_owned(),
                line,
            })?;
        let mut builder = Builder::default();
        for row in rows {
            let Some(inside) = record::resolve(&self.site_packages, &row.path) else {
                return Err(DistributionError::Escape {
                    distribution: info.to_owned(),
                    path: row.path,
                });
            };
            if !is_note(info, &inside) {
                self.add(&mut builder, info, &inside, row, direct_url.as_deref())?;
            }
        }
        Ok(builder.finish(freeze, &self.interpreter.site_packages(), info))
    }

    fn add(
        &self,
        builder: &mut Builder,
        info: &str,
        inside: &str,
        row: Row,
        direct_url: Option<&str>,
    ) -> Result<(), DistributionError> {
        let staged = self.root.join(inside);
        let mut file = match self.tree.find(Path::new(inside))? {
            Found::File(file) => file,
            // Listed, but not part of the wheel, such as compiled files.
            Found::Nothing => return Ok(()),
            Found::Other => {
                return Err(DistributionError::NotAFile {
                    distribution: info.to_owned(),
                    path: row.path,
                });
            }
        };
        let metadata = file.metadata()?;
        let executable = is_executable(&metadata);
        let path = self.image_path(info, inside);
        let changed = match direct_url {
            Some(url) if inside.ends_with("dist-info/direct_url.json") => {
                Some(url.as_bytes().to_vec())
            }
            _ if inside.starts_with("bin/") => script::with_interpreter(&content(&mut file)?),
            _ => None,
        };
        if let Some(content) = changed {
            builder.add_changed(path, content, executable);
            return Ok(());
        }
        if let Some(folder) = &self.stripped
            && strip::is_library(inside)
            && let Some(stripped) = Stripped::of(&file)?
        {
            let target = folder.join(hex::encode(Sha256::digest(inside)));
            let mut library = fs_err::File::create_new(&target)?;
            stripped.write(&file, library.file_mut())?;
            let size = library.metadata()?.len();
            let hash = hash_of_file(&target)?;
            builder.add_staged(path, target, size, executable, hash);
            return Ok(());
        }
        let hash = match row.hash.as_str() {
            "" => record_hash(&content(&mut file)?),
            _ => row.hash,
        };
        builder.add_staged(path, staged, metadata.len(), executable, hash);
        Ok(())
    }

    /// Where a file of the prefix is in the image.
    fn image_path(&self, info: &str, inside: &str) -> String {
        let minor = &self.interpreter.minor;
        let site = self.site_packages.to_string_lossy();
        if let Some(rest) = inside.strip_prefix(&format!("{site}/")) {
            return format!("{}/{rest}", self.interpreter.site_packages());
        }
        // pip names one of its scripts after the Python that it is installed with.
        if info.starts_with("pip-") && inside.starts_with("bin/pip3.") {
            return format!("{VENV}/bin/pip{minor}");
        }
        let staged_python = site.split('/').nth(1).unwrap_or_default();
        let inside = inside.replacen(
            &format!("include/site/{staged_python}/"),
            &format!("include/site/python{minor}/"),
            1,
        );
        format!("{VENV}/{inside}")
    }

    /// Where the distribution came from, if not from an index, with staged artifacts named as in
    /// the image.
    fn direct_url(&self, info: &str) -> Result<Option<String>, DistributionError> {
        let path = self.site_packages.join(info).join("direct_url.json");
        let text = self.tree.text(&path)?;
        let (staged, image) = (&self.artifacts, Path::new(ARTIFACTS_DIR));
        let text = text.map(|text| text.replace(&file_url(staged), &file_url(image)));
        Ok(text.map(public_direct_url))
    }
}

/// The same without what the address has of passwords and tokens; untouched if there is nothing of the kind.
fn public_direct_url(text: String) -> String {
    let Ok(mut document) = serde_json::from_str::<serde_json::Value>(&text) else {
        return text;
    };
    let Some(url) = document.get("url").and_then(|url| url.as_str()) else {
        return text;
    };
    let public = public_url(url);
    if public == url {
        return text;
    }
    document["url"] = public.into();
    document.to_string()
}

/// Files that uv writes for its own use, with times in them, and `RECORD`, which is written anew.
fn is_note(info: &str, inside: &str) -> bool {
    inside
        .rsplit_once(info)
        .is_some_and(|(_, name)| matches!(name, "/uv_cache.json" | "/uv_build.json" | "/RECORD"))
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

/// Collects files by their path in the image, with their `RECORD` columns.
#[derive(Default)]
struct Builder {
    files: BTreeMap<String, (File, String, u64)>,
}

impl Builder {
    fn add_changed(&mut self, path: String, content: Vec<u8>, executable: bool) {
        let hash = record_hash(&content);
        let size = content.len() as u64;
        let file = File {
            path: path.clone(),
            source: Source::Content(content),
            executable,
        };
        self.files.insert(path, (file, hash, size));
    }

    fn add_staged(
        &mut self,
        path: String,
        staged: PathBuf,
        size: u64,
        executable: bool,
        hash: String,
    ) {
        let file = File {
            path: path.clone(),
            source: Source::Staged(staged),
            executable,
        };
        self.files.insert(path, (file, hash, size));
    }

    fn finish(mut self, freeze: Freeze, site_packages: &str, info: &str) -> Distribution {
        let root = site_packages.strip_prefix(VENV).unwrap_or(site_packages);
        let root = root.trim_start_matches('/');
        let relative = |path: &str| {
            let inside = path
                .strip_prefix(VENV)
                .unwrap_or(path)
                .trim_start_matches('/');
            record::relative(root, inside)
        };
        let record_path = format!("{site_packages}/{info}/RECORD");
        let mut rows: Vec<Row> = self
            .files
            .iter()
            .map(|(path, (_, hash, size))| Row {
                path: relative(path),
                hash: hash.clone(),
                size: size.to_string(),
            })
            .collect();
        rows.push(Row {
            path: relative(&record_path),
            hash: String::new(),
            size: String::new(),
        });
        self.add_changed(record_path, record::write(rows).into_bytes(), false);
        let fingerprint = fingerprint(self.files.values());
        let size = self.files.values().map(|(_, _, size)| size).sum();
        let files = self.files.into_values().map(|(file, ..)| file).collect();
        Distribution {
            freeze,
            files,
            size,
            fingerprint,
        }
    }
}

fn content(file: &mut std::fs::File) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};
    let mut content = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// A content hash in the form of `RECORD`.
fn record_hash(content: &[u8]) -> String {
    written(Sha256::digest(content).as_slice())
}

/// The same for a file that may be large.
fn hash_of_file(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(written(hasher.finalize().as_slice())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn written(digest: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    format!("sha256={encoded}")
}

fn fingerprint<'a>(files: impl Iterator<Item = &'a (File, String, u64)>) -> String {
    let mut hasher = Sha256::new();
    for (file, hash, size) in files {
        hasher.update(format!(
            "{}\0{hash}\0{size}\0{}\n",
            file.path, file.executable
        ));
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests;
