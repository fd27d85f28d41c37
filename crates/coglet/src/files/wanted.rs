//! Which inputs have to be fetched.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;

use crate::json::{elements, rewritten, slice_of};
use crate::protocol::Parameter;
use crate::validate::members;

/// An input whose value names files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    input: String,
    files: WantedFiles,
}

#[derive(Debug, PartialEq, Eq)]
enum WantedFiles {
    One(Origin),
    /// One per element; `None` for elements that stay as they are.
    Many(Vec<Option<Origin>>),
}

/// Where a file comes from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Url(String),
    /// Where the client says that it is, on this machine.
    Local(PathBuf),
    /// A data URL, still as JSON text: it may be most of the request.
    Data(Bytes),
}

/// What a string says of a file.
pub(super) enum Named {
    Data,
    Url(String),
    Local(PathBuf),
}

/// One thing to fetch, or to leave.
pub(super) struct Job {
    pub(super) input: String,
    pub(super) shape: Shape,
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Element,
}

/// What has to be fetched for an input, according to the handler's parameters, and the input as the
/// worker gets it: what is fetched is null there.
pub(crate) fn wanted(
    input: &Bytes,
    signature: &HashMap<String, Parameter>,
) -> (Vec<Wanted>, Bytes) {
    if signature.values().all(|kind| *kind == Parameter::Secret) {
        return (Vec::new(), input.clone());
    }
    let named = members(input, |name| signature.contains_key(name));
    let wanted: Vec<_> = named
        .into_iter()
        .filter_map(|(input, value)| {
            let files = files(*signature.get(&input)?, &value)?;
            Some(Wanted { input, files })
        })
        .collect();
    let rest = if wanted.is_empty() {
        input.clone()
    } else {
        without_fetched(input, &wanted)
    };
    (wanted, rest)
}

fn without_fetched(input: &Bytes, wanted: &[Wanted]) -> Bytes {
    let fetched: HashMap<_, _> = wanted
        .iter()
        .map(|wanted| (wanted.input.as_str(), &wanted.files))
        .collect();
    rewritten(input, |name, value, text| match fetched.get(name) {
        Some(WantedFiles::One(_)) => text.extend_from_slice(b"null"),
        Some(WantedFiles::Many(origins)) => {
            let list = slice_of(input, value);
            text.extend_from_slice(&elements_without(&list, origins));
        }
        None => text.extend_from_slice(value.get().as_bytes()),
    })
}

fn elements_without(list: &Bytes, origins: &[Option<Origin>]) -> Vec<u8> {
    let mut text = vec![b'['];
    for (element, origin) in elements(list).iter().zip(origins) {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(if origin.is_some() { b"null" } else { element });
    }
    text.push(b']');
    text
}

fn files(kind: Parameter, value: &Bytes) -> Option<WantedFiles> {
    match kind {
        Parameter::Path | Parameter::File => origin(kind, value).map(WantedFiles::One),
        Parameter::PathList | Parameter::FileList => {
            let origins: Vec<_> = elements(value)
                .iter()
                .map(|element| origin(kind, element))
                .collect();
            origins
                .iter()
                .any(Option::is_some)
                .then_some(WantedFiles::Many(origins))
        }
        Parameter::Secret => None,
    }
}

fn origin(kind: Parameter, json_string: &Bytes) -> Option<Origin> {
    let is_lazy = matches!(kind, Parameter::File | Parameter::FileList);
    match named(std::str::from_utf8(json_string).ok()?)? {
        Named::Data => Some(Origin::Data(json_string.clone())),
        Named::Url(_) if is_lazy => None,
        Named::Url(url) => Some(Origin::Url(url)),
        Named::Local(path) => Some(Origin::Local(path)),
    }
}

/// What a JSON string names, as the value of a file parameter. Other values, and the empty string, name
/// nothing.
pub(super) fn named(json_string: &str) -> Option<Named> {
    if json_string.starts_with("\"data:") {
        return Some(Named::Data);
    }
    // Not before the quick look: a data URL may be most of the request.
    let text: String = serde_json::from_str(json_string).ok()?;
    // One that hides its beginning behind escapes is rare and still means the same.
    if text.starts_with("data:") {
        Some(Named::Data)
    } else if text.starts_with("http://") || text.starts_with("https://") {
        Some(Named::Url(text))
    } else if text.is_empty() {
        None
    } else {
        Some(Named::Local(text.into()))
    }
}

impl Wanted {
    pub(super) fn into_jobs(self) -> Vec<Job> {
        let input = self.input;
        match self.files {
            WantedFiles::One(origin) => vec![Job {
                input,
                shape: Shape::One,
                origin: Some(origin),
            }],
            WantedFiles::Many(origins) => {
                let job = |origin| Job {
                    input: input.clone(),
                    shape: Shape::Element,
                    origin,
                };
                origins.into_iter().map(job).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(kind: Parameter, value: &Value, rest: &Value) {
        let signature = HashMap::from([("x".to_owned(), kind)]);
        let input = Bytes::from(json!({"a": 1, "x": value}).to_string());
        let (wanted, left) = wanted(&input, &signature);
        let left: Value = serde_json::from_slice(&left).unwrap();
        assert_eq!(left, json!({"a": 1, "x": rest}));
        assert_eq!(wanted.is_empty(), value == rest);
    }

    #[test]
    fn paths_take_urls_of_three_kinds() {
        for url in ["http://h/a", "https://h/a", "data:,a"] {
            check(Parameter::Path, &json!(url), &json!(null));
        }
        for local in ["a/b.txt", "ftp://h/a", "httpx", "HTTP://h/a"] {
            check(Parameter::Path, &json!(local), &json!(null));
            check(Parameter::File, &json!(local), &json!(null));
        }
        for other in [json!(null), json!(3), json!("")] {
            check(Parameter::Path, &other, &other);
        }
    }

    #[test]
    fn files_over_http_stay_lazy() {
        check(Parameter::File, &json!("http://h/a"), &json!("http://h/a"));
        check(Parameter::File, &json!("data:,a"), &json!(null));
    }

    #[test]
    fn mixed_lists_are_fetched_in_part() {
        check(
            Parameter::PathList,
            &json!(["http://h/a", "b", "data:,c", 1]),
            &json!([null, null, null, 1]),
        );
        check(Parameter::PathList, &json!([1]), &json!([1]));
        check(Parameter::PathList, &json!(null), &json!(null));
    }

    #[test]
    fn nothing_else_is_touched() {
        check(
            Parameter::Secret,
            &json!("http://h/a"),
            &json!("http://h/a"),
        );
    }

    #[test]
    fn escapes_do_not_hide_a_url() {
        let signature = HashMap::from([("x".to_owned(), Parameter::Path)]);
        let input = Bytes::from(r#"{"x":"http:\/\/h\/a"}"#);
        let expected = Wanted {
            input: "x".into(),
            files: WantedFiles::One(Origin::Url("http://h/a".into())),
        };
        assert_eq!(wanted(&input, &signature).0, [expected]);
    }
}
