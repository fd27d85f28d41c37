//! Names of images that a daemon has for the time of a build, and whose they are.
//!
//! Whoever is killed leaves such names behind, and with them images. So each ends with a mark: where its owner is (this boot
//! of this kernel, and its space of process numbers), which process that is and when it began, and when the name was given.
//! An owner that was here and is gone needs nothing any more. What became of one elsewhere cannot be known: on another
//! machine, or in another container. A name of such a one is over when it is older than any build.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cog_engine::docker::Daemon;
use cog_image::Digest;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::error::DaemonError;

/// What is built on.
pub(super) const BELOW: &str = "cog-build/below";
/// What is built.
pub(super) const STEP: &str = "cog-build/step";
/// Where images have names while they are on their way: [`cog_image::serve`] and [`cog_image::receive`] choose those of
/// repositories.
const LOOPBACK: &str = "127.0.0.1:";
/// The same for a daemon.
const PATTERNS: [&str; 2] = ["cog-build/*", "127.0.0.1:*/*"];
/// A name lasts as long as a build at most, and none takes this long.
const LONGEST: Duration = Duration::from_hours(7 * 24);
/// Digits of the place in a mark.
const PLACE: usize = 12;

/// Who gives names: a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    place: String,
    process: u32,
    /// When it began, as its kernel counts.
    began: u64,
}

impl Owner {
    /// This process.
    pub(super) fn here() -> Self {
        let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs_err::read_link("/proc/self/ns/pid").unwrap_or_default();
        let place = Digest::of(format!("{}{}", boot.trim(), space.display()).as_bytes());
        let process = std::process::id();
        Self {
            place: place.hex()[..PLACE].to_owned(),
            process,
            began: match state(process) {
                State::Began(began) => began,
                State::Gone | State::Hidden => 0,
            },
        }
    }

    /// A tag that begins with `what` and has the mark of this owner.
    pub(super) fn tag(&self, what: &str) -> String {
        self.tag_at(what, SystemTime::now())
    }

    fn tag_at(&self, what: &str, now: SystemTime) -> String {
        let Self {
            place,
            process,
            began,
        } = self;
        let given = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("{what}-{place}-{process}-{began}-{given}")
    }
}

/// Removes what builds that have ended left in `daemon`, and gives the names that it had.
pub(super) fn remove_ended(daemon: &Daemon, here: &Owner) -> Result<Vec<String>, DaemonError> {
    let now = SystemTime::now();
    let is_over = |name: &String| Mark::of(name).is_some_and(|mark| mark.is_over(here, now, state));
    let mut removed = Vec::new();
    for pattern in PATTERNS {
        // An image may have several names, and is listed with all.
        let names: BTreeSet<String> = daemon.names(pattern)?.into_iter().collect();
        for name in names.into_iter().filter(is_over) {
            daemon.remove(&name)?;
            removed.push(name);
        }
    }
    Ok(removed)
}

/// What a name says of its owner.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    owner: Owner,
    given: SystemTime,
}

impl Mark {
    /// That of an image's name, if it is one of those that builds give.
    fn of(name: &str) -> Option<Self> {
        let (repository, tag) = name.rsplit_once(':')?;
        if !is_for_a_build(repository) {
            return None;
        }
        let mut parts = tag.rsplit('-');
        let given = parts.next()?.parse().ok()?;
        let (began, process) = (parts.next()?, parts.next()?);
        let place = parts.next().filter(|place| is_hex(place, PLACE))?;
        parts.next()?;
        Some(Self {
            owner: Owner {
                place: place.to_owned(),
                process: process.parse().ok()?,
                began: began.parse().ok()?,
            },
            given: UNIX_EPOCH.checked_add(Duration::from_secs(given))?,
        })
    }

    /// Whether nobody needs the image under this name any more. `state` says what is known of a process that is `here`.
    fn is_over(&self, here: &Owner, now: SystemTime, state: impl Fn(u32) -> State) -> bool {
        if self.owner.place == here.place {
            return match state(self.owner.process) {
                State::Began(began) => began != self.owner.began,
                State::Gone => true,
                State::Hidden => false,
            };
        }
        now.duration_since(self.given)
            .is_ok_and(|age| age > LONGEST)
    }
}

fn is_for_a_build(repository: &str) -> bool {
    if let Some(place) = repository.strip_prefix(LOOPBACK) {
        let parts = place.split_once('/');
        return parts.is_some_and(|(port, name)| port.parse::<u16>().is_ok() && is_hex(name, 32));
    }
    // What daemons put in front of names without a registry.
    let name = ["docker.io/", "localhost/"]
        .iter()
        .find_map(|registry| repository.strip_prefix(registry));
    [BELOW, STEP].contains(&name.unwrap_or(repository))
}

fn is_hex(text: &str, length: usize) -> bool {
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    text.len() == length && text.bytes().all(is_digit)
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It runs, and began then.
    Began(u64),
    /// There is none.
    Gone,
    /// There is one, of which nothing is to be seen.
    Hidden,
}

fn state(process: u32) -> State {
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).ok();
    if let Some(state) = stat.as_deref().and_then(read_state) {
        return state;
    }
    // What is not to be seen may be somebody else's.
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    match process.map(test_kill_process) {
        None | Some(Err(Errno::SRCH)) => State::Gone,
        Some(_) => State::Hidden,
    }
}

/// Reads what the kernel says of a process: behind its name, which may have any letters, a letter for how it is, and as the
/// twentieth word when it began.
fn read_state(stat: &str) -> Option<State> {
    let (_, words) = stat.rsplit_once(')')?;
    let words: Vec<&str> = words.split_whitespace().collect();
    match *words.first()? {
        // It has ended, and nobody has asked how.
        "Z" | "X" => Some(State::Gone),
        _ => Some(State::Began(words.get(19)?.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            place: "0123456789ab".to_owned(),
            process: 77,
            began: 1234,
        }
    }

    #[test]
    fn a_name_says_whose_it_is() {
        let given = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let tag = owner().tag_at("0011223344556677", given);
        assert_eq!(tag, "0011223344556677-0123456789ab-77-1234-1700000000");
        let mark = Mark {
            owner: owner(),
            given,
        };
        let random = "00112233445566778899aabbccddeeff";
        for repository in [
            BELOW.to_owned(),
            format!("docker.io/{STEP}"),
            format!("localhost/{BELOW}"),
            format!("127.0.0.1:40123/{random}"),
        ] {
            let found = Mark::of(&format!("{repository}:{tag}"));
            assert_eq!(found.as_ref(), Some(&mark), "{repository}");
        }
    }

    #[test]
    fn names_that_builds_do_not_give_are_nobody_s() {
        let tag = owner().tag("x");
        for name in [
            format!("cog-build/mine:{tag}"),
            format!("example.com/cog-build/step:{tag}"),
            format!("127.0.0.1:5000/mine:{tag}"),
            format!("127.0.0.1:/00112233445566778899aabbccddeeff:{tag}"),
            format!("cog-build/step:{}", tag.trim_start_matches("x-")),
            "cog-build/step:latest".to_owned(),
            "cog-build/step:0011223344556677".to_owned(),
            "cog-build/step:a-0123456789ab-77-1234-18446744073709551616".to_owned(),
            "cog-build/step:a-0123456789xy-77-1234-1".to_owned(),
            "cog-build/step".to_owned(),
            "<none>:<none>".to_owned(),
        ] {
            assert_eq!(Mark::of(&name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_over_when_its_owner_is_gone() {
        let given = SystemTime::now();
        let mark = Mark {
            owner: owner(),
            given,
        };
        let soon = given + Duration::from_mins(1);
        let over = |state| mark.is_over(&owner(), soon, |_| state);
        assert!(!over(State::Began(1234)), "it runs");
        assert!(over(State::Began(9999)), "another one has its number");
        assert!(over(State::Gone));
        assert!(!over(State::Hidden), "it may be it");
        let years = given + 1000 * LONGEST;
        assert!(!mark.is_over(&owner(), years, |_| State::Began(1234)));
    }

    #[test]
    fn a_name_from_elsewhere_is_over_when_it_is_old() {
        let given = SystemTime::now();
        let mark = Mark {
            owner: Owner {
                place: "ffffffffffff".to_owned(),
                ..owner()
            },
            given,
        };
        let asked = |now| mark.is_over(&owner(), now, |_| panic!("it is not here"));
        assert!(!asked(given + LONGEST - Duration::from_secs(1)));
        assert!(asked(given + LONGEST + Duration::from_secs(1)));
        assert!(!asked(given - LONGEST), "its clock is ahead");
    }

    #[test]
    fn processes_are_known() {
        let here = Owner::here();
        assert_eq!(state(here.process), State::Began(here.began));
        assert_eq!(Owner::here(), here);
        assert!(is_hex(&here.place, PLACE));
        let mut child = std::process::Command::new("true").spawn().expect("started");
        let number = child.id();
        while !matches!(state(number), State::Gone) {
            std::thread::yield_now();
        }
        child.wait().expect("it has ended");
        assert_eq!(state(number), State::Gone);
    }

    #[test]
    fn the_name_of_a_process_is_no_word_of_the_kernel() {
        let numbers: Vec<String> = (4..25).map(|number| number.to_string()).collect();
        let stat = |state: &str| format!("7 (a) Z 1 (b) {state} {}", numbers.join(" "));
        assert_eq!(read_state(&stat("S")), Some(State::Began(22)));
        assert_eq!(read_state(&stat("Z")), Some(State::Gone));
        assert_eq!(read_state("7 (a) S 1"), None);
        assert_eq!(read_state(""), None);
    }
}
