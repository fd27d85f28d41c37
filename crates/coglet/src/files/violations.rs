//! What is wrong with the files that an input names, found before anything is fetched.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::wanted::{Named, named};
use crate::protocol::Parameter;
use crate::validate::{Violation, each_element, each_member};

/// Finds what cannot be had: at most one for each input.
pub(super) fn violations(
    input: &Bytes,
    signature: &HashMap<String, Parameter>,
    max_files: usize,
    allows_local: bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    if signature.values().all(|kind| *kind == Parameter::Secret) {
        return violations;
    }
    each_member(
        std::str::from_utf8(input).unwrap_or_default(),
        |name, value| {
            let problem = match signature.get(name) {
                Some(Parameter::Path | Parameter::File) if !allows_local && is_local(value) => {
                    Some(Violation::in_input(name, NO_LOCAL_FILES))
                }
                Some(Parameter::PathList | Parameter::FileList) => {
                    in_list(name, value, max_files, allows_local)
                }
                _ => None,
            };
            violations.extend(problem);
        },
    );
    violations
}

const NO_LOCAL_FILES: &str =
    "a path is not accepted by this server: give an `http:`, `https:` or `data:` URL";

fn in_list(name: &str, list: &RawValue, max_files: usize, allows_local: bool) -> Option<Violation> {
    let (mut count, mut local) = (0, None);
    each_element(list.get(), |element| {
        if !allows_local && local.is_none() && is_local(element) {
            local = Some(count);
        }
        count += 1;
    });
    if count > max_files {
        let message = format!("{count} files are more than the {max_files} that this server takes");
        return Some(Violation::in_input(name, message));
    }
    local.map(|index| Violation::in_input(format!("{name}/{index}"), NO_LOCAL_FILES))
}

fn is_local(value: &RawValue) -> bool {
    matches!(named(value.get()), Some(Named::Local(_)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(input: &Value, max_files: usize, allows_local: bool) -> Vec<String> {
        let signature = HashMap::from([
            ("one".to_owned(), Parameter::Path),
            ("many".to_owned(), Parameter::FileList),
            ("key".to_owned(), Parameter::Secret),
        ]);
        let text = Bytes::from(input.to_string());
        let violations = violations(&text, &signature, max_files, allows_local);
        let texts = violations.iter().map(|found| json!(found).to_string());
        texts.collect()
    }

    #[test]
    fn paths_where_only_urls_are_taken() {
        let input =
            json!({"one": "/etc/passwd", "many": ["data:,x", "ftp://h/a", "b"], "key": "/x"});
        assert_eq!(found(&input, 9, true), [""; 0]);
        let found = found(&input, 9, false);
        assert!(found[0].contains(r#"["body","input","one"]"#), "{found:?}");
        assert!(
            found[1].contains(r#"["body","input","many/1"]"#),
            "{found:?}"
        );
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_is_no_path_is_not_meant() {
        for value in [
            json!(null),
            json!(""),
            json!("http://h/a"),
            json!("data:,"),
            json!(3),
        ] {
            assert_eq!(
                found(&json!({"one": value, "many": [value]}), 9, false),
                [""; 0]
            );
        }
        let signature = HashMap::from([("one".to_owned(), Parameter::Path)]);
        let hidden = Bytes::from(r#"{"one":"http:\/\/h\/a"}"#);
        assert!(violations(&hidden, &signature, 9, false).is_empty());
    }

    #[test]
    fn too_many_files() {
        let input = json!({"many": vec!["data:,"; 10]});
        assert_eq!(found(&input, 10, true), [""; 0]);
        assert!(found(&input, 9, true)[0].contains("10 files are more than the 9"));
    }
}
