//! What reading needs, tried before it begins.

use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use openconnect_core::Failure;
use openconnect_sql::{Dialect, Server, missing};

use crate::catalog::Catalog;
use crate::charset::Charsets;
use crate::config::MySqlCdcConfig;
use crate::server;

/// Looks at the server, the tables and the log as reading does; nothing is kept.
///
/// # Errors
///
/// The first thing that reading would stop at, or wait for.
pub(crate) async fn check(config: &MySqlCdcConfig, server: Server<'_>) -> Result<(), Failure> {
    let options = server::options(server);
    let mut connection = server::connect(&options, config.timeout.0).await?;
    let about = server::about(&mut connection, server.database).await?;
    let charsets = Charsets::load(&mut connection).await?;
    let catalog = Catalog::load(&mut connection, &about, config, charsets).await?;
    if catalog.tables.is_empty() {
        return Err(missing(format!(
            "source.tables names no table of `{}` that the user may read",
            about.database
        )));
    }
    for table in &catalog.tables {
        let (database, table) = (Dialect::MySql.quote(&about.database), Dialect::MySql.quote(table));
        let sql = format!("SELECT 1 FROM {database}.{table} LIMIT 0");
        connection.query_drop(sql).await.map_err(server::failure)?;
    }
    let now = server::now(&mut connection, &about).await?;
    let mut log = server::log(connection, &about, &now, rand::random_range(1 << 30..u32::MAX), config.timeout.0).await?;
    match tokio::time::timeout(config.timeout.0, log.next()).await {
        Ok(Some(Err(error))) => Err(server::failure(error)),
        _ => Ok(()),
    }
}
