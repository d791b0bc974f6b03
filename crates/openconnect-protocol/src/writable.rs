//! Whether an event can be written so that it is read back as the same event.

use chrono::{DateTime, Datelike as _, Utc};
use cloudevents::{AttributesReader, Event};

use crate::{EventError, attributes};

/// Checks the attributes of an event that was not decoded here: it is built by a connector or comes out of a template.
///
/// # Errors
///
/// The first attribute that no decoder takes.
pub fn check(event: &Event) -> Result<(), EventError> {
    for (name, value) in [("id", event.id()), ("source", event.source().as_str()), ("type", event.ty())] {
        if value.is_empty() {
            return Err(EventError::Missing(name));
        }
    }
    check_subject(event.subject())?;
    if let Some(time) = event.time() {
        check_time(time)?;
    }
    event.iter_extensions().try_for_each(|(name, _)| check_extension(name))
}

pub(crate) fn check_subject(subject: Option<&str>) -> Result<(), EventError> {
    match subject {
        Some("") => Err(EventError::invalid("subject", "it is empty: leave it out instead")),
        _ => Ok(()),
    }
}

/// RFC 3339 has years of four digits, in UTC too.
pub(crate) fn check_time(time: &DateTime<Utc>) -> Result<(), EventError> {
    match (0..=9999).contains(&time.year()) {
        true => Ok(()),
        false => Err(EventError::invalid("time", "the year is not between 0 and 9999")),
    }
}

pub(crate) fn check_extension(name: &str) -> Result<(), EventError> {
    match attributes::is_acceptable(name) {
        true => Ok(()),
        false => Err(EventError::invalid(
            name,
            "an extension's name has lower-case letters and digits only, at most 64",
        )),
    }
}
