//! The Java JDBC sink's configuration (`JdbcSinkConfig.java`): a MySQL that takes the change events of the Java source.

use openconnect_core::config::Import;
use openconnect_sql::import_login;

pub(crate) fn import(import: &mut Import) {
    import_login(import, "sink");
    import.put("sink.table", "{{ data.source.table }}");
    import.put("sink.tables", vec!["*"]);
    import.put("sink.format", "change");
    import.note(
        "sink.table, sink.tables and sink.format are for the change events of openconnect-mysql-cdc-source and of Debezium. The Java source's own events have another \
         form, which is not read: replace that source too",
    );
    import.without_counterpart(&["supportUpsert", "supportDelete"], "changes are repeated as they are; deletes too");
}
