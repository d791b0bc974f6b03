//! Codes that every crate may raise.

crate::code_table! {
    /// A task or a part of the connector ended abnormally, which is a bug.
    TASK_ENDED = "OC0490",
    /// The system gives the process no thread or no signal handler.
    NO_THREAD = "OC0502",
}
