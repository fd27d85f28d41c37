//! What an argument IMAGE means: a name, or the digest of an image in the store, in as many digits as `cog images` shows.
//!
//! A digest never leads to a registry, where it alone would name nothing: `sha256:…` is a name on Docker Hub to them.

use cog_errors::Hint;
use cog_image::Store;

const ALGORITHM: &str = "sha256:";
/// As many as `cog images` shows.
pub(crate) const FEWEST_DIGITS: usize = 12;

/// Why a digest leads to no image, or not to the one that is needed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ImageArgumentError {
    #[error("no image in the local store has the digest {text}")]
    Unknown { text: String, is_bare: bool },
    #[error("{text} is the digest of several images: {}", digests.join(", "))]
    Ambiguous { text: String, digests: Vec<String> },
    #[error("image {text} has several names: {}", names.join(", "))]
    SeveralNames { text: String, names: Vec<String> },
    #[error("`{0}` is a digest, not a name")]
    NotAName(String),
}

impl Hint for ImageArgumentError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown {
                text,
                is_bare: true,
            } => format!(
                "`cog images` lists those that there are; an image of that name on Docker Hub is `docker.io/library/{text}`"
            ),
            Self::Unknown { is_bare: false, .. } => {
                "`cog images` lists those that there are; in a registry a digest needs its repository: \
                 `REPOSITORY@sha256:…`"
                    .to_owned()
            }
            Self::Ambiguous { .. } => "give more of its digits".to_owned(),
            Self::SeveralNames { .. } => "say which of them is meant".to_owned(),
            Self::NotAName(_) => {
                "give a name, as `repository:tag`; in a registry a digest follows its repository: \
                 `REPOSITORY@sha256:…`"
                    .to_owned()
            }
        })
    }
}

/// The name that `text` is, or one of the image that has this digest.
pub(crate) fn name(store: &Store, text: &str) -> anyhow::Result<String> {
    Ok(match names(store, text)? {
        Some(names) => names.into_iter().next().unwrap_or_default(),
        None => text.to_owned(),
    })
}

/// The same for what is done to a name: an image that has several is refused.
pub(crate) fn only_name(store: &Store, text: &str) -> anyhow::Result<String> {
    match names(store, text)?.as_deref() {
        None => Ok(text.to_owned()),
        Some([name]) => Ok(name.clone()),
        Some(names) => Err(ImageArgumentError::SeveralNames {
            text: text.to_owned(),
            names: names.to_vec(),
        }
        .into()),
    }
}

/// Where an image gets a name, a digest is a mistake.
pub(crate) fn refuse_digest(text: &str) -> Result<(), ImageArgumentError> {
    match digits(text) {
        Some(_) => Err(ImageArgumentError::NotAName(text.to_owned())),
        None => Ok(()),
    }
}

/// All names of the image whose digest `text` is; nothing if it is a name.
fn names(store: &Store, text: &str) -> anyhow::Result<Option<Vec<String>>> {
    let (digits, is_bare) = match digits(text) {
        Some(digits) => (digits, false),
        None if are_digits(text) && !store.has_name(text)? => (text, true),
        None => return Ok(None),
    };
    let text = text.to_owned();
    let mut found = store.names_by_digest(digits)?;
    if found.len() > 1 {
        let digests = found.keys().map(ToString::to_string).collect();
        return Err(ImageArgumentError::Ambiguous { text, digests }.into());
    }
    match found.pop_first() {
        Some((_, names)) => Ok(Some(names)),
        None => Err(ImageArgumentError::Unknown { text, is_bare }.into()),
    }
}

/// Those of `sha256:9a16…`.
fn digits(text: &str) -> Option<&str> {
    text.strip_prefix(ALGORITHM)
        .filter(|digits| are_digits(digits))
}

fn are_digits(text: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.len() >= FEWEST_DIGITS && text.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use cog_image::ImageConfig;

    use super::*;

    struct Images {
        _folder: tempfile::TempDir,
        store: Store,
        digests: Vec<String>,
    }

    fn images(names: &[&str]) -> Images {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digests = names.iter().map(|name| {
            let config = ImageConfig {
                user: Some((*name).to_owned()),
                ..ImageConfig::default()
            };
            let image = store.put_image(name, &config, &[]).unwrap();
            image.manifest.digest.to_string()
        });
        let digests = digests.collect();
        Images {
            digests,
            store,
            _folder: folder,
        }
    }

    fn error(result: anyhow::Result<String>) -> ImageArgumentError {
        result.unwrap_err().downcast().unwrap()
    }

    #[test]
    fn as_many_digits_as_are_shown_name_an_image() {
        let images = images(&["one:v1", "two:v1"]);
        let whole = &images.digests[1];
        let shown = &whole[..ALGORITHM.len() + FEWEST_DIGITS];
        let bare = shown.strip_prefix(ALGORITHM).unwrap();
        for text in [whole.as_str(), &whole[..30], shown, bare] {
            assert_eq!(name(&images.store, text).unwrap(), "two:v1", "{text}");
            assert_eq!(only_name(&images.store, text).unwrap(), "two:v1", "{text}");
        }
        for text in ["one:v1", "sha256:00", "sha256", "sha256:latest", "deadbeef"] {
            assert_eq!(name(&images.store, text).unwrap(), text);
        }
    }

    #[test]
    fn a_name_of_digits_alone_is_a_name() {
        let images = images(&["deadbeefcafe"]);
        let found = name(&images.store, "deadbeefcafe").unwrap();
        assert_eq!(found, "deadbeefcafe");
    }

    #[test]
    fn an_unknown_digest_is_no_name() {
        let images = images(&["one:v1"]);
        for (text, is_bare) in [("sha256:00deadbeefca", false), ("00deadbeefca", true)] {
            let unknown = error(name(&images.store, text));
            let text = text.to_owned();
            assert_eq!(unknown, ImageArgumentError::Unknown { text, is_bare });
        }
    }

    #[test]
    fn several_names_are_as_good_as_one_unless_it_matters() {
        let images = images(&["one:v1"]);
        images.store.tag("one:v1", "another:v1").unwrap();
        let digest = &images.digests[0];
        assert_eq!(name(&images.store, digest).unwrap(), "another:v1");
        let several = error(only_name(&images.store, digest)).to_string();
        assert!(
            several.ends_with("has several names: another:v1, one:v1"),
            "{several}"
        );
    }

    #[test]
    fn no_image_is_called_as_a_digest() {
        assert!(refuse_digest("sha256:00deadbeefca").is_err());
        for name in ["sha256:v1", "deadbeefcafe", "a@sha256:00deadbeefca"] {
            assert_eq!(refuse_digest(name), Ok(()));
        }
    }
}
