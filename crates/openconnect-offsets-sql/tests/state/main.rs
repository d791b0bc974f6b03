//! Offsets, lease and store on every database, and beside them on what the core has.
//!
//! | file | what is in it |
//! |---|---|
//! | `offsets.rs` | positions and the lease |
//! | `store.rs` | a source's own state |
//! | `takeover.rs` | a source that runs twice, and its state |
//! | `place.rs` | how the tests open a database, and take the lease |
#![allow(clippy::unwrap_used)]

mod offsets;
mod place;
mod store;
mod takeover;
