//! Credentials in URLs: they are taken out of what is kept, and put back where packages are fetched.

use crate::requirements::Requirements;

/// URLs of requirements that have credentials in them.
///
/// They are not part of a [`super::Resolution`]; whoever installs has the project's requirements, and takes them from
/// there.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Each without and with its credentials.
    urls: Vec<(String, String)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let public = self.urls.iter().map(|(public, _)| public);
        formatter.debug_list().entries(public).finish()
    }
}

impl Credentials {
    /// What `requirements` has.
    pub fn of(requirements: &Requirements) -> Self {
        let lines = requirements.options.iter().chain(&requirements.packages);
        Self::from_lines(lines.map(String::as_str))
    }

    pub(super) fn from_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut urls = Vec::new();
        for line in lines {
            each_url(line, |url| {
                let public = public_url(url);
                if public != url {
                    urls.push((public, url.to_owned()));
                }
            });
        }
        Self { urls }
    }

    /// `public` with the credentials of the known URL that it has most in common with, on the same host.
    pub(super) fn url(&self, public: &str) -> String {
        if let Some((_, url)) = self.urls.iter().find(|(known, _)| known == public) {
            return url.clone();
        }
        let authority = authority(public);
        let nearest = self
            .urls
            .iter()
            .filter(|(known, _)| authority.is_some() && self::authority(known) == authority)
            .max_by_key(|(known, _)| common_length(known, public));
        let user = nearest.and_then(|(_, url)| user_of(url));
        match (user, public.split_once("://")) {
            (Some(user), Some((scheme, rest))) if user_of(public).is_none() => {
                format!("{scheme}://{user}@{rest}")
            }
            _ => public.to_owned(),
        }
    }

    /// `line` with the credentials of its URLs.
    pub(super) fn line(&self, line: &str) -> String {
        map_urls(line, |url| self.url(url))
    }
}

/// `line` without credentials.
pub(crate) fn public_line(line: &str) -> String {
    map_urls(line, public_url)
}

/// `url` without password, without user name unless it is the one that everybody has (`git` for ssh), and without a
/// query that holds a key.
pub(crate) fn public_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.ends_with("ssh") => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{name}@{host}")
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    format!("{scheme}://{host}{}", without_keys(path))
}

/// Words in the names of parameters that hold what must not be told.
const SECRET_WORDS: [&str; 7] = [
    "token",
    "sig",
    "key",
    "secret",
    "pass",
    "auth",
    "credential",
];

/// `path` without its query if that holds a key.
fn without_keys(path: &str) -> String {
    let (before, fragment) = path
        .split_once('#')
        .map_or((path, String::new()), |(before, rest)| {
            (before, format!("#{rest}"))
        });
    let Some((file, query)) = before.split_once('?') else {
        return path.to_owned();
    };
    let secret = query.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        SECRET_WORDS.iter().any(|word| name.contains(word))
    });
    if secret {
        format!("{file}{fragment}")
    } else {
        path.to_owned()
    }
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(
        authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host),
    )
}

fn user_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

fn common_length(one: &str, other: &str) -> usize {
    let after_scheme = |url: &str| url.split_once("://").map_or(0, |(scheme, _)| scheme.len());
    one.bytes()
        .skip(after_scheme(one))
        .zip(other.bytes().skip(after_scheme(other)))
        .take_while(|(one, other)| one == other)
        .count()
}

fn each_url(line: &str, mut work: impl FnMut(&str)) {
    map_urls(line, |url| {
        work(url);
        String::new()
    });
}

/// `line` with each of its URLs replaced.
fn map_urls(line: &str, mut replace: impl FnMut(&str) -> String) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let start = rest[..at]
            .rfind(|character: char| {
                !(character.is_ascii_alphanumeric() || "+.-".contains(character))
            })
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        let end = rest[at..]
            .find(|character: char| character.is_whitespace() || "'\"`<>,".contains(character))
            .map_or(rest.len(), |length| at + length);
        text.push_str(&rest[..start]);
        text.push_str(&replace(&rest[start..end]));
        rest = &rest[end..];
    }
    text + rest
}
