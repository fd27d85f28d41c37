//! Inputs as they may be shown.

use std::collections::HashSet;

use bytes::Bytes;

use crate::validate::each_member;

/// As Python shows a secret.
const MASK: &str = "\"**********\"";

/// An input, which is a JSON object, with a mask in place of what is secret. Null hides nothing and stays.
pub(crate) fn masked(input: &Bytes, secrets: &HashSet<String>) -> Bytes {
    let mut text = Vec::new();
    each_member(
        std::str::from_utf8(input).unwrap_or_default(),
        |name, value| {
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
            text.push(b':');
            let is_shown = value.get() == "null" || !secrets.contains(name);
            let shown = if is_shown { value.get() } else { MASK };
            text.extend_from_slice(shown.as_bytes());
        },
    );
    if text.is_empty() {
        text.push(b'{');
    }
    text.push(b'}');
    text.into()
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
}
