//! Nothing is kept: for a source that has no positions, or whose system keeps them. Every process is active.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;

use super::{Acquired, Fence, OffsetStore, Positions};
use crate::error::Result;
use crate::store::Store;

pub(super) struct NoStore;

impl OffsetStore for NoStore {
    fn all(&self) -> BoxFuture<'_, Result<Positions>> {
        ready(Ok(Positions::new())).boxed()
    }

    fn commit<'a>(&'a self, _: &'a [(String, Value)], _: Fence) -> BoxFuture<'a, Result<bool>> {
        ready(Ok(true)).boxed()
    }

    fn reset<'a>(&'a self, _: &'a str, _: Fence) -> BoxFuture<'a, Result<bool>> {
        ready(Ok(false)).boxed()
    }

    fn acquire<'a>(&'a self, _: &'a str, _: Duration) -> BoxFuture<'a, Result<Acquired>> {
        ready(Ok(Acquired::Granted(0))).boxed()
    }

    fn renew(&self, _: Fence, _: Duration) -> BoxFuture<'_, Result<bool>> {
        ready(Ok(true)).boxed()
    }

    fn release(&self, _: Fence) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn store(&self, _: Fence) -> Option<Store> {
        None
    }

    fn place(&self) -> &str {
        "no store"
    }

    fn is_shared(&self) -> bool {
        false
    }
}
