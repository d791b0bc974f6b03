//! Connections for the log, what the server is and how it must be set up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStream, BinlogStreamRequest, ClientIdentity, Conn, DriverError, Opts, OptsBuilder, Row, Sid, SslOpts};
use openconnect_core::{Code, Failure};
use openconnect_sql::codes::{SQL_CONNECTION, SQL_DENIED, SQL_ERROR, SQL_LOGIN};
use openconnect_sql::{Server, TLS_HINT, TlsMode, missing};

use crate::codes;
use crate::gtid::GtidSet;
use crate::position::{Place, Position};

/// The largest packet that a server sends.
const PACKET: usize = 1 << 30;
/// The server's answer when it does not go on with the log, for whatever reason.
const NO_LOG: u16 = 1236;
/// MariaDB's answer to one of two readers with the same number.
const SAME_SERVER_ID: u16 = 4052;
const SYNTAX: u16 = 1064;
/// What it says then where it does not have the log from there on any more.
const LOST_TEXTS: [&str; 6] = [
    "purged",
    "could not find first log file",
    "could not find next log",
    "impossible position",
    "position > file size",
    "more gtids than",
];
/// The code of a failure that says so.
pub(crate) const LOST: Code = codes::CDC_POSITION_LOST;

/// What the server is.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) mariadb: bool,
    /// Does it number its transactions so that another server knows them?
    pub(crate) gtids: bool,
    /// The database that is read, as the server writes its name.
    pub(crate) database: String,
    /// Names of databases and tables that differ in case alone are the same.
    pub(crate) ignores_case: bool,
    /// Rows that change with others, by a foreign key, are in the log.
    pub(crate) logs_cascades: bool,
}

impl About {
    /// Is that the database that is read?
    pub(crate) fn is_database(&self, name: &str) -> bool {
        name == self.database || (self.ignores_case && name.to_lowercase() == self.database.to_lowercase())
    }
}

/// How to connect.
pub(crate) fn options(server: Server<'_>) -> Opts {
    let login = server.login;
    let tls = login.tls.as_ref().filter(|tls| tls.mode != TlsMode::Disable);
    let tls = tls.map(|tls| {
        let mut options = SslOpts::default();
        if let Some(file) = &tls.ca_file {
            options = options.with_root_certs(vec![file.clone().into()]).with_disable_built_in_roots(true);
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            options = options.with_client_identity(Some(ClientIdentity::new(cert.clone().into(), key.clone().into())));
        }
        options
            .with_danger_accept_invalid_certs(tls.mode == TlsMode::Require)
            .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyFull)
    });
    OptsBuilder::default()
        .ip_or_hostname(server.host)
        .tcp_port(server.port)
        .user(login.user.clone())
        .pass(login.password.as_ref().map(|password| password.expose().to_owned()))
        .prefer_socket(false)
        .max_allowed_packet(Some(PACKET))
        .ssl_opts(tls)
        .into()
}

/// The log has something that can't be read; it is never left out.
pub(crate) fn unreadable(error: std::io::Error) -> Failure {
    Failure::fatal(codes::CDC_LOG, "the log can't be read").because(error)
}

/// What an error of the driver means. Texts of the server name users and files, never rows.
pub(crate) fn failure(error: mysql_async::Error) -> Failure {
    match error {
        mysql_async::Error::Server(error) if matches!(error.code, NO_LOG | SAME_SERVER_ID) => no_log(error),
        mysql_async::Error::Server(error) => {
            let code = match error.code {
                1045 | 1698 => SQL_LOGIN,
                1044 | 1142 | 1227 => SQL_DENIED,
                _ => SQL_ERROR,
            };
            Failure::retryable(code, "the server refused a statement").because(error)
        }
        mysql_async::Error::Io(mysql_async::IoError::Tls(_)) | mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            Failure::retryable(SQL_CONNECTION, format!("the server can't be used over TLS ({TLS_HINT})")).because(error)
        }
        _ => Failure::retryable(SQL_CONNECTION, "the server can't be used").because(error),
    }
}

/// Why the server does not go on with the log: its text alone says it.
fn no_log(error: mysql_async::ServerError) -> Failure {
    let text = error.message.to_lowercase();
    if text.contains("same server_uuid/server_id") || text.contains("same server_id") {
        return Failure::retryable(
            codes::CDC_SERVER_ID,
            "another reader of the log has the same server_id: give each its own (source.server_id), or none",
        )
        .because(error);
    }
    if LOST_TEXTS.iter().any(|lost| text.contains(lost)) {
        return Failure::fatal(LOST, "the server can't go on from the stored position").because(error);
    }
    if text.contains("auto_position") {
        return Failure::retryable(
            codes::CDC_SETUP,
            "the server can't go on by GTIDs; the connector waits until it can",
        )
        .because(error);
    }
    Failure::fatal(codes::CDC_LOG, "the server can't read its log").because(error)
}

pub(crate) async fn connect(options: &Opts, within: Duration) -> Result<Conn, Failure> {
    match tokio::time::timeout(within, Conn::new(options.clone())).await {
        Ok(connection) => connection.map_err(failure),
        Err(_) => Err(Failure::retryable(
            SQL_CONNECTION,
            format!("the server did not answer within {within:?}"),
        )),
    }
}

/// Looks at the server; one that is not set up for this is said, and waited for.
pub(crate) async fn about(connection: &mut Conn, database: &str) -> Result<About, Failure> {
    let sql = "SHOW GLOBAL VARIABLES WHERE variable_name IN \
               ('version', 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'gtid_mode', \
               'lower_case_table_names', 'innodb_native_foreign_keys')";
    let variables: Vec<(String, String)> = connection.query(sql).await.map_err(failure)?;
    let variables: HashMap<String, String> = variables
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let is = |name: &str, wanted: &str| variables.get(name).is_none_or(|value| value.eq_ignore_ascii_case(wanted));
    for (name, wanted) in [
        ("log_bin", "ON"),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("binlog_row_metadata", "FULL"),
    ] {
        if !is(name, wanted) {
            return Err(Failure::retryable(
                codes::CDC_SETUP,
                format!("the server must have {name}='{wanted}'; the connector waits until it has"),
            ));
        }
    }
    // The server's spelling, where it does not tell capitals from small letters.
    let sql = "SELECT schema_name FROM information_schema.schemata WHERE schema_name = ?";
    let found: Option<String> = connection.exec_first(sql, (database,)).await.map_err(failure)?;
    let database = found.ok_or_else(|| missing(format!("there is no database `{database}` that the user may see")))?;
    is_logged(connection, &database).await?;
    let ignores_case = variables.get("lower_case_table_names").is_some_and(|value| value != "0");
    Ok(About {
        mariadb: variables.get("version").is_some_and(|version| version.contains("MariaDB")),
        gtids: variables.get("gtid_mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ON")),
        database,
        ignores_case,
        // Since MySQL 9.6, where the server itself and not its engine follows foreign keys.
        logs_cascades: is("innodb_native_foreign_keys", "OFF") && variables.contains_key("innodb_native_foreign_keys"),
    })
}

/// A server may be told not to log some databases.
async fn is_logged(connection: &mut Conn, database: &str) -> Result<(), Failure> {
    let row = log_status(connection).await?;
    let names = |at: usize| {
        row.as_ref()
            .and_then(|row| row.get::<Option<String>, _>(at).flatten())
            .unwrap_or_default()
    };
    let (logged, ignored) = (names(2), names(3));
    let has = |names: &str| names.split(',').any(|name| name.trim() == database);
    if (!logged.is_empty() && !has(&logged)) || has(&ignored) {
        return Err(Failure::retryable(
            codes::CDC_SETUP,
            format!(
                "the server does not log the database `{database}` (binlog-do-db, binlog-ignore-db); the connector waits until it does"
            ),
        ));
    }
    Ok(())
}

/// A place in the log that every row that can be seen lies before, or in whose transactions it is. What is read of the tables from
/// now on, and the log from there on, miss nothing together.
pub(crate) async fn now(connection: &mut Conn, about: &About) -> Result<Position, Failure> {
    if about.mariadb {
        return mariadb_now(connection).await;
    }
    if !about.gtids {
        return Err(Failure::retryable(
            codes::CDC_SETUP,
            "the server must have gtid_mode=ON: without it there is no place that fits to what can be seen; the connector waits until it has",
        ));
    }
    // A transaction is in the set once its rows can be seen; in the log it is earlier.
    let gtids: Option<String> = connection.query_first("SELECT @@global.gtid_executed").await.map_err(failure)?;
    let (file, begin) = end(connection).await?;
    let gtids = GtidSet::parse(&gtids.unwrap_or_default()).ok_or_else(|| Failure::retryable(SQL_ERROR, "gtid_executed can't be read"))?;
    Ok(Position {
        gtids: Some(gtids.to_string().into()),
        file: file.into(),
        begin,
        ..Position::default()
    })
}

/// Where the log ends. What can be seen in the tables is before it: the log is written first.
pub(crate) async fn end(connection: &mut Conn) -> Result<(String, u64), Failure> {
    let place = log_status(connection)
        .await?
        .and_then(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?)));
    place.ok_or_else(|| Failure::retryable(codes::CDC_SETUP, "the server says no place in its log"))
}

async fn log_status(connection: &mut Conn) -> Result<Option<Row>, Failure> {
    match connection.query_first("SHOW MASTER STATUS").await {
        Ok(row) => Ok(row),
        // Since MySQL 8.4.
        Err(mysql_async::Error::Server(error)) if error.code == SYNTAX => {
            connection.query_first("SHOW BINARY LOG STATUS").await.map_err(failure)
        }
        Err(error) => Err(failure(error)),
    }
}

/// Waits until everything before a position can be seen in the tables: a transaction is in the log a moment earlier.
pub(crate) async fn visible(connection: &mut Conn, about: &About, position: &Position, within: Duration) -> Result<(), Failure> {
    if let Some(gtids) = position.gtids.as_deref().filter(|_| !about.mariadb) {
        let waited: Option<u8> = connection
            .exec_first("SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", (gtids, within.as_secs()))
            .await
            .map_err(failure)?;
        return match waited {
            Some(0) => Ok(()),
            _ => Err(never_visible(within)),
        };
    }
    let until = Place::new(&position.file, position.begin);
    let end = Instant::now() + within;
    while Instant::now() < end {
        let seen = mariadb_now(connection).await?;
        if Place::new(&seen.file, seen.begin) >= until {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(never_visible(within))
}

fn never_visible(within: Duration) -> Failure {
    Failure::retryable(
        codes::CDC_SNAPSHOT,
        format!("what the log told was not in the tables within {within:?}"),
    )
}

/// MariaDB says which place fits to a snapshot, and takes no lock for it.
async fn mariadb_now(connection: &mut Conn) -> Result<Position, Failure> {
    connection
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await
        .map_err(failure)?;
    let status: Vec<(String, String)> = connection.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await.map_err(failure)?;
    connection.query_drop("COMMIT").await.map_err(failure)?;
    let value = |wanted: &str| {
        status
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.clone())
    };
    let place = value("binlog_snapshot_file").filter(|file| !file.is_empty());
    let begin = value("binlog_snapshot_position").and_then(|position| position.parse().ok());
    match (place, begin) {
        (Some(file), Some(begin)) => Ok(Position {
            file: file.into(),
            begin,
            ..Position::default()
        }),
        _ => Err(Failure::retryable(codes::CDC_SETUP, "the server says no place in its log")),
    }
}

/// The oldest place that there is.
pub(crate) async fn oldest(connection: &mut Conn, about: &About) -> Result<Position, Failure> {
    let row: Option<Row> = connection.query_first("SHOW BINARY LOGS").await.map_err(failure)?;
    let file = row.and_then(|row| row.get::<String, _>(0));
    let file = file.ok_or_else(|| Failure::retryable(codes::CDC_SETUP, "the server has no log"))?;
    let purged: Option<String> = if about.mariadb {
        None
    } else {
        connection.query_first("SELECT @@global.gtid_purged").await.map_err(failure)?
    };
    let gtids = purged.filter(|_| about.gtids).and_then(|set| GtidSet::parse(&set));
    Ok(Position {
        gtids: gtids.map(|set| Arc::from(set.to_string())),
        file: file.into(),
        begin: 4,
        ..Position::default()
    })
}

/// The log from a position on. The server says something three times in `silence`, so that a dead connection is noticed.
pub(crate) async fn log(
    mut connection: Conn,
    about: &About,
    position: &Position,
    server_id: u32,
    silence: Duration,
) -> Result<BinlogStream, Failure> {
    let heartbeat = silence.as_nanos() / 3;
    let setup = format!("SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}");
    connection.query_drop(setup).await.map_err(failure)?;
    if about.mariadb {
        // Transactions as they are: to older readers they are disguised.
        connection.query_drop("SET @mariadb_slave_capability = 4").await.map_err(failure)?;
    }
    let request = BinlogStreamRequest::new(server_id);
    let request = match &position.gtids {
        Some(gtids) => {
            let unreadable = || Failure::fatal(LOST, "the stored position holds no set of GTIDs");
            let set = GtidSet::parse(gtids).ok_or_else(unreadable)?;
            let sids: Result<Vec<Sid<'static>>, _> = set.entries().map(|entry| entry.parse()).collect();
            request.with_gtid().with_gtid_set(sids.map_err(|_| unreadable())?)
        }
        None => request.with_filename(position.file.as_bytes()).with_pos(position.begin),
    };
    connection.get_binlog_stream(request).await.map_err(failure)
}
