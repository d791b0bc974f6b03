//! What a rendering may read, so that a loop does not multiply what an event holds.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::json;

/// Bytes that the names and filters of one rendering may read.
pub(super) const MAX_BYTES: u64 = 64 << 20;
/// Reads that are free, so that a few of a large event are possible.
const FREE_READS: u64 = 64;
/// The name by which filters find the rendering's [`Work`]; no template can say it.
pub(super) const NAME: &str = " work";

/// The reads of one rendering. Each name and each filter is charged with what its value holds.
#[derive(Debug, Default)]
pub(super) struct Work {
    reads: AtomicU64,
    bytes: AtomicU64,
    failed: OnceLock<String>,
}

impl Object for Work {}

impl Work {
    /// Counts a read of a value of `bytes`.
    pub(super) fn read(&self, bytes: usize) -> Result<(), Error> {
        match self.reads.fetch_add(1, Relaxed) < FREE_READS {
            true => Ok(()),
            false => self.spend(bytes),
        }
    }

    /// The bytes that were counted.
    #[cfg(test)]
    pub(super) fn spent(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Counts bytes that are read over and over.
    fn spend(&self, bytes: usize) -> Result<(), Error> {
        // One more, so that reading nothing has an end too.
        let bytes = (bytes as u64).saturating_add(1);
        match self.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes) <= MAX_BYTES {
            true => Ok(()),
            false => {
                let why = format!("it reads more than {} MiB, over and over", MAX_BYTES >> 20);
                self.fail(&why);
                Err(Error::new(ErrorKind::InvalidOperation, why))
            }
        }
    }

    /// Notes why the rendering fails, whatever becomes of the value that could not be read.
    pub(super) fn fail(&self, why: &str) {
        // The first reason counts.
        let _ = self.failed.set(why.to_owned());
    }

    /// Why the rendering fails.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

/// Charges a filter's read to its rendering.
pub(super) fn read(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    with(state, |work| work.read(bytes))
}

/// Charges a loop over `list`: each use of an element in its body reads that element.
pub(super) fn read_list(state: &State<'_, '_>, list: &Value, uses: usize) -> Result<(), Error> {
    with(state, |work| work.spend(measure(list).saturating_mul(uses.max(1))))
}

fn with(state: &State<'_, '_>, charge: impl Fn(&Work) -> Result<(), Error>) -> Result<(), Error> {
    match state.lookup(NAME).as_ref().and_then(Value::downcast_object_ref::<Work>) {
        Some(work) => charge(work),
        None => Err(Error::new(ErrorKind::InvalidOperation, "nothing counts the work; this is a bug")),
    }
}

/// The bytes of texts in a value, and one for each value.
pub(super) fn measure(value: &Value) -> usize {
    if let Some(text) = json::text_of(value) {
        return 1 + text.len();
    }
    let own = 1 + value.as_str().map_or(0, str::len);
    let inner = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter().map_or(0, |items| items.map(|item| measure(&item)).sum()),
        ValueKind::Map => value.try_iter().map_or(0, |names| {
            let fields = names.map(|name| measure(&name) + value.get_item(&name).map_or(0, |field| measure(&field)));
            fields.sum()
        }),
        _ => 0,
    };
    own + inner
}
