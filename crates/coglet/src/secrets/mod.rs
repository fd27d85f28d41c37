//! Inputs, and what models say of them, as they may be shown.

mod forms;
mod matcher;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cog_inputs::each_member;
use serde_json::Value;

use crate::json::rewritten;
use crate::sync::lock;
use matcher::Matcher;

/// As Python shows a secret.
pub(crate) const STARS: &str = "**********";
/// Less is no secret, and is in every other word.
const MIN_LENGTH: usize = 4;
/// As much of one is looked for.
const MAX_LENGTH: usize = 64 << 10;
/// As many of one input are looked for.
const MAX_GIVEN: usize = 500;
/// As many, and as many bytes of them, are remembered of predictions that have ended.
const MAX_REMEMBERED: usize = 256;
const MAX_REMEMBERED_BYTES: usize = 1 << 20;
/// As many lines are looked for at once, in all their forms. For whole secrets there is no such limit.
const MAX_LINES: usize = 8 << 10;
/// How a text ends that the worker has cut: an error, and lines.
const CUT_MARKS: [&str; 2] = [" [**** ERROR TRUNCATED ****]", LOG_CUT_MARK];
/// What is as short was not cut.
const CUT_LENGTH: usize = 256 << 10;
pub(crate) const LOG_CUT_MARK: &str = "[**** LOG LINE TRUNCATED AT 4 MiB ****]\n";

/// The secrets that a worker process was given, to be kept out of what is told of what it says. It may say those of
/// a prediction after its end, and while it runs another one: they are remembered as long as the process lives, the
/// latest of them.
#[derive(Default)]
pub(crate) struct Secrets {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The latest is the last. Those that a prediction that runs was given are shared with that.
    values: VecDeque<Arc<str>>,
    /// Of these; made when something is to be told.
    matcher: Option<Arc<Matcher>>,
}

/// The secrets of one prediction, among those of its worker. While it is there, they are not forgotten.
pub(crate) struct Given {
    secrets: Arc<Secrets>,
    _values: Vec<Arc<str>>,
}

impl Secrets {
    /// The process gets `input`, a JSON object. Secret are the members that are called so.
    pub(crate) fn give(self: &Arc<Self>, input: &Bytes, names: &HashSet<String>) -> Given {
        let mut texts = Vec::new();
        if !names.is_empty() {
            each_member(
                std::str::from_utf8(input).unwrap_or_default(),
                |name, value| {
                    if names.contains(name) {
                        collect(
                            &serde_json::from_str(value.get()).unwrap_or_default(),
                            &mut texts,
                        );
                    }
                },
            );
        }
        let mut known = lock(&self.known);
        let values = texts.iter().map(|text| known.add(text)).collect();
        known.forget();
        drop(known);
        Given {
            secrets: Arc::clone(self),
            _values: values,
        }
    }

    /// `text` with stars in place of them.
    pub(crate) fn hidden_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.matcher() {
            Some(matcher) => matcher.hidden_in(text, &cuts_in(text)),
            None => Cow::Borrowed(text),
        }
    }

    /// `text` with stars in place of them. It breaks off: the beginning of one that it ends with is hidden too.
    pub(crate) fn hidden_in_beginning<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.matcher() {
            Some(matcher) => matcher.hidden_in(text, &[text.len()]),
            None => Cow::Borrowed(text),
        }
    }

    /// How much of `text`, which goes on, can be given away without cutting one of them in two.
    pub(crate) fn uncut(&self, text: &[u8]) -> usize {
        self.matcher()
            .map_or(text.len(), |matcher| matcher.uncut(text))
    }

    fn matcher(&self) -> Option<Arc<Matcher>> {
        let mut known = lock(&self.known);
        if known.values.is_empty() {
            return None;
        }
        if known.matcher.is_none() {
            known.matcher = Some(Arc::new(known.compile()));
        }
        known.matcher.clone()
    }
}

impl Known {
    /// Makes it the latest.
    fn add(&mut self, text: &str) -> Arc<str> {
        let place = self.values.iter().position(|value| &**value == text);
        let known = place.and_then(|place| self.values.remove(place));
        let value = known.unwrap_or_else(|| {
            self.matcher = None;
            text.into()
        });
        self.values.push_back(Arc::clone(&value));
        value
    }

    /// Forgets the oldest of predictions that have ended, if there are too many.
    fn forget(&mut self) {
        let (mut count, mut bytes) = (0, 0);
        // From the latest on.
        for place in (0..self.values.len()).rev() {
            let value = &self.values[place];
            if Arc::strong_count(value) > 1 {
                continue;
            }
            count += 1;
            bytes += value.len();
            if count > MAX_REMEMBERED || bytes > MAX_REMEMBERED_BYTES {
                self.values.remove(place);
                self.matcher = None;
            }
        }
    }

    fn compile(&self) -> Matcher {
        let mut strings: BTreeSet<_> = self.values.iter().flat_map(|v| forms::whole(v)).collect();
        let lines = self.values.iter().rev().flat_map(|v| forms::lines(v));
        strings.extend(lines.take(MAX_LINES));
        Matcher::new(strings)
    }
}

impl Given {
    /// `text`, which the model may have said, with stars in place of all that its process was given.
    pub(crate) fn hidden_in<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.hidden_in(text)
    }
}

/// It may be logged with what it belongs to.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STARS)
    }
}

/// Where something is left out of a text that comes from the worker.
fn cuts_in(text: &str) -> Vec<usize> {
    if text.len() < CUT_LENGTH {
        return Vec::new();
    }
    let marks = CUT_MARKS
        .iter()
        .flat_map(|mark| text.match_indices(mark).map(|(place, _)| place));
    marks.collect()
}

/// The texts in a value that may be looked for.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let text = &text[..text.floor_char_boundary(MAX_LENGTH)];
            if text.trim().len() >= MIN_LENGTH && texts.len() < MAX_GIVEN {
                texts.push(text.to_owned());
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, texts)),
        Value::Object(map) => map.values().for_each(|value| collect(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An input, which is a JSON object, with a mask in place of what is secret. Null hides nothing and stays.
pub(crate) fn masked(input: &Bytes, secrets: &HashSet<String>) -> Bytes {
    rewritten(input, |name, value, text| {
        if value.get() == "null" || !secrets.contains(name) {
            text.extend_from_slice(value.get().as_bytes());
        } else {
            text.extend_from_slice(format!("\"{STARS}\"").as_bytes());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        let secrets = HashSet::from(["key".to_owned(), "other".to_owned()]);
        let check = |input: &'static str, expected: &str| {
            assert_eq!(masked(&Bytes::from(input), &secrets), expected);
        };
        check(
            r#"{"s":"x","key":"s3cret","other":null,"k\u0065y":["s3cret"]}"#,
            r#"{"s":"x","key":"**********","other":null,"key":"**********"}"#,
        );
        check("{}", "{}");
    }

    fn given(secrets: &Arc<Secrets>, value: &Value) -> Given {
        let input = serde_json::json!({"s": "plain", "key": value}).to_string();
        secrets.give(&input.into(), &HashSet::from(["key".to_owned()]))
    }

    #[test]
    fn secrets_are_found_in_what_is_said() {
        let secrets = Arc::default();
        let value =
            serde_json::json!(["-- BEGIN\r\nab\"c\nxy\n", "ab\"cdef", null, [{"a": "äöüß"}]]);
        let given = given(&secrets, &value);
        let check = |said: &str, shown: &str| assert_eq!(secrets.hidden_in(said), shown);
        check("plain xy", "plain xy");
        check("-- BEGIN\nab\"c\nxy\n", "**********\n**********\nxy\n");
        check("-- BEGIN\r\nab\"c\nxy\n", "**********\n");
        check(
            r#"{"k": "-- BEGIN\r\nab\"c\nxy\n"}"#,
            r#"{"k": "**********\n"}"#,
        );
        check("ab\"cdef, öäöüß.", "**********, ö**********.");
        check(r"'\xe4\xf6\xfc\xdf'", "'**********'");
        assert!(!format!("{secrets:?} {given:?}").contains("BEGIN"));
        let none: Arc<Secrets> = Arc::default();
        let _nothing = none.give(&Bytes::from(r#"{"key":"secret"}"#), &HashSet::new());
        assert_eq!(none.hidden_in("secret"), "secret");
    }

    #[test]
    fn each_secret_has_lines_of_its_own() {
        let secrets = Arc::default();
        let long = |name: &str| {
            let lines: Vec<_> = (0..300).map(|line| format!("{name} {line:03}")).collect();
            lines.join("\n")
        };
        let values = [long("one"), long("two"), "the last".into()];
        let _given = given(&secrets, &values.to_vec().into());
        let said = format!("one 255, two 000, two 255, the last\n{}", values[1]);
        let shown = "**********, **********, **********, **********\n**********";
        assert_eq!(secrets.hidden_in(&said), shown);
    }

    #[test]
    fn the_latest_are_remembered() {
        let secrets = Arc::default();
        let running = given(&secrets, &"the first".into());
        for number in 0..300 {
            given(&secrets, &format!("number {number}").into());
            given(&secrets, &"again and again".into());
        }
        let said = "the first, number 0, number 299, again and again";
        let shown = "**********, number 0, **********, **********";
        assert_eq!(secrets.hidden_in(said), shown);
        assert_eq!(running.hidden_in(said), shown);
        drop(running);
        for number in 0..20 {
            given(&secrets, &format!("{number}{}", "x".repeat(100_000)).into());
        }
        assert_eq!(secrets.hidden_in(said), said);
        assert_eq!(secrets.hidden_in("19xxxxxxx "), "19xxxxxxx ");
        assert_eq!(secrets.hidden_in(&"x".repeat(70_000)), "x".repeat(70_000));
    }

    #[test]
    fn what_is_left_of_a_secret_is_hidden() {
        let secrets: Arc<Secrets> = Arc::default();
        let _given = given(&secrets, &"hunter2-hunter2".into());
        let line = format!("{}hunt", "x".repeat(CUT_LENGTH));
        for mark in CUT_MARKS {
            let shown = secrets.hidden_in(&format!("{line}{mark}")).into_owned();
            assert!(shown.ends_with(&format!("x{STARS}{mark}")));
        }
        assert_eq!(secrets.hidden_in("x hunt"), "x hunt");
        assert_eq!(secrets.hidden_in_beginning("x hunt"), "x **********");
    }
}
