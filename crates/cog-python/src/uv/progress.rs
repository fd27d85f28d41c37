//! What uv does at the moment, from the lines that it prints.

use std::collections::BTreeMap;
use std::fmt;

/// Something to tell while uv works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Worth telling once, such as that uv itself is installed first.
    Notice(&'a str),
    /// A line that uv printed: something begins, is done, or is odd.
    Line(&'a str),
    /// Distributions of which it has told the size are on their way, all of one run together. Told about every second.
    Downloading {
        /// Bytes that have come, as far as the system tells.
        done: u64,
        /// Bytes that will, about: small distributions are not told of. They are all there if both are the same.
        total: u64,
    },
    /// It has printed nothing for a while and still works. Told about every second.
    Waiting(&'a Waiting),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What uv does, such as `downloading torch (797.3MiB)`.
    pub activity: String,
    /// Bytes it has written to disk, where the system tells.
    pub written: Option<u64>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.activity)?;
        match self.written {
            Some(bytes) if bytes >= MEGABYTE => {
                write!(formatter, ", {} MB written", bytes / MEGABYTE)
            }
            _ => Ok(()),
        }
    }
}

const MEGABYTE: u64 = 1_000_000;

/// Receives progress.
pub type Observer<'a> = &'a dyn Fn(Progress<'_>);

/// Downloads and builds that an activity names; the others are counted.
const NAMED: usize = 2;

/// What uv has begun and not finished.
#[derive(Debug)]
pub(super) struct Activity {
    /// What it does when nothing is said.
    idle: String,
    /// Names, with sizes where they are told.
    downloads: BTreeMap<String, String>,
    builds: BTreeMap<String, String>,
    /// Bytes of all downloads so far, where sizes are told.
    announced: Option<u64>,
}

impl Activity {
    pub(super) fn new(idle: &str) -> Self {
        Self {
            idle: idle.to_owned(),
            downloads: BTreeMap::new(),
            builds: BTreeMap::new(),
            announced: None,
        }
    }

    /// Bytes of all downloads so far; nothing if there were none, or their sizes were not told.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    pub(super) fn downloads_are_over(&self) -> bool {
        self.downloads.is_empty()
    }

    /// Learns from a line, and says whether a person wants to see it.
    pub(super) fn learn(&mut self, line: &str) -> bool {
        let line = line.trim();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let name = rest.split(" (").next().unwrap_or_default().to_owned();
        match verb {
            "Downloading" => {
                if let Some(size) = size(rest) {
                    *self.announced.get_or_insert(0) += size;
                }
                self.downloads.insert(name, rest.to_owned());
            }
            "Downloaded" => {
                self.downloads.remove(&name);
            }
            "Building" | "Updating" => {
                self.builds.insert(name, rest.to_owned());
            }
            "Built" | "Updated" => {
                self.builds.remove(&name);
            }
            "Prepared" => {
                self.downloads.clear();
                self.builds.clear();
                "writing packages".clone_into(&mut self.idle);
            }
            // What is installed was resolved before, which was told then.
            "Resolved" => return !self.idle.starts_with("installing"),
            "Installed" | "warning:" => {}
            _ => return false,
        }
        true
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        for (verb, things) in [("downloading", &self.downloads), ("building", &self.builds)] {
            if things.is_empty() {
                continue;
            }
            let named: Vec<&str> = things.values().take(NAMED).map(String::as_str).collect();
            let more = things.len() - named.len();
            let named = named.join(", ");
            return match more {
                0 => format!("{verb} {named}"),
                _ => format!("{verb} {named} and {more} more"),
            };
        }
        self.idle.clone()
    }
}

/// The size in `torch (797.3MiB)`, in bytes.
fn size(text: &str) -> Option<u64> {
    let size = text.rsplit_once(" (")?.1.strip_suffix(')')?;
    let (number, unit) = size.split_at(size.find(|one: char| one.is_ascii_alphabetic())?);
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    // One digit after the point is told.
    let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
    let tenths = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(10)?
        .checked_add(tenths.parse::<u64>().ok().filter(|tenths| *tenths < 10)?)?;
    Some(tenths.checked_mul(factor)? / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_added_up() {
        for (text, bytes) in [
            ("torch (797.3MiB)", Some(836_029_644)),
            ("a (1.0KiB)", Some(1024)),
            ("a (2GiB)", Some(2 << 30)),
            ("a (5B)", Some(5)),
            ("cpython-3.11-linux (download) (25.1MiB)", Some(26_319_257)),
            ("a", None),
            ("a (fast)", None),
            ("a (1.25MiB)", None),
            ("a (99999999999999999999GiB)", None),
            ("a (18446744073709551GiB)", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
        let mut activity = Activity::new("installing");
        assert_eq!(activity.announced(), None);
        for line in [
            "Downloading a (1.0KiB)",
            "Downloading b",
            "Downloading c (2.0KiB)",
        ] {
            activity.learn(line);
        }
        assert_eq!(activity.announced(), Some(3072));
        assert!(!activity.downloads_are_over());
        activity.learn("Prepared 3 packages in 2s");
        assert!(activity.downloads_are_over());
    }

    #[test]
    fn the_activity_is_what_has_begun_and_not_ended() {
        let mut activity = Activity::new("resolving Python packages");
        assert_eq!(activity.describe(), "resolving Python packages");
        let steps = [
            (
                "Resolved 4 packages in 2ms",
                "resolving Python packages",
                true,
            ),
            (
                "Using CPython 3.11.7 interpreter at: /p",
                "resolving Python packages",
                false,
            ),
            ("   Building docopt==0.6.2", "building docopt==0.6.2", true),
            (
                "Downloading torch (797.3MiB)",
                "downloading torch (797.3MiB)",
                true,
            ),
            (
                "Downloading b (1.0MiB)",
                "downloading b (1.0MiB), torch (797.3MiB)",
                true,
            ),
            (
                "Downloading c (1.0MiB)",
                "downloading b (1.0MiB), c (1.0MiB) and 1 more",
                true,
            ),
            (
                " Downloaded b",
                "downloading c (1.0MiB), torch (797.3MiB)",
                true,
            ),
            (" Downloaded c", "downloading torch (797.3MiB)", true),
            (" Downloaded torch", "building docopt==0.6.2", true),
            (
                "      Built docopt==0.6.2",
                "resolving Python packages",
                true,
            ),
            ("Prepared 3 packages in 2.27s", "writing packages", true),
            (" + torch==2.3.1", "writing packages", false),
            ("warning: odd", "writing packages", true),
            ("", "writing packages", false),
        ];
        for (line, expected, shown) in steps {
            assert_eq!(activity.learn(line), shown, "{line}");
            assert_eq!(activity.describe(), expected, "{line}");
        }
    }

    #[test]
    fn what_was_resolved_is_told_once() {
        for (activity, shown) in [
            ("resolving Python packages", true),
            ("installing Python packages", false),
        ] {
            assert_eq!(
                Activity::new(activity).learn("Resolved 4 packages in 2ms"),
                shown
            );
        }
    }

    #[test]
    fn waiting_is_told_in_one_line() {
        let waiting = |written| Waiting {
            activity: "downloading torch (797.3MiB)".to_owned(),
            written,
        };
        assert_eq!(waiting(None).to_string(), "downloading torch (797.3MiB)");
        assert_eq!(
            waiting(Some(512_400_000)).to_string(),
            "downloading torch (797.3MiB), 512 MB written"
        );
    }
}
