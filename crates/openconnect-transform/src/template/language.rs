//! What a template can say: names, filters, `if` and `for`.
//!
//! There is no way to make a text out of several inside a template: each part is as large as something in the event or what one filter
//! made, filters have a limit, and the parts are counted as they are written. A loop has a limited number of elements, stands in no other
//! loop, and what its body reads over and over is counted ([`work`](super::work)). So the work and the memory of a rendering follow from
//! the lengths of the template and of the event. A step of jq does the rest.

use minijinja::Environment;

use super::{filters, text};

/// Instructions of one rendering. The length of the template comes first.
const FUEL: u64 = 50_000;

/// An environment with what templates have. Values stand in the text as JSON writes them; those that `escape` is given for go through
/// it, unless they are percent-encoded already.
pub(super) fn environment(escape: Option<fn(&str) -> String>) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(move |out, _, value| {
        let text = text::of(value)?;
        let written = match escape {
            Some(escape) if !value.is_safe() => out.write_str(&escape(&text)),
            _ => out.write_str(&text),
        };
        Ok(written?)
    });
    filters::add(&mut environment);
    environment
}
