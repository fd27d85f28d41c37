//! Relations between packages: `a (>= 1) | b, c`.

use std::cmp::Ordering;
use std::fmt;

use super::version;

/// Alternatives, one of which is enough.
pub(super) type Group = Vec<Relation>;

/// A package by name, and perhaps which versions of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) name: String,
    pub(super) constraint: Option<Constraint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Constraint {
    operator: Operator,
    pub(super) version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Relation {
    /// Whether the version `has` will do.
    pub(super) fn accepts(&self, has: &str) -> bool {
        let Some(Constraint { operator, version }) = &self.constraint else {
            return true;
        };
        let order = version::compare(has, version);
        match operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }

    /// Whether a package that provides `name`, in this version if it says so, will do. What provides no version
    /// satisfies no constraint.
    pub(super) fn accepts_provided(&self, has: Option<&str>) -> bool {
        match has {
            Some(version) => self.accepts(version),
            None => self.constraint.is_none(),
        }
    }
}

/// Parses a field such as `Depends`. What is wrong is named by the text that cannot be understood.
pub(super) fn parse(field: &str) -> Result<Vec<Group>, String> {
    field
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(|group| group.split('|').map(parse_one).collect())
        .collect()
}

/// Parses a field without alternatives, such as `Provides`.
pub(super) fn parse_flat(field: &str) -> Result<Vec<Relation>, String> {
    Ok(parse(field)?.into_iter().flatten().collect())
}

fn parse_one(text: &str) -> Result<Relation, String> {
    let text = text.trim();
    let wrong = || text.to_owned();
    let (name, constraint) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(wrong)?;
            (
                name.trim_end(),
                Some(parse_constraint(inner.trim()).ok_or_else(wrong)?),
            )
        }
    };
    // `:any` and the like choose among architectures, of which there is only one here.
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    if is_package_name(name) {
        Ok(Relation {
            name: name.to_owned(),
            constraint,
        })
    } else {
        Err(wrong())
    }
}

fn parse_constraint(text: &str) -> Option<Constraint> {
    let split = text.find(|character| !"<>=".contains(character))?;
    let (operator, version) = text.split_at(split);
    let operator = match operator {
        "<<" => Operator::Earlier,
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    let version = version.trim();
    (!version.is_empty() && !version.contains(char::is_whitespace)).then(|| Constraint {
        operator,
        version: version.to_owned(),
    })
}

/// Whether `name` can be a package; such a name is safe in a file name.
pub(super) fn is_package_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-._".contains(&byte)
        })
}

impl fmt::Display for Relation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        match &self.constraint {
            None => Ok(()),
            Some(constraint) => {
                let operator = match constraint.operator {
                    Operator::Earlier => "<<",
                    Operator::EarlierOrEqual => "<=",
                    Operator::Equal => "=",
                    Operator::LaterOrEqual => ">=",
                    Operator::Later => ">>",
                };
                write!(formatter, " ({operator} {})", constraint.version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(field: &str) -> Vec<String> {
        let groups = parse(field).unwrap();
        groups
            .iter()
            .map(|group| {
                group
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" | ")
            })
            .collect()
    }

    #[test]
    fn fields_are_parsed() {
        assert_eq!(
            shown("libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0,perl:any,  \n x(=1:2-3), "),
            [
                "libc6 (>= 2.36)",
                "debconf (>= 0.5) | debconf-2.0",
                "perl",
                "x (= 1:2-3)"
            ]
        );
        assert!(parse(" ").unwrap().is_empty());
    }

    #[test]
    fn nonsense_is_named() {
        for wrong in [
            "a (>= 1", "a (1)", "a (>=)", "a (=> 1)", "../a", "a b", "A", "|",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn constraints_are_checked() {
        for (relation, version, expected) in [
            ("a (<< 2)", "1.9", true),
            ("a (<< 2)", "2", false),
            ("a (<= 2)", "2", true),
            ("a (= 2)", "2-0", true),
            ("a (= 2)", "2-1", false),
            ("a (>= 2)", "2~rc1", false),
            ("a (>> 2)", "2-1", true),
            ("a", "0", true),
        ] {
            let parsed = &parse(relation).unwrap()[0][0];
            assert_eq!(parsed.accepts(version), expected, "{relation} {version}");
        }
        let versioned = &parse("a (>= 2)").unwrap()[0][0];
        assert!(!versioned.accepts_provided(None));
        assert!(versioned.accepts_provided(Some("2")));
    }
}
