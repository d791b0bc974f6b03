//! A source's positions, one JSON value a partition, and the lease that says which process may move them.
//!
//! | file | what is in it |
//! |---|---|
//! | `file` | a local transactional file: one process, one machine |
//! | `none` | nothing is kept: the source has no positions, or its system keeps them |
//!
//! Offsets that several processes share are opened by a [`SharedOffsets`] that the connector's `main` hands in
//! (`openconnect-offsets-sql` has one); a connector without it links no database.
//!
//! Where offsets are shared, a source's own state is too ([`OffsetStore::store`]).
//!
//! Every write names the fencing number of the writer's lease. A number that is no longer the newest is refused together with
//! the write, so that a process that was paused cannot overwrite what its successor stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::codes;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::store::Store;

mod file;
mod none;

pub use file::FileStore;

/// Positions by partition.
pub type Positions = BTreeMap<String, Value>;
/// The number of a lease: each holder's is greater than that of the holder before it.
pub type Fence = i64;

/// How an attempt to become the holder of the lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// The caller holds it, under this number.
    Granted(Fence),
    /// Another does.
    Held {
        /// Who, as given when it was acquired.
        owner: String,
        /// When it ends unless it is renewed.
        left: Duration,
    },
}

/// Where the offsets of one instance are. Every call ends within a bounded time; what it wrote is durable when it returns.
pub trait OffsetStore: Send + Sync {
    /// Every partition's position.
    fn all(&self) -> BoxFuture<'_, Result<Positions>>;

    /// Stores these positions. `false`, and nothing is stored, when the lease `fence` has been followed by another.
    fn commit<'a>(&'a self, positions: &'a [(String, Value)], fence: Fence) -> BoxFuture<'a, Result<bool>>;

    /// Forgets one partition's position. `false` when there was none, or the lease `fence` has been followed by another.
    fn reset<'a>(&'a self, partition: &'a str, fence: Fence) -> BoxFuture<'a, Result<bool>>;

    /// Takes the lease for `ttl` when it is free, over, or `owner`'s own. `owner` is unique to the caller.
    fn acquire<'a>(&'a self, owner: &'a str, ttl: Duration) -> BoxFuture<'a, Result<Acquired>>;

    /// Lets the lease `fence` last `ttl` from now, also when its time is over and nobody has taken it. `false` when another
    /// has.
    fn renew(&self, fence: Fence, ttl: Duration) -> BoxFuture<'_, Result<bool>>;

    /// Ends the lease `fence` at once; nothing happens when it has been followed by another.
    fn release(&self, fence: Fence) -> BoxFuture<'_, Result<()>>;

    /// A store for the source's own state ([`SourceContext::store`](crate::source::SourceContext::store)) where the offsets are, for
    /// the holder of the lease `fence`; taken once for a lease. A write under a lease that has been followed by another is
    /// refused with `OC0213`. None where the offsets are on this machine: the store is a file beside them then.
    fn store(&self, fence: Fence) -> Option<Store>;

    /// Where it is, for people; without secrets.
    fn place(&self) -> &str;

    /// Can other processes, on other machines, take over? Then the lease must be renewed, and a failing call is worth another
    /// try.
    fn is_shared(&self) -> bool;
}

/// Opens offsets that several processes share, from `state.offsets`. The `main` of a source hands it in:
/// `openconnect_core::source_main!(MySource, offsets = openconnect_offsets_sql::SqlOffsets);`.
pub trait SharedOffsets: Send + Sync {
    /// Opens the offsets of one instance; they can be read and written when it returns.
    ///
    /// # Errors
    ///
    /// `OC0215` where the URL is of no supported system, `OC0212` where the system cannot be reached or refuses.
    fn open<'a>(&'a self, address: SharedAddress<'a>) -> BoxFuture<'a, Result<Arc<dyn OffsetStore>>>;
}

/// Which shared offsets to open.
#[derive(Clone, Copy)]
pub struct SharedAddress<'a> {
    /// `state.offsets`; may hold a password.
    pub url: &'a str,
    /// `state.table_prefix`.
    pub table_prefix: &'a str,
    /// `<connector>/<name>`: instances do not see each other's offsets.
    pub instance: &'a str,
    /// `state.lease_ttl`: a call takes a fraction of it at the most, so that a lease can be renewed in time.
    pub lease_ttl: Duration,
}

/// Opens the offsets of this instance of `connector`: those at `state.offsets`, or the file in the instance's folder `dir`.
pub(crate) async fn open(
    settings: &Settings,
    connector: &str,
    dir: &Path,
    shared: Option<&'static dyn SharedOffsets>,
) -> Result<Arc<dyn OffsetStore>> {
    let state = &settings.state;
    let Some(url) = &state.offsets else {
        return Ok(Arc::new(FileStore::open(dir)?));
    };
    let shared = shared.ok_or_else(|| {
        Error::config(
            codes::OFFSETS_REFUSED,
            format!("state.offsets is set, but {connector} can't share its offsets"),
        )
        .hint("Leave state.offsets out: the offsets are then in a file below state.dir.")
    })?;
    let address = SharedAddress {
        url: url.expose(),
        table_prefix: &state.table_prefix,
        instance: &format!("{connector}/{}", settings.name),
        lease_ttl: state.lease_ttl.0,
    };
    shared.open(address).await
}

/// The store of a source whose positions are kept elsewhere, or that has none. `state.offsets` is refused there.
pub(crate) fn keep_none(settings: &Settings, connector: &str) -> Result<Arc<dyn OffsetStore>> {
    if settings.state.offsets.is_some() {
        return Err(Error::config(
            codes::OFFSETS_REFUSED,
            format!("state.offsets is set, but {connector} has no offsets to store"),
        )
        .hint("Leave state.offsets out: every process of this connector is active."));
    }
    Ok(Arc::new(none::NoStore))
}

/// The error of a process whose lease has gone to another one: `OC0213`, exit code 75.
pub fn lease_lost(place: &str) -> Error {
    Error::lease_lost(
        codes::LEASE_TAKEN,
        format!("another process has taken over this instance's lease in {place}"),
    )
    .hint("Nothing to do: the other process goes on from the last stored offset. Started again, this one stands by.")
}
