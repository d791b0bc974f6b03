//! How the tests open a database, and take the lease.

use std::sync::Arc;
use std::time::Duration;

use openconnect_core::offsets::{Acquired, Fence, OffsetStore};
use openconnect_offsets_sql::SqlOffsetStore;

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn open(url: &str, instance: &str) -> Arc<dyn OffsetStore> {
    Arc::new(SqlOffsetStore::open(url, "oc_", instance, LONG).await.unwrap())
}

pub(crate) async fn acquire(store: &Arc<dyn OffsetStore>, owner: &str, ttl: Duration) -> Fence {
    match store.acquire(owner, ttl).await.unwrap() {
        Acquired::Granted(fence) => fence,
        Acquired::Held { owner, .. } => panic!("held by {owner}"),
    }
}
