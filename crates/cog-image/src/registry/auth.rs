//! Answers a registry's challenge: basic credentials, or a token from the service it names.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::keychain::Credentials;

/// A parsed `WWW-Authenticate` header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Authorization(pub(super) String);

#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl TokenAnswer {
    pub(super) fn authorization(self) -> Option<Authorization> {
        let token = self
            .token
            .or(self.access_token)
            .filter(|token| !token.is_empty())?;
        Some(Authorization(format!("Bearer {token}")))
    }
}

impl Authorization {
    pub(super) fn basic(username: &str, password: &str) -> Self {
        Self(format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        ))
    }
}

impl Challenge {
    /// The first challenge that this client can answer; bearer before basic.
    pub(super) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut basic = None;
        for header in headers {
            let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                let mut parameters = parse_parameters(parameters);
                if let Some(realm) = parameters.remove("realm") {
                    return Some(Self::Bearer {
                        realm,
                        service: parameters.remove("service"),
                        scope: parameters.remove("scope"),
                    });
                }
            } else if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Self::Basic);
            }
        }
        basic
    }
}

/// `key="value", key=value`; quoted values may hold commas and escaped quotes.
fn parse_parameters(text: &str) -> HashMap<String, String> {
    let mut parameters = HashMap::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            quoted_value(quoted)
        } else {
            let end = after.find(',').unwrap_or(after.len());
            (after[..end].trim().to_owned(), &after[end..])
        };
        parameters.insert(key.trim().to_ascii_lowercase(), value);
        rest = after.trim_start_matches([' ', ',']);
    }
    parameters
}

fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// How to ask a token service.
#[derive(Debug)]
pub(super) enum TokenRequest {
    Get {
        url: reqwest::Url,
        basic: Option<(String, String)>,
    },
    Post {
        url: reqwest::Url,
        body: String,
    },
}

impl TokenRequest {
    /// `None` if `realm` is not a URL.
    pub(super) fn new(
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        credentials: Option<&Credentials>,
    ) -> Option<Self> {
        let mut url = reqwest::Url::parse(realm).ok()?;
        match credentials {
            Some(Credentials::Identity(token)) => {
                // Only for its encoding of pairs.
                let mut form = reqwest::Url::parse("http://form.invalid").expect("a valid URL");
                form.query_pairs_mut()
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("client_id", "cog")
                    .append_pair("scope", &scopes.join(" "))
                    .append_pair("refresh_token", token);
                Some(Self::Post {
                    url,
                    body: form.query().unwrap_or_default().to_owned(),
                })
            }
            basic => {
                if let Some(service) = service {
                    url.query_pairs_mut().append_pair("service", service);
                }
                for scope in scopes {
                    url.query_pairs_mut().append_pair("scope", scope);
                }
                let basic = basic.and_then(|credentials| match credentials {
                    Credentials::Basic { username, password } => {
                        Some((username.clone(), password.clone()))
                    }
                    Credentials::Identity(_) => None,
                });
                Some(Self::Get { url, basic })
            }
        }
    }

    pub(super) fn url(&self) -> &reqwest::Url {
        match self {
            Self::Get { url, .. } | Self::Post { url, .. } => url,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn challenges_are_parsed() {
        let try_parse = |headers: &[&str]| Challenge::parse(headers.iter().copied());
        let parse = |headers: &[&str]| try_parse(headers).unwrap();
        let docker = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
        assert_eq!(
            parse(&[docker]),
            bearer(
                "https://auth.example/token",
                Some("registry"),
                Some("repository:a/b:pull,push")
            )
        );
        assert_eq!(
            parse(&["bearer REALM=https://a , service=x"]),
            bearer("https://a", Some("x"), None)
        );
        assert_eq!(
            parse(&[r#"Bearer realm="a\"b"#]),
            bearer("a\"b", None, None)
        );
        assert_eq!(parse(&["Basic realm=\"x\""]), Challenge::Basic);
        assert_ne!(parse(&["Basic realm=x", docker]), Challenge::Basic);
        assert_eq!(try_parse(&["Bearer", "Negotiate", ""]), None);
    }

    #[test]
    fn token_requests_carry_what_the_service_wants() {
        let request = |credentials: Option<&Credentials>| {
            TokenRequest::new(
                "https://a/token?x=1",
                Some("s t"),
                &[
                    "repository:a/b:pull".to_owned(),
                    "repository:c:pull,push".to_owned(),
                ],
                credentials,
            )
        };
        let basic = Credentials::Basic {
            username: "u".into(),
            password: "p".into(),
        };
        let Some(TokenRequest::Get { url, basic }) = request(Some(&basic)) else {
            panic!()
        };
        assert_eq!(
            url.as_str(),
            "https://a/token?x=1&service=s+t&scope=repository%3Aa%2Fb%3Apull&scope=repository%3Ac%3Apull%2Cpush"
        );
        assert_eq!(basic, Some(("u".into(), "p".into())));
        let Some(TokenRequest::Post { body, .. }) =
            request(Some(&Credentials::Identity("i&".into())))
        else {
            panic!()
        };
        assert!(
            body.starts_with("grant_type=refresh_token&service=s+t&"),
            "{body}"
        );
        let scopes = "&scope=repository%3Aa%2Fb%3Apull+repository%3Ac%3Apull%2Cpush";
        assert!(body.contains(scopes), "{body}");
        assert!(body.ends_with("&refresh_token=i%26"), "{body}");
        assert!(TokenRequest::new("not a url", None, &[], None).is_none());
    }
}
