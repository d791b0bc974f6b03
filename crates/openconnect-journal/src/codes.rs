//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_error::code_table! {
    /// There is no room for the journal.
    JOURNAL_FULL = "OC0220",
    /// A journal file cannot be read or written.
    JOURNAL_IO = "OC0221",
    /// A journal file is damaged.
    JOURNAL_DAMAGED = "OC0222",
    /// Another process uses the journal.
    JOURNAL_IN_USE = "OC0223",
    /// An entry is too large for the journal.
    ENTRY_TOO_LARGE = "OC0224",
}
