//! The variables of the templates in `source.event`.

use std::collections::BTreeMap;

use http::header;

use crate::request::Request;

/// What a template can use of a request.
pub(crate) struct Variables<'a> {
    pub(crate) request: &'a Request<'a>,
    /// The data of one event.
    pub(crate) body: &'a [u8],
    /// Is the data JSON?
    pub(crate) is_json: bool,
    /// Is the data a form (`application/x-www-form-urlencoded`)?
    pub(crate) is_form: bool,
}

impl Variables<'_> {
    /// The variables; credentials are not among the headers.
    pub(crate) fn value(&self) -> minijinja::Value {
        let headers: BTreeMap<String, String> = self
            .request
            .headers
            .iter()
            .filter(|(name, _)| **name != header::AUTHORIZATION && **name != header::COOKIE)
            .filter_map(|(name, value)| Some((name.as_str().replace('-', "_"), value.to_str().ok()?.to_owned())))
            .collect();
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(self.request.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        let data = if self.is_json {
            serde_json::from_slice::<serde_json::Value>(self.body)
                .map(minijinja::Value::from_serialize)
                .unwrap_or_default()
        } else if self.is_form {
            let fields: BTreeMap<String, String> = url::form_urlencoded::parse(self.body).into_owned().collect();
            minijinja::Value::from_serialize(fields)
        } else {
            std::str::from_utf8(self.body).map(Into::into).unwrap_or_default()
        };
        minijinja::context! { headers, query, data, path => self.request.uri.path(), method => self.request.method.as_str() }
    }
}
