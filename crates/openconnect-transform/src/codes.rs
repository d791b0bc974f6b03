//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_error::code_table! {
    /// A template is wrong.
    TEMPLATE_INVALID = "OC0121",
    /// `delivery.key` is not an expression.
    KEY_INVALID = "OC0122",
    /// A jq program does not compile.
    PROGRAM_INVALID = "OC0123",
    /// An attribute cannot be set, renamed or dropped.
    ATTRIBUTE_REFUSED = "OC0124",
    /// A jq program took too much time, memory or depth.
    PROGRAM_LIMIT = "OC0125",
    /// A jq program failed on an event.
    PROGRAM_FAILED = "OC0126",
    /// The key of an event cannot be found.
    KEY_NOT_FOUND = "OC0127",
    /// A template cannot be rendered.
    TEMPLATE_FAILED = "OC0440",
    /// A rendered text is too long.
    TEXT_TOO_LONG = "OC0441",
}
