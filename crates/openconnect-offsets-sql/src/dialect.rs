//! Where the supported databases differ in SQL.

/// The parts of statements in which one database differs from the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Milliseconds since 1970 by the database's clock, now and not at the transaction's begin.
    pub(crate) now: &'static str,
    pub(crate) integer: &'static str,
    pub(crate) text: &'static str,
    /// What a cast of a parameter to text names.
    pub(crate) cast: &'static str,
    /// After a table's columns.
    pub(crate) table: &'static str,
    /// Keeps the lease from being taken while the statement runs.
    pub(crate) lock: &'static str,
    /// Before the assignments of an insert that meets a row.
    pub(crate) on_conflict: [&'static str; 2],
    /// The value that was to be inserted: before and after the column.
    pub(crate) inserted: [&'static str; 2],
    /// Are parameters numbered (`$1`)?
    pub(crate) numbered: bool,
}

pub(crate) const POSTGRES: Dialect = Dialect {
    now: "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    integer: "BIGINT",
    text: "TEXT",
    cast: "TEXT",
    table: "",
    lock: "FOR SHARE OF l",
    on_conflict: [
        "ON CONFLICT (instance) DO UPDATE SET",
        "ON CONFLICT (instance, partition_name) DO UPDATE SET",
    ],
    inserted: ["excluded.", ""],
    numbered: true,
};
pub(crate) const SQLITE: Dialect = Dialect {
    now: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    integer: "INTEGER",
    lock: "",
    numbered: false,
    ..POSTGRES
};
pub(crate) const MYSQL: Dialect = Dialect {
    now: "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    integer: "BIGINT",
    text: "MEDIUMTEXT",
    // Without a length MySQL cuts it at 65,535, and says nothing.
    cast: "CHAR(4000000)",
    table: " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    lock: "LOCK IN SHARE MODE",
    on_conflict: ["ON DUPLICATE KEY UPDATE", "ON DUPLICATE KEY UPDATE"],
    inserted: ["VALUES(", ")"],
    numbered: false,
};
