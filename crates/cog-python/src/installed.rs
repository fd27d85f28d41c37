//! What a base's Python has besides its standard library, and what of a resolution is there with it.
//!
//! The environment of an image on such a base sees these packages below its own. A package that is there in the very
//! version that was resolved is not installed again; the reference, which installs into the base's Python, does so too.
//! But Python takes a package from one folder: distributions that share one have to be in the same place.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::freeze::Freeze;
use crate::record;
use crate::requirements::normalise;
use crate::resolution::{Origin, Resolution};
use crate::venv::VENV;

/// A distribution of a base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What it is.
    pub freeze: Freeze,
    /// What it has in the folder of packages: names of folders and files, sorted.
    pub names: Vec<String>,
    /// The programs that it brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
}

/// A program that is a function of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// The module, with its packages.
    module: String,
    /// The function in it, perhaps of a class.
    function: String,
}

impl Program {
    /// Reads a line such as `torchrun = torch.distributed.run:main`.
    fn read(line: &str) -> Option<Self> {
        let (name, function) = line.split_once('=')?;
        let name = name.trim();
        let (module, function) = function.split('[').next()?.trim().split_once(':')?;
        let is_name = |name: &str| {
            let mut characters = name.chars();
            let begins = characters
                .next()
                .is_some_and(|first| first == '_' || first.is_alphabetic());
            begins && characters.all(|one| one == '_' || one.is_alphanumeric())
        };
        let are_names = |dotted: &str| dotted.split('.').all(is_name);
        let is_file = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        (is_file && are_names(module) && are_names(function)).then(|| Self {
            name: name.to_owned(),
            module: module.to_owned(),
            function: function.to_owned(),
        })
    }

    /// Its text, for the environment's Python: the base's own would not see what is installed above.
    pub fn text(&self) -> String {
        let Self {
            module, function, ..
        } = self;
        let imported = function.split('.').next().unwrap_or(function);
        format!(
            "#!/{VENV}/bin/python\nimport sys\n\nfrom {module} import {imported}\n\nsys.exit({function}())\n"
        )
    }
}

/// Programs in the text of an `entry_points.txt`.
fn programs(entry_points: &str) -> Vec<Program> {
    let lines = entry_points.lines().map(str::trim);
    let section = lines
        .skip_while(|line| *line != "[console_scripts]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    section.filter_map(Program::read).collect()
}

/// Each environment has its own: with that of the base, `pip install` would install into the base.
const OWN: [&str; 3] = ["pip", "setuptools", "wheel"];

impl Installed {
    /// Reads the files of a `dist-info` folder; nothing if these don't say what it is.
    pub fn read(
        metadata: &str,
        record: &str,
        entry_points: &str,
        direct_url: Option<&str>,
    ) -> Option<Self> {
        let rows = record::parse(record).unwrap_or_default();
        let tops = rows.iter().filter_map(|row| {
            let top = row.path.split('/').next()?;
            let is_own = top != ".." && !top.is_empty() && !top.ends_with(".dist-info");
            (is_own && top != "__pycache__").then(|| top.to_owned())
        });
        let names: BTreeSet<String> = tops.collect();
        Some(Self {
            freeze: crate::freeze::parse(metadata, direct_url)?,
            names: names.into_iter().collect(),
            programs: programs(entry_points),
        })
    }
}

/// Programs of `installed` but for those of distributions that are installed above.
pub fn programs_below(installed: &[Installed], above: &Resolution) -> Vec<Program> {
    let seen = installed.iter().filter(|one| {
        let name = normalise(&one.freeze.name);
        above.pin(&name).is_none() && !OWN.contains(&&*name)
    });
    let mut programs: Vec<Program> = seen.flat_map(|one| &one.programs).cloned().collect();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    programs.dedup_by(|one, other| one.name == other.name);
    programs
}

/// Names of the distributions of `resolution` that are among `installed` and need not be installed again.
pub fn already_there(resolution: &Resolution, installed: &[Installed]) -> BTreeSet<String> {
    let by_name: BTreeMap<String, &Installed> = installed
        .iter()
        .map(|one| (normalise(&one.freeze.name), one))
        .collect();
    let mut there: BTreeSet<String> = resolution
        .distributions
        .iter()
        .filter(|pin| {
            let is_same = by_name.get(&pin.name).is_some_and(|one| {
                one.freeze.origin.is_none() && pin.version.as_ref() == Some(&one.freeze.version)
            });
            is_same && matches!(pin.origin, Origin::Index { .. }) && !OWN.contains(&&*pin.name)
        })
        .map(|pin| pin.name.clone())
        .collect();
    // Whoever is installed takes along those that it shares a folder with, and they others.
    loop {
        let apart: BTreeSet<&str> = resolution
            .distributions
            .iter()
            .filter(|pin| !there.contains(&pin.name))
            .flat_map(|pin| folders(&pin.name, &by_name))
            .collect();
        let stays = |name: &String| {
            let mut folders = folders(name, &by_name).into_iter();
            !folders.any(|folder| apart.contains(folder))
        };
        let (kept, dropped): (BTreeSet<String>, BTreeSet<String>) =
            there.into_iter().partition(stays);
        there = kept;
        if dropped.is_empty() {
            return there;
        }
    }
}

/// NVIDIA's libraries are in one folder, and PyTorch finds them by their place beside its own.
const NVIDIA: &str = "nvidia";
const BESIDE_NVIDIA: [&str; 1] = ["torch"];
/// Named like one of them, and elsewhere.
const NOT_NVIDIA: [&str; 1] = ["nvidia-ml-py"];

/// The folders that a distribution has parts in, as far as the base tells, and its name does.
fn folders<'a>(name: &'a str, installed: &BTreeMap<String, &'a Installed>) -> Vec<&'a str> {
    let mut folders = vec![name];
    if let Some(one) = installed.get(name) {
        folders.extend(one.names.iter().map(String::as_str));
    }
    let is_of_nvidia = name.split('-').next() == Some(NVIDIA) && !NOT_NVIDIA.contains(&name);
    if is_of_nvidia || BESIDE_NVIDIA.contains(&name) {
        folders.push(NVIDIA);
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolution::{IndexFile, Pinned};

    fn installed(name: &str, version: &str, names: &[&str]) -> Installed {
        Installed {
            freeze: Freeze {
                name: name.to_owned(),
                version: version.to_owned(),
                origin: None,
            },
            names: names.iter().map(|&name| name.to_owned()).collect(),
            programs: Vec::new(),
        }
    }

    fn resolution(pins: &[(&str, &str)]) -> Resolution {
        let pin = |&(name, version): &(&str, &str)| Pinned {
            name: name.to_owned(),
            version: Some(version.to_owned()),
            origin: Origin::Index {
                files: vec![IndexFile {
                    url: format!("https://e.com/{name}.whl"),
                    hashes: Vec::new(),
                    size: None,
                }],
            },
        };
        Resolution {
            options: Vec::new(),
            distributions: pins.iter().map(pin).collect(),
        }
    }

    fn there(pins: &[(&str, &str)], installed: &[Installed]) -> Vec<String> {
        already_there(&resolution(pins), installed)
            .into_iter()
            .collect()
    }

    #[test]
    fn the_same_version_is_not_installed_again() {
        let base = [
            installed("PyYAML", "6.0", &["yaml", "_yaml"]),
            installed("numpy", "1.26.4", &["numpy", "numpy.libs"]),
            installed("torch", "2.3.1+cu118", &["torch", "torchgen"]),
            installed("pip", "24", &["pip"]),
        ];
        let pins = [
            ("numpy", "2.0.0"),
            ("pip", "24"),
            ("pyyaml", "6.0"),
            ("six", "1.16"),
            ("torch", "2.3.1+cu118"),
        ];
        assert_eq!(there(&pins, &base), ["pyyaml", "torch"]);
        assert_eq!(
            there(&[("torch", "2.3.1")], &base),
            [""; 0],
            "another build"
        );
        assert_eq!(there(&pins, &[]), [""; 0]);
    }

    #[test]
    fn what_comes_from_elsewhere_is_installed() {
        let mut base = [installed("a", "1", &["a"])];
        base[0].freeze.origin = Some("https://e.com/a.whl".to_owned());
        assert_eq!(there(&[("a", "1")], &base), [""; 0]);
        let base = [installed("a", "1", &["a"])];
        let mut asked = resolution(&[("a", "1")]);
        asked.distributions[0].origin = Origin::Git {
            url: "https://e.com/a.git".to_owned(),
            commit: "0".to_owned(),
            subdirectory: None,
        };
        assert!(already_there(&asked, &base).is_empty());
    }

    #[test]
    fn what_shares_a_folder_stays_together() {
        let base = [
            installed("a", "1", &["shared", "a"]),
            installed("b", "1", &["shared"]),
            installed("c", "1", &["a", "c"]),
            installed("d", "1", &["d"]),
        ];
        let same = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        assert_eq!(there(&same, &base), ["a", "b", "c", "d"]);
        let one_is_newer = [("a", "1"), ("b", "2"), ("c", "1"), ("d", "1")];
        assert_eq!(there(&one_is_newer, &base), ["d"]);
        assert_eq!(
            there(&same[1..], &base),
            ["b", "c", "d"],
            "`a` is not asked for"
        );
    }

    #[test]
    fn torch_stays_with_its_libraries() {
        let base = [
            installed("nvidia-cublas-cu12", "12.1", &["nvidia"]),
            installed("nvidia-nccl-cu12", "2.20", &["nvidia"]),
            installed("torch", "2.3.1+cu121", &["torch"]),
            installed("torchvision", "0.18.1+cu121", &["torchvision"]),
        ];
        let all = [
            ("nvidia-cublas-cu12", "12.1"),
            ("nvidia-nccl-cu12", "2.20"),
            ("torch", "2.3.1+cu121"),
            ("torchvision", "0.18.1+cu121"),
        ];
        assert_eq!(there(&all, &base).len(), 4);
        let mut newer = all;
        newer[2].1 = "2.4.0+cu121";
        assert_eq!(there(&newer, &base), ["torchvision"]);
        let with_another = [&[("nvidia-cudnn-cu12", "9")][..], &all].concat();
        assert_eq!(there(&with_another, &base), ["torchvision"]);
    }

    #[test]
    fn a_distribution_tells_its_folders() {
        let record = "torch/__init__.py,,\ntorch/a.py,,\ntorch-1.dist-info/RECORD,,\n../../../bin/torchrun,,\n\
            single.py,,\n__pycache__/single.cpython-311.pyc,,\n";
        let read = Installed::read("Name: torch\nVersion: 1\n", record, "", None);
        assert_eq!(read, Some(installed("torch", "1", &["single.py", "torch"])));
        assert_eq!(Installed::read("Name: x\n", record, "", None), None);
    }

    #[test]
    fn programs_run_with_the_python_of_the_environment() {
        let entry_points = "[other]\na = b:c\n\n[console_scripts]\ntorchrun = torch.distributed.run:main\n\
            of-a-class=a:B.main [extra]\n../up = a:b\nevil = a:b();c\nno-function = a\n[more]\nd = e:f\n";
        let mut torch = installed("torch", "1", &["torch"]);
        torch.programs = programs(entry_points);
        let names = |programs: &[Program]| -> Vec<String> {
            programs.iter().map(|one| one.name.clone()).collect()
        };
        assert_eq!(names(&torch.programs), ["torchrun", "of-a-class"]);
        assert_eq!(
            torch.programs[1].text(),
            "#!/opt/venv/bin/python\nimport sys\n\nfrom a import B\n\nsys.exit(B.main())\n"
        );
        let base = [torch];
        let below = |pins: &[(&str, &str)]| names(&programs_below(&base, &resolution(pins)));
        assert_eq!(below(&[("six", "1")]), ["of-a-class", "torchrun"]);
        assert_eq!(below(&[("torch", "2")]), [""; 0], "it brings its own");
    }
}
