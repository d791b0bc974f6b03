//! A source's offsets, its lease and its own state in a database, so that several processes of one instance share them and one is
//! active.
//!
//! | file | what is in it |
//! |---|---|
//! | `offsets.rs` | positions and the lease of one instance, in two tables |
//! | `store.rs` | state of the source's own, in a third |
//! | `database.rs` | the tables; statements that end within a time limit |
//! | `address.rs` | the URL in `state.offsets` |
//! | `dialect.rs` | where the supported databases differ in SQL |
//!
//! The database's clock alone decides when a lease is over. Every write is one statement that takes its own lock on the lease:
//! a process that is stopped in the middle of one holds up nobody.
//!
//! A source's `main` hands it in: `openconnect_core::source_main!(MySource, offsets = openconnect_offsets_sql::SqlOffsets);`.
//! The features `postgres`, `mysql` (MariaDB too) and `sqlite` say which drivers are in the build; all are by default.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use openconnect_core::Result;
use openconnect_core::offsets::{OffsetStore, SharedAddress, SharedOffsets};

mod address;
pub mod codes;
mod database;
mod dialect;
mod offsets;
mod store;

pub use offsets::SqlOffsetStore;

/// Opens `state.offsets` in PostgreSQL, MySQL, MariaDB or SQLite.
#[derive(Debug, Clone, Copy)]
pub struct SqlOffsets;

impl SharedOffsets for SqlOffsets {
    fn open<'a>(&'a self, address: SharedAddress<'a>) -> BoxFuture<'a, Result<Arc<dyn OffsetStore>>> {
        let SharedAddress {
            url,
            table_prefix,
            instance,
            lease_ttl,
        } = address;
        async move {
            let store = SqlOffsetStore::open(url, table_prefix, instance, lease_ttl).await?;
            Ok(Arc::new(store) as Arc<dyn OffsetStore>)
        }
        .boxed()
    }
}
