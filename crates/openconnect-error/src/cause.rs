//! What an error came from, and the text of both.

use std::error::Error;
use std::sync::Arc;

/// What an error can come from: another error, or a text.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Shared, so that an error with a cause can be cloned.
pub(crate) type Cause = Arc<dyn Error + Send + Sync>;

/// `message`, then each cause after a colon. Many types repeat the text of their source: what is already said is left out.
pub(crate) fn with_causes(message: &str, cause: Option<&Cause>) -> String {
    let mut text = message.to_owned();
    let mut next: Option<&dyn Error> = cause.map(|cause| &**cause as &dyn Error);
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}
