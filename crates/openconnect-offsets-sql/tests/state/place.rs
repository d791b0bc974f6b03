//! The databases, and how the tests open them.

use std::sync::Arc;
use std::time::Duration;

use openconnect_core::offsets::{Acquired, Fence, OffsetStore};
use openconnect_offsets_sql::SqlOffsetStore;
use openconnect_sql_fixtures::{System, database};

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// An empty database.
pub(crate) struct EmptyDatabase {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// It goes with this.
    pub(crate) keep: Box<dyn std::any::Any>,
}

impl EmptyDatabase {
    pub(crate) async fn open(&self, instance: &str) -> Arc<dyn OffsetStore> {
        open(&self.url, instance).await
    }
}

/// One in SQLite, and one on each server that can be had.
pub(crate) async fn databases() -> Vec<EmptyDatabase> {
    let dir = tempfile::tempdir().unwrap();
    let mut databases = vec![EmptyDatabase {
        name: "sqlite",
        url: format!("sqlite://{}", dir.path().join("state.db").display()),
        keep: Box::new(dir),
    }];
    for system in System::ALL {
        if let Some(database) = database(system).await.unwrap() {
            databases.push(EmptyDatabase {
                name: system.name(),
                url: database.url.clone(),
                keep: Box::new(database),
            });
        }
    }
    databases
}

pub(crate) async fn open(url: &str, instance: &str) -> Arc<dyn OffsetStore> {
    Arc::new(SqlOffsetStore::open(url, "oc_", instance, LONG).await.unwrap())
}

pub(crate) async fn acquire(store: &Arc<dyn OffsetStore>, owner: &str, ttl: Duration) -> Fence {
    match store.acquire(owner, ttl).await.unwrap() {
        Acquired::Granted(fence) => fence,
        Acquired::Held { owner, .. } => panic!("held by {owner}"),
    }
}
