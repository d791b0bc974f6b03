//! The Java JDBC source's configuration (`SourceConnectorConfig.java` of its `rdb.jdbc` package): it reads MySQL's binary log.

use openconnect_core::config::Import;
use openconnect_sql::import_login;
use serde_json::Value;

pub(crate) fn import(import: &mut Import) {
    let databases = import.take_list("databaseIncludeList");
    import_login(import, "source");
    if let [database, more @ ..] = databases.as_slice() {
        if !more.is_empty() {
            import.note("a source reads one database: run one for each of databaseIncludeList");
        }
        import.note(format!("the database in source.url must be {database}"));
    }
    // Ours are names in the one database.
    let table = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        Value::from(name.rsplit_once('.').map_or(name, |(_, table)| table))
    };
    let tables: Vec<Value> = import.take_list("tableIncludeList").iter().map(table).collect();
    import.put("source.tables", if tables.is_empty() { vec![Value::from("*")] } else { tables });
    let exclude: Vec<Value> = import.take_list("tableExcludeList").iter().map(table).collect();
    if !exclude.is_empty() {
        import.put("source.exclude", exclude);
    }
    let skip = import.take("skipSnapshot") == Some(Value::Bool(true)) || import.take("snapshotData") == Some(Value::Bool(false));
    import.put("source.snapshot", if skip { "no_data" } else { "initial" });
    if let Some(rows) = import
        .take("snapshotFetchSize")
        .filter(|rows| rows.as_u64().is_some_and(|rows| rows > 0))
    {
        import.put("source.chunk_rows", rows);
    }
    if let Some(id) = import.take("mysqlConfig.serverId") {
        import.put("source.server_id", id);
    }
    import.without_counterpart(&["databaseType"], "it is MySQL or MariaDB");
    import.without_counterpart(&["databaseExcludeList"], "the URL names the one database that is read");
    import.without_counterpart(
        &["maxTask", "batchMaxRows", "snapshotMaxThreads"],
        "chunks are read in parallel by source.parallel_chunks",
    );
    import.without_counterpart(
        &["mysqlConfig.snapshotLockingMode", "mysqlConfig.useGlobalLock"],
        "no lock is taken",
    );
    import.without_counterpart(
        &["mysqlConfig.keepAlive", "mysqlConfig.keepAliveInterval"],
        "connections are always watched",
    );
    import.without_counterpart(
        &["snapshotSchema", "skipViews", "skipComments"],
        "tables are described by the log itself; with source.schema_changes statements are told too",
    );
    import.without_counterpart(&["name"], "the instance's name is used");
}
