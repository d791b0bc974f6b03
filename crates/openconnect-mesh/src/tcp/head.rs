//! What is looked at in a frame's header.

use std::borrow::Cow;

use openconnect_protocol::extension::MANY;
use openconnect_protocol::frame::Command;
use serde::Deserialize;

/// A frame's header, as far as it is looked at.
#[derive(Deserialize)]
pub(crate) struct Head<'a> {
    pub(crate) cmd: Command,
    #[serde(borrow, default, deserialize_with = "seq")]
    pub(crate) seq: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) properties: Option<Properties<'a>>,
}

fn seq<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cow<'de, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'de>>::deserialize(deserializer)?.map_or(Cow::Borrowed(""), |t| t.0))
}

/// The properties that a publish must have, and whether there are others.
#[derive(Deserialize)]
pub(crate) struct Properties<'a> {
    #[serde(borrow, default)]
    pub(crate) protocoltype: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) protocolversion: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) openconnectholds: Cow<'a, str>,
    #[serde(borrow, default)]
    openconnectacks: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) openconnectstamps: Cow<'a, str>,
}

impl Head<'_> {
    /// Does this tell of acknowledgements for many?
    pub(crate) fn has_many(&self) -> bool {
        self.properties.as_ref().is_some_and(|p| p.openconnectacks == MANY)
    }
}
