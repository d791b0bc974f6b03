//! Where the supported databases differ in SQL.

/// The parts of statements in which one database differs from the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// Milliseconds since 1970 by the database's clock, now and not at the transaction's begin.
    pub(crate) now: &'static str,
    pub(crate) integer: &'static str,
    pub(crate) text: &'static str,
    /// Up to 540 bytes, compared byte by byte.
    pub(crate) key: &'static str,
    pub(crate) bytes: &'static str,
    /// What a cast of a number names.
    pub(crate) whole: &'static str,
    /// What a cast of a parameter to text names.
    pub(crate) cast: &'static str,
    /// After a table's columns.
    pub(crate) table: &'static str,
    /// Keeps the lease `l` from being taken while the statement runs; and with it the row `w`.
    pub(crate) lock: [&'static str; 2],
    /// Before the assignments of an insert that meets a row.
    pub(crate) on_conflict: [&'static str; 3],
    /// The value that was to be inserted: before and after the column.
    pub(crate) inserted: [&'static str; 2],
    /// Are parameters numbered (`$1`)?
    pub(crate) numbered: bool,
}

pub(crate) const POSTGRES: Dialect = Dialect {
    now: "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    integer: "BIGINT",
    text: "TEXT",
    key: "BYTEA",
    bytes: "BYTEA",
    whole: "BIGINT",
    cast: "TEXT",
    table: "",
    lock: ["FOR SHARE OF l", "FOR SHARE OF l, w"],
    on_conflict: [
        "ON CONFLICT (instance) DO UPDATE SET",
        "ON CONFLICT (instance, partition_name) DO UPDATE SET",
        "ON CONFLICT (instance, entry_key) DO UPDATE SET",
    ],
    inserted: ["excluded.", ""],
    numbered: true,
};
pub(crate) const SQLITE: Dialect = Dialect {
    now: "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    integer: "INTEGER",
    key: "BLOB",
    bytes: "BLOB",
    whole: "INTEGER",
    lock: ["", ""],
    numbered: false,
    ..POSTGRES
};
pub(crate) const MYSQL: Dialect = Dialect {
    now: "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)",
    integer: "BIGINT",
    text: "MEDIUMTEXT",
    key: "VARBINARY(540)",
    bytes: "MEDIUMBLOB",
    whole: "SIGNED",
    // Without a length MySQL cuts it at 65,535, and says nothing.
    cast: "CHAR(4000000)",
    table: " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    lock: ["LOCK IN SHARE MODE"; 2],
    on_conflict: ["ON DUPLICATE KEY UPDATE"; 3],
    inserted: ["VALUES(", ")"],
    numbered: false,
};

impl Dialect {
    /// Fills in a statement: `{p}` is the prefix of the tables, `{name}` a part of the dialect, `?` a parameter.
    pub(crate) fn statement(&self, template: &str, prefix: &str) -> String {
        let [lock, lock_writer] = self.lock;
        let [on_lease, on_offset, on_entry] = self.on_conflict;
        let [before, after] = self.inserted;
        let sql = template
            .replace("{p}", prefix)
            .replace("{now}", self.now)
            .replace("{integer}", self.integer)
            .replace("{text}", self.text)
            .replace("{key}", self.key)
            .replace("{bytes}", self.bytes)
            .replace("{whole}", self.whole)
            .replace("{cast}", self.cast)
            .replace("{lock}", lock)
            .replace("{lock writer}", lock_writer)
            .replace("{on lease}", on_lease)
            .replace("{on offset}", on_offset)
            .replace("{on entry}", on_entry)
            .replace("{new ", before)
            .replace(" new}", after);
        if !self.numbered {
            return sql;
        }
        let mut parts = sql.split('?');
        let mut numbered = parts.next().unwrap_or_default().to_owned();
        for (n, part) in parts.enumerate() {
            numbered.push_str(&format!("${}{part}", n + 1));
        }
        numbered
    }
}
