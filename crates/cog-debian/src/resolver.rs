//! Chooses packages: those that were asked for and all that they depend on, always the same for the same indices.
//!
//! Of alternatives, one that is chosen already is taken, else the first that can be installed; of packages that provide
//! a name, the most common one. Recommended packages are left out. This finds what Debian's own installers find for
//! the small sets of packages that bases consist of; it is no replacement for `apt`.

use std::collections::HashMap;

use super::error::{DebianError, Result};
use super::index::Index;
use super::relation::{self, Group, Relation};
use super::suite::Suite;

/// Steps after which a dependency graph counts as hopeless. Real ones take some thousands.
const MAX_STEPS: usize = 50_000;

/// Positions in `index` of the essential packages, of `names`, and of what they depend on; dependencies come first
/// where they do not form a circle.
pub(super) fn resolve(index: &Index, suite: Suite, names: &[&str]) -> Result<Vec<usize>> {
    let mut resolver = Resolver::new(index);
    for position in index.essential() {
        resolver.must_choose(position)?;
    }
    for name in names {
        resolver.must_choose_name(name, suite)?;
    }
    Ok(resolver.order)
}

struct Resolver<'a> {
    index: &'a Index,
    /// In the order in which they were chosen, so that choices can be taken back.
    chosen: Vec<Choice>,
    by_name: HashMap<&'a str, usize>,
    /// The names provided by chosen packages.
    by_provided: HashMap<&'a str, Vec<usize>>,
    /// Dependencies first.
    order: Vec<usize>,
    steps: usize,
}

struct Choice {
    position: usize,
    conflicts: Vec<Relation>,
}

/// Why a package cannot be chosen.
struct Obstacle {
    package: String,
    reason: String,
}

impl<'a> Resolver<'a> {
    fn new(index: &'a Index) -> Self {
        Self {
            index,
            chosen: Vec::new(),
            by_name: HashMap::new(),
            by_provided: HashMap::new(),
            order: Vec::new(),
            steps: 0,
        }
    }

    fn must_choose_name(&mut self, name: &str, suite: Suite) -> Result<()> {
        let relation = Relation {
            name: name.to_owned(),
            constraint: None,
        };
        if self.is_satisfied(&relation) {
            return Ok(());
        }
        let mut first = None;
        for candidate in self.candidates(&relation) {
            match self.try_choose(candidate) {
                Ok(()) => return Ok(()),
                Err(obstacle) => first = first.or(Some(obstacle)),
            }
        }
        Err(match first {
            Some(obstacle) => obstacle.into(),
            None => DebianError::NoPackage {
                name: name.to_owned(),
                suite: suite.codename(),
            },
        })
    }

    fn must_choose(&mut self, position: usize) -> Result<()> {
        Ok(self.choose(position)?)
    }

    /// Chooses the package and all it needs, or leaves everything as it was.
    fn try_choose(&mut self, position: usize) -> Result<(), Obstacle> {
        let (chosen, ordered) = (self.chosen.len(), self.order.len());
        let result = self.choose(position);
        if result.is_err() {
            self.take_back(chosen, ordered);
        }
        result
    }

    fn choose(&mut self, position: usize) -> Result<(), Obstacle> {
        let package = self.index.package(position);
        let obstacle = |reason: String| Obstacle {
            package: package.name.to_string(),
            reason,
        };
        match self.by_name.get(&*package.name) {
            Some(known) if *known == position => return Ok(()),
            Some(_) => {
                return Err(obstacle(
                    "another version of it is needed as well".to_owned(),
                ));
            }
            None => {}
        }
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(obstacle("its dependencies are too entangled".to_owned()));
        }
        let malformed = |text: String| obstacle(format!("`{text}` is no relation"));
        let depends = relation::parse(&package.depends).map_err(malformed)?;
        let conflicts = relation::parse_flat(&package.conflicts).map_err(malformed)?;
        if let Some(other) = self.conflicting(position, &conflicts) {
            let other = &self.index.package(other).name;
            return Err(obstacle(format!("it conflicts with `{other}`")));
        }
        self.mark(position, conflicts);
        for group in &depends {
            self.satisfy(group).map_err(|deeper| match deeper {
                Some(deeper) => deeper,
                None => obstacle(format!("nothing satisfies `{}`", shown(group))),
            })?;
        }
        self.order.push(position);
        Ok(())
    }

    /// Chooses one of the alternatives; fails with the first reason why one cannot be, or none if there are none.
    fn satisfy(&mut self, group: &Group) -> Result<(), Option<Obstacle>> {
        if group.iter().any(|relation| self.is_satisfied(relation)) {
            return Ok(());
        }
        let mut first = None;
        for relation in group {
            for candidate in self.candidates(relation) {
                match self.try_choose(candidate) {
                    Ok(()) => return Ok(()),
                    Err(obstacle) => first = first.or(Some(obstacle)),
                }
            }
        }
        Err(first)
    }

    fn is_satisfied(&self, relation: &Relation) -> bool {
        let by_itself = self
            .by_name
            .get(relation.name.as_str())
            .is_some_and(|position| relation.accepts(&self.index.package(*position).version));
        let providers = self
            .by_provided
            .get(relation.name.as_str())
            .into_iter()
            .flatten();
        by_itself
            || providers
                .into_iter()
                .any(|position| self.provides(*position, relation))
    }

    fn provides(&self, position: usize, relation: &Relation) -> bool {
        self.index
            .package(position)
            .provided(&relation.name)
            .is_some_and(|version| relation.accepts_provided(version))
    }

    fn candidates(&self, relation: &Relation) -> Vec<usize> {
        let accepted = |position: &usize| relation.accepts(&self.index.package(*position).version);
        let mut candidates = self.index.versions(&relation.name);
        candidates.retain(accepted);
        let providers = self.index.providers(&relation.name).into_iter();
        candidates.extend(providers.filter(|position| self.provides(*position, relation)));
        candidates
    }

    /// A chosen package that cannot be installed beside the one at `position`.
    fn conflicting(&self, position: usize, conflicts: &[Relation]) -> Option<usize> {
        let excludes = |conflicts: &[Relation], of: usize, other: usize| {
            // A package may provide what it conflicts with, to be the only one that does.
            of != other
                && conflicts
                    .iter()
                    .any(|relation| self.matches(other, relation))
        };
        self.chosen
            .iter()
            .find(|choice| {
                excludes(conflicts, position, choice.position)
                    || excludes(&choice.conflicts, choice.position, position)
            })
            .map(|choice| choice.position)
    }

    fn matches(&self, position: usize, relation: &Relation) -> bool {
        let package = self.index.package(position);
        let by_itself = *package.name == *relation.name && relation.accepts(&package.version);
        by_itself || self.provides(position, relation)
    }

    fn mark(&mut self, position: usize, conflicts: Vec<Relation>) {
        let index = self.index;
        let package = index.package(position);
        self.by_name.insert(&package.name, position);
        for provided in &package.provides {
            self.by_provided
                .entry(&provided.name)
                .or_default()
                .push(position);
        }
        self.chosen.push(Choice {
            position,
            conflicts,
        });
    }

    fn take_back(&mut self, chosen: usize, ordered: usize) {
        self.order.truncate(ordered);
        for choice in self.chosen.drain(chosen..) {
            let package = self.index.package(choice.position);
            self.by_name.remove(&*package.name);
            for provided in &package.provides {
                if let Some(positions) = self.by_provided.get_mut(provided.name.as_str()) {
                    positions.retain(|position| *position != choice.position);
                }
            }
        }
    }
}

fn shown(group: &Group) -> String {
    let alternatives: Vec<String> = group.iter().map(ToString::to_string).collect();
    alternatives.join(" | ")
}

impl From<Obstacle> for DebianError {
    fn from(Obstacle { package, reason }: Obstacle) -> Self {
        Self::NotInstallable { package, reason }
    }
}

#[cfg(test)]
mod tests;
