//! A URL that depends on the event, in which a value never leaves its place.

use openconnect_core::cloudevents::Event;
use openconnect_core::template::Template;
use openconnect_core::{Failure, Result};

use super::endpoint::Endpoint;

use crate::codes;

/// A URL with expressions, such as `https://api.example.com/in/{{ type }}`.
///
/// Scheme, host and credentials stand before the first expression, so no event chooses them. Every value is percent-encoded: it can't
/// end its path segment, its query parameter or the path. `| urlencode` changes nothing about that. A rendered segment `.` or
/// `..` is refused.
#[derive(Debug, Clone)]
pub struct UrlTemplate(Template);

impl UrlTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// The template is wrong, or an expression stands in scheme, host or credentials. The reason does not repeat a URL without expressions,
    /// because it may hold a password.
    pub fn compile(text: &str) -> Result<Self, String> {
        let template = Template::compile_url(text).map_err(|error| error.reason())?;
        match fixed_part(text) {
            None => Endpoint::parse(text).map(drop)?,
            Some(fixed) => {
                let (_, rest) = fixed.split_once("://").ok_or(OPEN_AUTHORITY)?;
                let end = rest.find(['/', '?']).ok_or(OPEN_AUTHORITY)?;
                Endpoint::parse(&fixed[..fixed.len() - rest.len() + end])?;
            }
        }
        Ok(Self(template))
    }

    /// Is the URL the same for every event?
    pub fn is_constant(&self) -> bool {
        self.0.is_constant()
    }

    /// The URL for one event, for [`Endpoint::parse`].
    ///
    /// # Errors
    ///
    /// A value is missing, or the rendered URL has a path segment `.` or `..`: permanent.
    pub fn render(&self, event: &Event) -> Result<String, Failure> {
        let url = self.0.render(event)?;
        match !self.is_constant() && has_dot_segment(&url) {
            true => Err(Failure::permanent(
                codes::HTTP_URL,
                "the rendered URL has a path segment `.` or `..`",
            )),
            false => Ok(url),
        }
    }
}

const OPEN_AUTHORITY: &str = "must have its scheme, host and a `/` before the first expression, so that no event chooses the host";

/// The text before the first expression; `None` without one.
fn fixed_part(text: &str) -> Option<&str> {
    let tags = ["{{", "{%", "{#"].into_iter().filter_map(|open| text.find(open));
    tags.min().map(|at| &text[..at])
}

/// Does the path have a segment that a URL parser resolves, which removes the one before it?
fn has_dot_segment(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split(['?', '#']).next().unwrap_or_default();
    path.split(['/', '\\'])
        .skip(1)
        .map(|segment| segment.to_ascii_lowercase().replace("%2e", "."))
        .any(|segment| matches!(segment.as_str(), "." | ".."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::Method;
    use openconnect_core::FailureKind;
    use openconnect_core::cloudevents::{EventBuilder as _, EventBuilderV10};

    fn render(template: &str, subject: &str) -> Result<String, Failure> {
        let event = EventBuilderV10::new()
            .id("1")
            .source("/s")
            .ty("t")
            .subject(subject)
            .build()
            .unwrap();
        let url = UrlTemplate::compile(template).unwrap().render(&event)?;
        let endpoint = Endpoint::parse(&url).unwrap();
        Ok(endpoint.request(Method::GET, Vec::new()).uri().to_string())
    }

    #[test]
    fn a_value_stays_in_its_segment_with_and_without_urlencode() {
        for expression in ["{{ subject }}", "{{ subject | urlencode }}"] {
            let template = format!("http://host/in/{expression}/x?q={expression}");
            for (subject, encoded) in [
                ("a b", "a%20b"),
                ("../../admin", "..%2F..%2Fadmin"),
                ("a#b?c&d=e", "a%23b%3Fc%26d%3De"),
                ("a\r\nb\t", "a%0D%0Ab%09"),
                ("a\\b", "a%5Cb"),
                ("@127.0.0.1:9/", "%40127.0.0.1%3A9%2F"),
                ("grüße", "gr%C3%BC%C3%9Fe"),
                ("...", "..."),
                ("%2e%2E", "%252e%252E"),
                ("a%2Fb", "a%252Fb"),
            ] {
                let expected = format!("http://host/in/{encoded}/x?q={encoded}");
                assert_eq!(render(&template, subject).unwrap(), expected, "{subject:?}");
            }
            for subject in [".", ".."] {
                let failure = render(&format!("http://host/in/{expression}/x"), subject).unwrap_err();
                assert_eq!((failure.kind, &*failure.code.to_string()), (FailureKind::Permanent, "HTTP_URL"));
            }
        }
        assert!(render("http://host/in/%2e{{ subject }}/x", ".").is_err());
    }

    #[test]
    fn no_event_chooses_scheme_host_or_credentials() {
        for refused in [
            "{{ data.url }}",
            "{{ subject }}://host/",
            "http://{{ subject }}/",
            "http://host{{ subject }}",
            "http://host:8{{ subject }}/",
            "http://user:{{ subject }}@host/",
            "ftp://host/{{ subject }}",
            "http://host{# comment #}/{{ subject }}",
            "/in/{{ subject }}",
        ] {
            assert!(UrlTemplate::compile(refused).is_err(), "{refused}");
        }
        for taken in ["http://host/{{ subject }}", "https://u:p@host:8?q={{ subject }}", "http://host"] {
            assert!(UrlTemplate::compile(taken).is_ok(), "{taken}");
        }
    }
}
