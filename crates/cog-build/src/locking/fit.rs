//! What of a lock file still counts for a project.

use cog_python::requirements::normalise;
use cog_python::resolution::{Origin as PythonOrigin, Resolution};
use cog_python::uv::{Preference, Refresh};

use super::Upgrade;
use crate::base::{Origin, PinnedBase};
use crate::error::Result;
use crate::lock::{LockedSystem, Versions};
use crate::lock_file::{
    Difference, Inputs, LockFile, LockFileError, Part, PythonPins, SystemPins, differences,
};
use crate::resolve::Question;

/// What is known before anybody is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The base.
    pub(crate) base: Option<PinnedBase>,
    /// All Python packages.
    pub(crate) python: Option<PythonPins>,
    /// Versions of Python packages to choose where they are allowed.
    pub(crate) preferred: Vec<Preference>,
    /// Whether indexes of Python packages are asked although they were asked lately.
    pub(crate) refresh: Refresh,
    implied: SystemPins,
    named: SystemPins,
    /// Whether packages of the distribution can be as they were: on the same base, with the same below them.
    system_stays: bool,
}

/// A lock file held against a project.
#[derive(Default)]
pub(crate) struct Fit {
    /// What is not as it was.
    pub(crate) differences: Vec<Difference>,
    /// What can be taken all the same.
    pub(crate) known: Known,
}

impl Fit {
    /// Holds `file`, which is called `name`, against the inputs `now` of `question`.
    pub(crate) fn of(
        file: &LockFile,
        now: &Inputs,
        question: &Question<'_>,
        name: &str,
    ) -> Result<Self> {
        let source = question.request.requirements_source();
        let mut found = differences(&file.inputs, now, &source, name);
        let target = question.architecture();
        let Some(platform) = file.platform(target) else {
            found.push(Difference {
                part: Part::Platform,
                text: format!("{name} has nothing for {target}"),
            });
            return Ok(Self {
                differences: found,
                known: Known::default(),
            });
        };
        let fits = |part: Part| !found.iter().any(|one| one.part == part);
        let base_fits = fits(Part::Base);
        let python_fits = base_fits && fits(Part::Python);
        if python_fits {
            let distributions = platform.python.distributions.clone();
            let resolution = Resolution {
                options: Vec::new(),
                distributions,
            };
            let request = question.request;
            let ground = platform.base.ground();
            let project = question.project();
            let (packages, _) = project.on(ground, Some(&resolution), request.implied)?;
            let named = packages.named(request.config, ground.is_prebuilt);
            let more = [
                ("the project implies", &packages.image, &platform.implied),
                ("the project installs", &named, &platform.named),
            ];
            if fits(Part::System) {
                for (verb, names, pins) in more {
                    found.extend(of_names(verb, names, &pins.names, name));
                }
            }
        }
        Ok(Self {
            differences: found,
            known: Known {
                base: base_fits.then(|| {
                    platform
                        .base
                        .clone()
                        .asked_from_here(&question.request.options)
                }),
                python: python_fits.then(|| platform.python.clone()),
                preferred: preferences(&platform.python),
                refresh: Refresh::Nothing,
                implied: platform.implied.clone(),
                named: platform.named.clone(),
                system_stays: base_fits,
            },
        })
    }

    /// Whether all of it can be taken.
    pub(super) fn is_whole(&self) -> bool {
        self.differences.is_empty()
    }
}

impl Upgrade {
    /// Takes away what is to be upgraded from what is `known` for several platforms from the file `name`.
    pub(super) fn forget<'a>(
        &self,
        known: impl Iterator<Item = &'a mut Known>,
        name: &str,
    ) -> Result<(), LockFileError> {
        let mut known: Vec<&mut Known> = known.collect();
        match self {
            Self::Nothing => {}
            Self::Everything => {
                for one in known {
                    *one = Known {
                        refresh: Refresh::Everything,
                        ..Known::default()
                    };
                }
            }
            Self::These(these) => {
                for wanted in these {
                    let mut was_there = false;
                    for one in &mut known {
                        was_there |= one.forget(wanted);
                    }
                    if !was_there {
                        return Err(LockFileError::Unknown {
                            name: name.to_owned(),
                            wanted: wanted.clone(),
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// How the packages `now` are others than `before`.
fn of_names(verb: &str, now: &[String], before: &[String], lock: &str) -> Option<Difference> {
    if now == before {
        return None;
    }
    let new = now.iter().find(|one| !before.contains(one));
    let gone = before.iter().find(|one| !now.contains(one));
    let text = match (new, gone) {
        (Some(new), _) => format!("{verb} `{new}`, and {lock} was made without it"),
        (None, Some(gone)) => format!("{verb} `{gone}` no longer, which {lock} was made with"),
        (None, None) => format!("{verb} packages in another order than {lock} was made with"),
    };
    Some(Difference {
        part: Part::System,
        text,
    })
}

/// The versions of packages that may come from an index.
pub(super) fn preferences(python: &PythonPins) -> Vec<Preference> {
    let of_index = |origin: &PythonOrigin| matches!(origin, PythonOrigin::Index { .. });
    let pins = python.distributions.iter();
    pins.filter(|one| of_index(&one.origin))
        .filter_map(|one| {
            Some(Preference {
                name: one.name.clone(),
                version: one.version.clone()?,
            })
        })
        .collect()
}

impl Known {
    /// In which versions packages of the distribution are installed: those that are `implied`, and those that are `named`.
    pub(crate) fn versions(&self, implied: &[String], named: &[String]) -> LockedSystem {
        let implied_stay = self.system_stays && self.implied.names == implied;
        let named_stay = implied_stay && self.named.names == named;
        LockedSystem {
            implied: versions(&self.implied, implied, implied_stay),
            named: versions(&self.named, named, named_stay),
        }
    }

    /// Says whether there was anything to forget.
    fn forget(&mut self, wanted: &str) -> bool {
        match wanted {
            "base" => {
                self.forget_base();
                return true;
            }
            "system" => {
                self.system_stays = false;
                self.implied.packages.clear();
                self.named.packages.clear();
                return true;
            }
            _ => {}
        }
        let mut was_there = false;
        if self.base.as_ref().is_some_and(|base| is_of(base, wanted)) {
            self.forget_base();
            was_there = true;
        }
        for pins in [&mut self.implied, &mut self.named] {
            let before = pins.packages.len();
            pins.packages.retain(|one| one.name != wanted);
            if pins.packages.len() < before {
                self.system_stays = false;
                was_there = true;
            }
        }
        let python = normalise(wanted);
        let of_project =
            |pins: &PythonPins| pins.distributions.iter().any(|one| one.name == python);
        if self.python.as_ref().is_some_and(of_project)
            || self.preferred.iter().any(|one| one.name == python)
        {
            self.python = None;
            self.preferred.retain(|one| one.name != python);
            self.refresh = Refresh::Everything;
            was_there = true;
        }
        was_there
    }

    /// All else is chosen for the base.
    fn forget_base(&mut self) {
        self.base = None;
        self.python = None;
        self.system_stays = false;
    }
}

/// Whether `wanted` is the base's name, or one of the packages that it is made of.
fn is_of(base: &PinnedBase, wanted: &str) -> bool {
    let is_package = match &base.origin {
        Origin::Image { .. } => false,
        Origin::Debian(archive) => archive.packages.iter().any(|one| one.name == wanted),
    };
    is_package || base.name() == wanted
}

fn versions(pins: &SystemPins, names: &[String], stay: bool) -> Versions {
    if names.is_empty() {
        Versions::Any
    } else if stay {
        Versions::Exactly(pins.packages.clone())
    } else if pins.packages.is_empty() {
        Versions::Any
    } else {
        Versions::Preferred(pins.packages.clone())
    }
}

#[cfg(test)]
mod tests;
