//! `jdbcConfig` of the Java connectors.

use openconnect_core::config::Import;

/// Takes URL, user and password of a Java configuration over into `section`. The Java connectors know MySQL only.
pub fn import_login(import: &mut Import, section: &str) {
    let [host, port, database] = ["hostname", "port", "databaseName"].map(|key| import.take_text(&format!("jdbcConfig.{key}")));
    let url = import.take_text("jdbcConfig.url").map(|url| {
        // Its parameters are for the Java driver.
        let plain = url.split('?').next().unwrap_or_default();
        plain.trim_start_matches("jdbc:").to_owned()
    });
    let made = || {
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = port.unwrap_or_else(|| "3306".to_owned());
        format!("mysql://{host}:{port}/{}", database.unwrap_or_default())
    };
    import.put(&format!("{section}.url"), url.unwrap_or_else(made));
    if let Some(user) = import.take("jdbcConfig.user") {
        import.put(&format!("{section}.user"), user);
    }
    import.put_secret("jdbcConfig.password", &format!("{section}.password"), "DATABASE_PASSWORD");
    import.without_counterpart(
        &["jdbcConfig.initialStatements", "jdbcConfig.connectTimeout"],
        "look at `init_statements` (SQL source and sink) and `timeout`",
    );
}
