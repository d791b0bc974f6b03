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

/// An environment with what templates have. Values stand in the text as JSON writes them; in a URL each is percent-encoded once.
pub(super) fn environment(is_url: bool) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(move |out, _, value| {
        let text = text::of(value)?;
        // `urlencode` marks what it makes as safe.
        match is_url && !value.is_safe() {
            true => text::percent_encoded(&text).try_for_each(|piece| out.write_str(piece))?,
            false => out.write_str(&text)?,
        }
        Ok(())
    });
    filters::add(&mut environment);
    environment
}
