//! An SQLite file that the JDBC sink writes to.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use openconnect_testkit::kit::Kit;
use openconnect_testkit::oracle::Arrived;
use openconnect_testkit::prove::fault::Trouble;
use openconnect_testkit::prove::subject::{Later, Output};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::table;

/// Rows whose number leaves 2 when divided by 5 are refused while `poison` has a row: see
/// [`poisoned`](openconnect_testkit::prove::poisoned).
const TABLES: &str = "
    create table events (id text primary key, k text not null, n integer not null, t text not null);
    create table poison (is_on integer);
    create trigger refuse before insert on events when new.n % 5 = 2 and exists (select 1 from poison)
    begin select raise(abort, 'poison'); end;";

struct Table {
    file: PathBuf,
    /// Held while the table shall be busy.
    lock: Mutex<Option<table::Lock>>,
}

/// An empty table in a file of the run's own.
pub fn output(kit: &Kit) -> Later<'_, Arc<dyn Output>> {
    let file = kit.file("events.db");
    Box::pin(async {
        table::execute(&file, TABLES).await?;
        // The sink may run as somebody else.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
        Ok(Arc::new(Table {
            file,
            lock: Mutex::default(),
        }) as Arc<dyn Output>)
    })
}

impl Output for Table {
    fn binary(&self) -> &'static str {
        "openconnect-jdbc-sink"
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn section(&self, _: Option<SocketAddr>) -> Value {
        json!({
            "url": format!("sqlite://{}", self.file.display()), "table": "events", "key": ["id"], "busy_timeout": "100ms",
            "columns": { "id": "id", "k": "partitionkey", "n": "data.number", "t": "data.text" },
        })
    }

    fn arrived(&self) -> Later<'_, Vec<Arrived>> {
        Box::pin(async {
            let rows = table::query(&self.file, "select k, cast(n as text), t from events order by rowid").await?;
            Ok(rows.iter().map(|row| super::arrived(row)).collect())
        })
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Later<'_, ()> {
        Box::pin(async move {
            let mut lock = self.lock.lock().await;
            *lock = None;
            match trouble {
                Some(Trouble::Poison) => table::execute(&self.file, "insert into poison values (1)").await,
                Some(_) => {
                    *lock = Some(table::Lock::take(&self.file).await?);
                    Ok(())
                }
                None => table::execute(&self.file, "delete from poison").await,
            }
        })
    }
}
