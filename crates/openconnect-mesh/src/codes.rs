//! The error codes of this crate; each has a page in `docs/errors`.

openconnect_error::code_table! {
    /// A setting of the mesh is wrong.
    SETTING_INVALID = "OC0601",
    /// The mesh cannot listen on an address.
    LISTEN_FAILED = "OC0602",
    /// A file of the mesh cannot be read or written.
    FILE_FAILED = "OC0603",
    /// A request of a tool was refused.
    TOOL_REFUSED = "OC0604",
    /// The mesh refuses to listen where everybody could reach it.
    EXPOSED = "OC0610",
}
