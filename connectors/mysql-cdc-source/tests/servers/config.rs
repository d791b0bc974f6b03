//! Configurations that can't work.

use openconnect_core::config::{ConnectorConfig, Problems};
use openconnect_mysql_cdc_source::MySqlCdcConfig;
use serde_json::json;

#[test]
fn what_cannot_work_is_refused_before_it_starts() {
    for (settings, at) in [
        (json!({ "url": "postgresql://u:secret@h/d" }), "url"),
        (json!({ "tables": [] }), "tables"),
        (json!({ "server_id": 0 }), "server_id"),
        (json!({ "timeout": "1s" }), "timeout"),
        (json!({ "parallel_chunks": 17 }), "parallel_chunks"),
        (json!({ "columns": { "exclude": ["password"] } }), "columns.exclude"),
        (json!({ "columns": { "masks": [{ "columns": ["*.a"] }] } }), "columns.masks[0]"),
    ] {
        let mut config = json!({ "url": "mysql://h/d", "tables": ["*"] });
        config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: MySqlCdcConfig = serde_json::from_value(config).unwrap();
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let said = format!("{problems:?}");
        assert!(said.contains(at) && !said.contains("secret"), "{settings}: {said}");
    }
}

#[test]
fn an_empty_salt_is_refused() {
    let settings = json!({
        "url": "mysql://h/d", "tables": ["*"], "columns": { "masks": [{ "columns": ["*.a"], "hash": { "salt": "" } }] },
    });
    let error = serde_json::from_value::<MySqlCdcConfig>(settings).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}
