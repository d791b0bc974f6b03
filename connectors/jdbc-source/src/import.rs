//! The Java JDBC source reads MySQL's binary log: its counterpart is another connector.

use openconnect_core::config::Import;

pub(crate) fn import(import: &mut Import) {
    import.note(
        "the Java JDBC source reads MySQL's binary log, which openconnect-mysql-cdc-source does: `openconnect-mysql-cdc-source import-eventmesh` takes this file. \
         openconnect-jdbc-source asks tables for new rows instead, and has no counterpart in Java",
    );
}
