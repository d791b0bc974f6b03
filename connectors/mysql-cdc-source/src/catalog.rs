//! What the server's catalog says of the tables and the log does not: asked for at the start, and again when a table changes. A table
//! that the log can't be followed with is refused by name.

use std::collections::{BTreeSet, HashMap};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use openconnect_core::Failure;

use crate::charset::Charsets;
use crate::codes;
use crate::config::MySqlCdcConfig;
use crate::server::{About, failure};

/// Types whose values are read; others are refused, so that one of a new version is not told wrongly.
const TYPES: &str = "'tinyint','smallint','mediumint','int','bigint','decimal','float','double','bit','year','date','time','datetime',\
    'timestamp','char','varchar','tinytext','text','mediumtext','longtext','binary','varbinary','tinyblob','blob','mediumblob','longblob',\
    'enum','set','json','geometry','point','linestring','polygon','multipoint','multilinestring','multipolygon','geomcollection',\
    'geometrycollection'";

/// What a column of MariaDB's is, where its type in the log is that of text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    Json,
    Uuid,
    Inet4,
    Inet6,
}

/// The database's tables.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    /// By table and column.
    declared: HashMap<String, HashMap<String, Declared>>,
    /// Tables that are read and that change with others, by a foreign key, without a word in the log.
    pub(crate) cascades: Vec<String>,
    /// Those that are read.
    pub(crate) tables: BTreeSet<String>,
    /// What their texts are in.
    pub(crate) charsets: Charsets,
}

impl Catalog {
    /// Looks at the tables. `charsets` are those that are known.
    ///
    /// # Errors
    ///
    /// A table that is to be read is of a kind, or has a column of a type, that the log can't be followed with.
    pub(crate) async fn load(connection: &mut Conn, about: &About, config: &MySqlCdcConfig, charsets: Charsets) -> Result<Self, Failure> {
        let database = &about.database;
        let wants = |table: &str| config.wants(table, about.ignores_case);
        let mut catalog = Self {
            charsets,
            ..Self::default()
        };
        let sql = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = ?";
        let tables: Vec<(String, String)> = connection.exec(sql, (database,)).await.map_err(failure)?;
        for (table, kind) in tables.into_iter().filter(|(table, _)| wants(table)) {
            match kind.as_str() {
                "SYSTEM VERSIONED" => return Err(refused(&table, "is system-versioned: the log has its history among its rows")),
                "BASE TABLE" => drop(catalog.tables.insert(table)),
                _ => {}
            }
        }
        let known = if about.mariadb { "'uuid','inet4','inet6'" } else { "'vector'" };
        let sql = format!(
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = ? \
             AND (data_type NOT IN ({TYPES}) OR data_type IN ('uuid','inet4','inet6'))"
        );
        let columns: Vec<(String, String, String)> = connection.exec(sql, (database,)).await.map_err(failure)?;
        for (table, column, ty) in columns.into_iter().filter(|(table, ..)| wants(table)) {
            let declared = match ty.as_str() {
                "uuid" => Declared::Uuid,
                "inet4" => Declared::Inet4,
                "inet6" => Declared::Inet6,
                ty if known.contains(&format!("'{ty}'")) => continue,
                _ if !config.columns.wants(&table, &column) => continue,
                ty => {
                    return Err(refused(
                        &table,
                        &format!(
                            "has the column `{column}` of the type {ty}, which this version does not know: exclude the column (source.columns)"
                        ),
                    ));
                }
            };
            catalog.declared.entry(table).or_default().insert(column, declared);
        }
        catalog.json(connection, about).await?;
        catalog.cascades = cascades(connection, about, config).await?;
        let sql =
            "SELECT DISTINCT character_set_name FROM information_schema.columns WHERE table_schema = ? AND character_set_name IS NOT NULL";
        let used: Vec<String> = connection.exec(sql, (database,)).await.map_err(failure)?;
        for name in used {
            catalog.charsets.learn(connection, &name).await?;
        }
        Ok(catalog)
    }

    /// MariaDB's columns of JSON: text with a check. MySQL says in the log itself what is JSON.
    async fn json(&mut self, connection: &mut Conn, about: &About) -> Result<(), Failure> {
        if !about.mariadb {
            return Ok(());
        }
        let sql = "SELECT table_name, check_clause FROM information_schema.check_constraints \
                   WHERE constraint_schema = ? AND check_clause LIKE 'json_valid(`%`)'";
        let found: Vec<(String, String)> = connection.exec(sql, (&about.database,)).await.map_err(failure)?;
        for (table, clause) in found {
            let name = clause.trim_start_matches("json_valid(`").trim_end_matches("`)").replace("``", "`");
            self.declared.entry(table).or_default().insert(name, Declared::Json);
        }
        Ok(())
    }

    /// What the table's column is, where the log does not say it.
    pub(crate) fn declared(&self, table: &str, column: &str) -> Option<Declared> {
        self.declared.get(table)?.get(column).copied()
    }
}

/// Tables that are read and that change with their parents' rows, where the server does not log that.
async fn cascades(connection: &mut Conn, about: &About, config: &MySqlCdcConfig) -> Result<Vec<String>, Failure> {
    if about.logs_cascades {
        return Ok(Vec::new());
    }
    let sql = "SELECT table_name FROM information_schema.referential_constraints WHERE constraint_schema = ? \
               AND (delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))";
    let found: Vec<String> = connection.exec(sql, (&about.database,)).await.map_err(failure)?;
    let wanted: BTreeSet<String> = found.into_iter().filter(|table| config.wants(table, about.ignores_case)).collect();
    Ok(wanted.into_iter().collect())
}

fn refused(table: &str, why: &str) -> Failure {
    Failure::fatal(codes::CDC_TABLE, format!("`{table}` {why}; or exclude the table (source.exclude)"))
}
