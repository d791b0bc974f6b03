//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_error::code_table! {
    /// The configuration has several mistakes.
    SEVERAL_MISTAKES = "OC0100",
    /// There is no configuration, or it cannot be read.
    CONFIG_UNREADABLE = "OC0101",
    /// The configuration is not well-formed.
    CONFIG_MALFORMED = "OC0102",
    /// A key is not a setting.
    UNKNOWN_KEY = "OC0103",
    /// A required setting is missing.
    SETTING_MISSING = "OC0104",
    /// A value has the wrong type.
    WRONG_TYPE = "OC0105",
    /// A value is not accepted.
    VALUE_REFUSED = "OC0106",
    /// A placeholder cannot be resolved.
    PLACEHOLDER_UNRESOLVED = "OC0107",
    /// A key is there twice.
    DUPLICATE_KEY = "OC0108",
    /// A `--set` flag cannot be read.
    FLAG_MALFORMED = "OC0109",
    /// A TLS file cannot be used.
    TLS_UNUSABLE = "OC0120",
}
