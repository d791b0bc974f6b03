//! The Java HTTP sink's configuration (`SinkConnectorConfig.java` of its `http` package).

use openconnect_core::config::Import;
use serde_json::Value;

pub(crate) fn import(import: &mut Import) {
    let urls = import.take_list("urls");
    if let Some(url) = urls.first() {
        import.put("sink.url", url.clone());
    }
    // The file that EventMesh ships has the parts of one URL.
    if let Some(host) = import.take_text("host") {
        let scheme = match import.take("ssl") == Some(Value::Bool(true)) {
            true => "https",
            false => "http",
        };
        let port = import
            .take("port")
            .map(|port| format!(":{}", port.to_string().trim_matches('"')))
            .unwrap_or_default();
        let path = import.take_text("path").unwrap_or_else(|| "/".to_owned());
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host,
        };
        if urls.is_empty() {
            import.put("sink.url", format!("{scheme}://{host}{port}/{}", path.trim_start_matches('/')));
        }
    }
    let broadcast = import
        .take_text("deliveryStrategy")
        .is_some_and(|strategy| strategy.eq_ignore_ascii_case("BROADCAST"));
    if urls.len() > 1 {
        import.note(match broadcast {
            true => "sink.url takes the first of several URLs. For BROADCAST run one sink for each, with names and so consumer groups of their own: each then \
                     has its own retries",
            false => "sink.url takes the first of several URLs. For ROUND_ROBIN put a load balancer before the targets",
        });
    }
    // The JSON of the data was the body there.
    import.put("sink.mode", "binary");
    import.note("sink.mode is binary: the body is the event's data, its attributes are in `ce-` headers; the Java sink sent the data as JSON, and one header `extension`");
    if let Some(millis) = import.take("idleTimeout").and_then(|value| value.as_u64()) {
        import.put("sink.timeout", format!("{}ms", millis.max(1)));
    }
    if let Some(parallelism) = import.take("parallelism").filter(Value::is_u64) {
        import.put("delivery.in_flight", parallelism);
    }
    if let Some(millis) = import.take("retryConfig.interval").and_then(|value| value.as_u64()) {
        import.put("delivery.retry.initial", format!("{}ms", millis.max(1)));
    }
    if import.take("retryConfig.maxRetries").is_some() {
        import.note(
            "retryConfig.maxRetries is not taken over: the sink waits for its target, and nothing is lost. With delivery.retry.max_attempts events go to the \
             dead letters after so many attempts",
        );
    }
    import.without_counterpart(
        &["retryConfig.retryOnNonSuccess"],
        "which answers are worth a retry is in sink.codes; 5xx, 408, 425 and 429 are",
    );
    import.without_counterpart(
        &[
            "keepAlive",
            "keepAliveTimeout",
            "connectionTimeout",
            "maxConnectionPoolSize",
            "parallelized",
            "skipDeliverException",
        ],
        "connections are kept and bounded by delivery.in_flight",
    );
    import.without_counterpart(
        &[
            "webhookConfig.activate",
            "webhookConfig.exportPath",
            "webhookConfig.port",
            "webhookConfig.serverIdleTimeout",
            "webhookConfig.maxStorageSize",
        ],
        "answers of the target are not kept; what was refused is among the dead letters with its status",
    );
}
