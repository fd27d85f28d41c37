//! A file as servers put it into their answers: `data:TYPE;name=NAME;base64,…`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{OutputError, name};

/// Whether a text is a file in this form.
pub(super) fn is_file(text: &str) -> bool {
    let head = text
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','));
    head.is_some_and(|(head, _)| head == "base64" || head.ends_with(";base64"))
}

pub(super) struct DataUrl<'a> {
    url: &'a str,
    head: &'a str,
    data: &'a str,
}

impl<'a> DataUrl<'a> {
    pub(super) fn parse(url: &'a str) -> Result<Self, OutputError> {
        let parts = url
            .strip_prefix("data:")
            .and_then(|rest| rest.split_once(','));
        let (head, data) = parts.ok_or_else(|| invalid(url))?;
        Ok(Self { url, head, data })
    }

    /// The name that the model gave, which may be anything.
    pub(super) fn name(&self) -> Option<String> {
        let mut parameters = self.head.split(';').skip(1);
        let name = parameters.find_map(|parameter| parameter.strip_prefix("name="))?;
        Some(String::from_utf8_lossy(&decoded(name)).into_owned())
    }

    /// The extension of the name, else of the type.
    pub(super) fn extension(&self) -> Option<String> {
        let given = self.name().and_then(|given| name::extension(&given));
        given.or_else(|| {
            let mime = self.head.split(';').next().unwrap_or_default();
            name::extension_of(mime).map(str::to_owned)
        })
    }

    pub(super) fn content(&self) -> Result<Vec<u8>, OutputError> {
        if is_file(self.url) {
            return STANDARD.decode(self.data).map_err(|_| invalid(self.url));
        }
        Ok(decoded(self.data).into_owned())
    }
}

fn invalid(url: &str) -> OutputError {
    OutputError::DataUrl(url.chars().take(40).collect())
}

/// With `%XX` as the bytes that they stand for.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        if *first == b'%'
            && let [high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            decoded.push(high << 4 | low);
            bytes = after;
        } else {
            decoded.push(*first);
        }
    }
    Cow::Owned(decoded)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_types_and_contents_are_read() {
        for (url, name, extension, content) in [
            (
                "data:audio/mp4;name=a%20b.m4a;base64,aGk=",
                Some("a b.m4a"),
                Some("m4a"),
                "hi",
            ),
            ("data:audio/mpeg;base64,aGk=", None, Some("mp3"), "hi"),
            ("data:None;base64,aGk=", None, None, "hi"),
            (
                "data:;name=100%.png;base64,",
                Some("100%.png"),
                Some("png"),
                "",
            ),
            ("data:text/plain,a%20b", None, Some("txt"), "a b"),
        ] {
            let parsed = DataUrl::parse(url).unwrap();
            assert_eq!(parsed.name().as_deref(), name, "{url}");
            assert_eq!(parsed.extension().as_deref(), extension, "{url}");
            assert_eq!(parsed.content().unwrap(), content.as_bytes(), "{url}");
        }
        assert!(DataUrl::parse("data:nothing").is_err());
        assert!(DataUrl::parse("data:;base64,!").unwrap().content().is_err());
    }
}
