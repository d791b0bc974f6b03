//! A configuration value that never shows.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};

/// What is wrong with an empty secret.
pub(crate) const EMPTY: &str = "is empty or blank, which no secret may be; leave the setting out where none is needed";

/// A password, token or key; never empty or blank: an empty key would authenticate everybody. No `Display`, no `Serialize`; `Debug` prints stars. `config show` knows it by its schema
/// (`writeOnly`).
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a value; `None` when it is empty or blank.
    pub fn new(value: impl Into<String>) -> Option<Self> {
        let value = value.into();
        (!is_blank(&value)).then(|| Self(SecretString::from(value)))
    }

    /// The value, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Is it no secret at all?
pub(crate) fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom(EMPTY))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "minLength": 1, "pattern": "\\S", "writeOnly": true })
    }

    fn inline_schema() -> bool {
        true
    }
}
