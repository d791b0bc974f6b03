//! A connector's whole configuration: the settings that every connector has, and its own section.

use openconnect_config::codes::CONFIG_UNREADABLE;
use openconnect_config::{Rejected, Sources, Written, read, schema_with};
use openconnect_schema::{keep_kind, settings};
use serde_json::Value;

use super::{ConnectorConfig, Section, Settings, validate};

/// The schema of the core's settings with the connector's section in it, as it is for connectors of this kind.
pub fn schema<C: ConnectorConfig>(section: Section) -> Value {
    let mut root = schema_with::<Settings, C>(section.key());
    keep_kind(&mut root, section.key());
    if section == Section::Sink || !C::TAKES_INPUT {
        for (part, key) in [("properties", "input"), ("$defs", "InputSettings")] {
            if let Some(of) = root.get_mut(part).and_then(Value::as_object_mut) {
                of.remove(key);
            }
        }
    }
    root
}

/// For the test of a connector: what `config example` and the schema of its settings say falsely (see
/// [`openconnect_config::contradictions`]), and the settings of which `config plan` has nothing to say; empty when all holds.
pub fn contradictions<C: ConnectorConfig + std::fmt::Debug>(connector: &str, section: Section) -> Vec<String> {
    let schema = schema::<C>(section);
    let mut found = openconnect_config::contradictions(&schema, connector, |sources| {
        load::<C>(sources, section).map(|loaded| format!("{:?} {:?}", loaded.settings, loaded.connector))
    });
    let silent = settings(&schema)
        .into_iter()
        .filter(|setting| setting.effect().is_none() && !setting.node.is_section());
    found.extend(silent.map(|setting| format!("{}: does not say what a change of it does to events (`x-effect`)", setting.path)));
    found
}

/// A configuration file with every setting and its explanation, the required ones filled in.
pub fn example<C: ConnectorConfig>(connector: &str, section: Section) -> String {
    openconnect_config::example(&schema::<C>(section), connector)
}

/// A configuration that is fit to run.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The settings that every connector has.
    pub settings: Settings,
    /// The connector's own section.
    pub connector: C,
    /// What was written.
    pub written: Written,
    /// The file's name.
    pub origin: String,
}

/// Loads the configuration of a connector whose section is `C`.
///
/// # Errors
/// Every mistake that is in it, with its place.
pub fn load<C: ConnectorConfig>(sources: &Sources, section: Section) -> Result<Loaded<C>, Rejected> {
    let origin = sources.origin();
    if sources.is_empty() {
        return Err(Rejected::one(
            &origin,
            CONFIG_UNREADABLE,
            "there is none: give a file with --config, or make one with `config example`",
        ));
    }
    let key = section.key();
    // Of both kinds: what is for the other one is refused with the reason.
    let root = schema_with::<Settings, C>(key);
    let read = read(sources, &root, Some(key), |reader| {
        let connector: Option<C> = reader.section(key);
        let settings: Option<Settings> = reader.rest();
        if let Some(settings) = &settings {
            reader.validate("", |problems| validate::settings(settings, section, problems));
        }
        if let Some(connector) = connector.as_ref().filter(|_| reader.is_clean(key)) {
            reader.validate(key, |problems| connector.validate(problems));
        }
        settings.zip(connector)
    })?;
    let (settings, connector) = read.settings;
    Ok(Loaded {
        settings,
        connector,
        written: read.written,
        origin,
    })
}
