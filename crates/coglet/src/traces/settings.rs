//! Whether, what and where to. The variables are those of the published server and of OpenTelemetry.
//!
//! A value that is not understood turns tracing off with a warning: a server that serves without being
//! watched is better than none.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::Url;

use super::sampler::Sampler;
use crate::env::{self, Lookup};

/// Where the collector is if nothing is said.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const DEFAULT_SERVICE: &str = "cog";

/// How requests are traced.
#[derive(Debug)]
pub(crate) struct TraceSettings {
    pub(super) endpoint: Url,
    pub(super) headers: HeaderMap,
    /// Attributes of the service.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
}

impl TraceSettings {
    /// None if tracing is not wanted, or not possible; then a warning says why.
    pub(crate) fn from_variables(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> Option<Self> {
        let given = lookup(env::TRACE_CONFIGURED).unwrap_or_default();
        let known = ["", "1", "true", "yes", "0", "false", "no", "off"];
        if !known.contains(&given.trim().to_ascii_lowercase().as_str()) {
            warnings.push(format!(
                "Requests are not traced: `{given}` in `{}` is not `1` or `0`",
                env::TRACE_CONFIGURED
            ));
        }
        if !is_wanted(lookup) {
            return None;
        }
        Self::read(lookup, warnings)
            .map_err(|problem| warnings.push(format!("Requests are not traced: {problem}")))
            .ok()
    }

    fn read(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> Result<Self, String> {
        if let Some((variable, exporter)) = first(lookup, &[env::OTEL_TRACES_EXPORTER])
            && exporter != "otlp"
        {
            return Err(format!("`{exporter}` in `{variable}` is not `otlp`"));
        }
        let protocols = [env::OTEL_TRACES_PROTOCOL, env::OTEL_PROTOCOL];
        if let Some((variable, protocol)) = first(lookup, &protocols)
            && protocol != "http/protobuf"
        {
            return Err(format!(
                "`{protocol}` in `{variable}` is not supported: use `http/protobuf`"
            ));
        }
        Ok(Self {
            endpoint: endpoint(lookup)?,
            headers: headers(lookup)?,
            resource: resource(lookup),
            sampler: sampler(lookup, warnings),
        })
    }
}

fn is_wanted(lookup: Lookup<'_>) -> bool {
    let value = |name: &str| lookup(name).unwrap_or_default().trim().to_ascii_lowercase();
    matches!(value(env::TRACE_CONFIGURED).as_str(), "1" | "true" | "yes")
        && !matches!(
            value(env::TRACE_ENABLED).as_str(),
            "0" | "false" | "no" | "off"
        )
        && value(env::OTEL_SDK_DISABLED) != "true"
        && value(env::OTEL_TRACES_EXPORTER) != "none"
}

fn endpoint(lookup: Lookup<'_>) -> Result<Url, String> {
    let invalid = |variable: &str| format!("the value of `{variable}` is not an http or https URL");
    let parse = |text: &str| {
        let url: Option<Url> = text.parse().ok();
        url.filter(|url| matches!(url.scheme(), "http" | "https"))
    };
    if let Some((variable, text)) = first(lookup, &[env::OTEL_TRACES_ENDPOINT]) {
        return parse(&text).ok_or_else(|| invalid(variable));
    }
    let base = first(lookup, &[env::OTEL_ENDPOINT]);
    let (variable, base) = base.unwrap_or((env::OTEL_ENDPOINT, DEFAULT_ENDPOINT.to_owned()));
    let base = base.trim_end_matches('/');
    parse(&format!("{base}/v1/traces")).ok_or_else(|| invalid(variable))
}

fn headers(lookup: Lookup<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let variables = [env::OTEL_TRACES_HEADERS, env::OTEL_HEADERS];
    if let Some((variable, text)) = first(lookup, &variables) {
        for (name, value) in pairs(&text) {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value);
            // The value is not repeated: it may be a key.
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(format!("`{variable}` is not a list like `name=value,…`"));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    Ok(headers)
}

fn resource(lookup: Lookup<'_>) -> Vec<(String, String)> {
    let attributes = lookup(env::OTEL_RESOURCE_ATTRIBUTES).unwrap_or_default();
    let mut resource = pairs(&attributes);
    let service = lookup(env::OTEL_SERVICE_NAME).filter(|name| !name.is_empty());
    let is_named = resource.iter().any(|(name, _)| name == "service.name");
    if service.is_some() || !is_named {
        resource.retain(|(name, _)| name != "service.name");
        let service = service.unwrap_or_else(|| DEFAULT_SERVICE.into());
        resource.push(("service.name".into(), service));
    }
    resource
}

fn sampler(lookup: Lookup<'_>, warnings: &mut Vec<String>) -> Sampler {
    let names = [env::TRACE_SAMPLER, env::OTEL_TRACES_SAMPLER];
    let Some((variable, name)) = first(lookup, &names) else {
        return Sampler::default();
    };
    let arguments = [env::TRACE_SAMPLER_ARG, env::OTEL_TRACES_SAMPLER_ARG];
    let argument = first(lookup, &arguments).map(|(_, argument)| argument);
    Sampler::named(&name, argument.as_deref()).unwrap_or_else(|| {
        warnings.push(format!(
            "`{variable}` is `{name}`{}, which is no sampler: using `parentbased_always_off`",
            argument
                .map(|argument| format!(" with `{argument}`"))
                .unwrap_or_default()
        ));
        Sampler::default()
    })
}

/// The first variable that is set, and its value.
fn first(lookup: Lookup<'_>, variables: &[&'static str]) -> Option<(&'static str, String)> {
    variables.iter().find_map(|variable| {
        let value = lookup(variable)?.trim().to_owned();
        (!value.is_empty()).then_some((*variable, value))
    })
}

/// `name=value,name=value`, with values percent-encoded where they have to be.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), percent_decoded(value.trim())))
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> (Option<TraceSettings>, Vec<String>) {
        let lookup = |name: &str| {
            let known = [("COG_TRACE_CONFIGURED", "1")];
            let mut all = variables.iter().chain(&known);
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let mut warnings = Vec::new();
        let settings = TraceSettings::from_variables(&lookup, &mut warnings);
        (settings, warnings)
    }

    #[test]
    fn off_unless_configured() {
        for off in [
            ("COG_TRACE_CONFIGURED", "0"),
            ("COG_TRACE_CONFIGURED", ""),
            ("COG_TRACE_ENABLED", "No"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            let (settings, warnings) = settings(&[off]);
            assert!(settings.is_none() && warnings.is_empty(), "{off:?}");
        }
        assert!(settings(&[]).0.is_some());
        let (settings, warnings) = settings(&[("COG_TRACE_CONFIGURED", "maybe")]);
        assert!(
            settings.is_none() && warnings[0].contains("`maybe`"),
            "{warnings:?}"
        );
    }

    #[test]
    fn off_with_a_warning_where_it_cannot_be() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nonsense"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c"),
        ] {
            let (settings, warnings) = settings(&[(variable, value)]);
            assert!(settings.is_none(), "{variable}");
            assert!(warnings[0].contains(variable), "{warnings:?}");
        }
    }

    #[test]
    fn endpoints() {
        let endpoint = |variables: &[_]| settings(variables).0.unwrap().endpoint.to_string();
        assert_eq!(endpoint(&[]), "http://localhost:4318/v1/traces");
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:1/otel/");
        assert_eq!(endpoint(&[base]), "https://c:1/otel/v1/traces");
        let exact = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/t");
        assert_eq!(endpoint(&[base, exact]), "http://c/t");
    }

    #[test]
    fn the_service_and_its_key() {
        let found = settings(&[
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "a=1, service.name=x,b=two%20words",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3%2Ccret"),
        ]);
        let found = found.0.unwrap();
        let named = [("a", "1"), ("service.name", "x"), ("b", "two words")];
        let owned = named.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found.resource, owned);
        assert_eq!(found.headers["api-key"], "s3,cret");
        assert!(!format!("{found:?}").contains("s3"));
        let (default, _) = settings(&[]);
        let service = ("service.name".to_owned(), "cog".to_owned());
        assert_eq!(default.unwrap().resource, [service]);
    }

    #[test]
    fn an_unknown_sampler_is_the_careful_one() {
        let (found, warnings) = settings(&[("COG_TRACE_SAMPLER", "sometimes")]);
        assert_eq!(found.unwrap().sampler, Sampler::default());
        assert!(warnings[0].contains("COG_TRACE_SAMPLER"), "{warnings:?}");
    }
}
