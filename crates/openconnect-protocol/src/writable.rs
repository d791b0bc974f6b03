//! Whether an event can be written so that it is read back as the same event.

use cloudevents::{AttributesReader, Event};

use crate::members::writable_time;
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
    if event.subject() == Some("") {
        return Err(EventError::invalid("subject", "it is empty: leave it out instead"));
    }
    if event.time().is_some_and(|time| writable_time(*time).is_none()) {
        return Err(EventError::invalid("time", "the year is not between 0 and 9999"));
    }
    match event.iter_extensions().find(|(name, _)| !attributes::is_acceptable(name)) {
        Some((name, _)) => Err(EventError::invalid(
            name,
            "an extension's name has lower-case letters and digits only, at most 64",
        )),
        None => Ok(()),
    }
}
