//! The Java HTTP source's configuration (`SourceConnectorConfig.java` of its `http` package).

use openconnect_core::config::Import;

pub(crate) fn import(import: &mut Import) {
    let port = import.take_text("port").unwrap_or_else(|| "8080".to_owned());
    import.put("source.listen", format!("0.0.0.0:{port}"));
    if let Some(path) = import.take("path") {
        import.put("source.path", path);
    }
    if let Some(millis) = import.take("idleTimeout").and_then(|value| value.as_u64()) {
        import.put("source.read_timeout", format!("{}ms", millis.max(1)));
    }
    match import.take_text("protocol").unwrap_or_else(|| "Common".to_owned()).to_ascii_lowercase().as_str() {
        "github" => {
            import.put("source.auth.type", "github");
            import.put_secret("extraConfig.secret", "source.auth.secret", "GITHUB_WEBHOOK_SECRET");
            import.put("source.event.preset", "github");
            import.without_counterpart(&["extraConfig.contentType"], "JSON and forms are both taken");
        }
        "cloudevent" => import.note("CloudEvents are recognised in binary, structured and batch mode; nothing has to be set"),
        _ => import.note(
            "the protocol Common took a JSON text as body and attributes in a header `extension`: here any body becomes an event's data, and source.event \
             makes attributes of headers, query and data",
        ),
    }
    import.without_counterpart(
        &["maxFormAttributeSize"],
        "bodies of every kind are bounded by source.max_body_bytes (1 MiB)",
    );
    import.without_counterpart(
        &["maxStorageSize", "batchSize"],
        "there is no queue: a request is answered once the mesh has its event",
    );
    import.without_counterpart(
        &["dataConsistencyEnabled"],
        "it is always so: 2xx only after the mesh has confirmed",
    );
}
