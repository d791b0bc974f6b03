//! Codes of errors: constants, each in the table of the crate that raises it.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

/// One line of a table of codes: what [`code_table!`](crate::code_table!) makes of a constant.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The code, or the name of the family; the page is `docs/errors/<name>.md`.
    pub name: &'static str,
    /// What the codes of a family begin with; `None` for a single code.
    pub prefix: Option<&'static str>,
    /// What happened, in one sentence.
    pub meaning: &'static str,
}

/// A stable code of an error, e.g. `OC0201` or `HTTP_404`. [`code_table!`](crate::code_table!) defines them; text is not a code:
///
/// ```compile_fail
/// openconnect_error::Failure::permanent("HTTP_URL", "the URL is not valid");
/// ```
///
/// Two codes are equal when their texts are. A code is compared with text in tests:
///
/// ```
/// openconnect_error::code_table! {
///     /// The endpoint was not reached.
///     ENDPOINT_UNREACHABLE,
/// }
///
/// assert_eq!(ENDPOINT_UNREACHABLE, "ENDPOINT_UNREACHABLE");
/// ```
#[derive(Clone, Copy)]
pub struct Code {
    entry: &'static CodeEntry,
    /// The number of a code of a family.
    number: Option<u16>,
}

impl Code {
    #[doc(hidden)]
    pub const fn new(entry: &'static CodeEntry) -> Self {
        Self { entry, number: None }
    }

    /// The line of the table: its name is the page in `docs/errors`.
    pub const fn entry(self) -> &'static CodeEntry {
        self.entry
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.entry.prefix, self.number) {
            (Some(prefix), Some(number)) => write!(f, "{prefix}{number}"),
            _ => f.pad(self.entry.name),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.number == other.number
    }
}

impl Eq for Code {}

impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.name.hash(state);
        self.number.hash(state);
    }
}

impl PartialEq<str> for Code {
    fn eq(&self, other: &str) -> bool {
        match (self.entry.prefix, self.number) {
            (Some(prefix), Some(number)) => other.strip_prefix(prefix).is_some_and(|rest| rest == number.to_string()),
            _ => self.entry.name == other,
        }
    }
}

impl PartialEq<&str> for Code {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Codes that differ in a number which another system gives, e.g. `HTTP_404`. They share a page.
///
/// ```
/// openconnect_error::code_table! {
///     /// The endpoint refused the request with this status.
///     HTTP_STATUS = "HTTP_" + number,
/// }
///
/// assert_eq!(HTTP_STATUS.code(404).to_string(), "HTTP_404");
/// assert_eq!(HTTP_STATUS.code(404).entry().name, "HTTP_STATUS");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CodeFamily {
    entry: &'static CodeEntry,
}

impl CodeFamily {
    #[doc(hidden)]
    pub const fn new(entry: &'static CodeEntry) -> Self {
        Self { entry }
    }

    /// The line of the table: its name is the page in `docs/errors`.
    pub const fn entry(self) -> &'static CodeEntry {
        self.entry
    }

    /// The code with this number.
    pub const fn code(self, number: u16) -> Code {
        Code {
            entry: self.entry,
            number: Some(number),
        }
    }
}

/// Defines the codes of a crate, in its `codes.rs`, and `TABLE`, which lists them. Each has a sentence that says what happened.
///
/// * `NAME`: the code is a word, which names the constant too.
/// * `NAME = "OC0123"`: the code is a number; the constant's name says what happened.
/// * `NAME = "HTTP_" + number`: a [`CodeFamily`].
///
/// ```
/// openconnect_error::code_table! {
///     /// The file can't be read.
///     LINES_FILE,
///     /// The state folder is in use.
///     STATE_IN_USE = "OC0202",
/// }
///
/// assert_eq!(STATE_IN_USE, "OC0202");
/// assert_eq!(TABLE[0].meaning, "The file can't be read.");
/// ```
#[macro_export]
macro_rules! code_table {
    ($(#[doc = $meaning:literal] $name:ident $(= $text:literal $(+ $number:ident)?)?),+ $(,)?) => {
        $($crate::code_table!(@one $meaning, $name $(, $text $(, $number)?)?);)+

        /// Every code of this table.
        #[allow(dead_code, unreachable_pub)]
        pub static TABLE: &[&$crate::CodeEntry] = &[$($name.entry()),+];
    };
    (@one $meaning:literal, $name:ident) => { $crate::code_table!(@one $meaning, $name, (::std::stringify!($name))); };
    (@one $meaning:literal, $name:ident, $text:literal) => { $crate::code_table!(@one $meaning, $name, ($text)); };
    (@one $meaning:literal, $name:ident, $prefix:literal, number) => {
        #[doc = $meaning]
        #[allow(unreachable_pub)]
        pub const $name: $crate::CodeFamily = $crate::CodeFamily::new(&$crate::CodeEntry {
            name: ::std::stringify!($name),
            prefix: ::std::option::Option::Some($prefix),
            meaning: $meaning.trim_ascii(),
        });
    };
    (@one $meaning:literal, $name:ident, ($text:expr)) => {
        #[doc = $meaning]
        #[allow(unreachable_pub)]
        pub const $name: $crate::Code = $crate::Code::new(&$crate::CodeEntry {
            name: $text,
            prefix: ::std::option::Option::None,
            meaning: $meaning.trim_ascii(),
        });
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    crate::code_table! {
        /// A word.
        LINES_FILE,
        /// A number.
        STATE_IN_USE = "OC0202",
        /// A family.
        HTTP_STATUS = "HTTP_" + number,
    }

    #[test]
    fn a_code_is_its_text_everywhere() {
        for (code, text) in [
            (LINES_FILE, "LINES_FILE"),
            (STATE_IN_USE, "OC0202"),
            (HTTP_STATUS.code(404), "HTTP_404"),
        ] {
            assert_eq!(code, text);
            assert_eq!(code.to_string(), text);
            assert_eq!(format!("{code:?}"), text);
            assert_eq!(serde_json::to_value(code).unwrap(), text);
        }
        assert_ne!(HTTP_STATUS.code(404), "HTTP_40");
        assert_ne!(HTTP_STATUS.code(404), "HTTP_STATUS");
        assert_ne!(HTTP_STATUS.code(404), HTTP_STATUS.code(400));
    }

    #[test]
    fn the_table_has_every_code_once() {
        let names: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["LINES_FILE", "OC0202", "HTTP_STATUS"]);
        assert_eq!(TABLE[1].meaning, "A number.");
    }
}
