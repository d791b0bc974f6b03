//! Parts of a relation that follow each other, so that they can be read at the same time.

use openconnect_change::Cell;
use openconnect_core::Failure;

use crate::codes;
use crate::connection::Connection;
use crate::keyset::{Keyset, Select};
use crate::mark::Mark;

/// Bytes of the row that ends a part.
const END_BYTES: usize = 1 << 20;

/// Rows that follow each other in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// They come after this row; none: from the first one on.
    pub after: Option<Vec<Mark>>,
    /// The last of them; none: as many as a page has.
    pub until: Option<Vec<Mark>>,
}

/// How many rows a page has: as many as are configured, or as the memory for a page held of late.
#[derive(Debug, Clone, Copy)]
pub struct PageRows {
    configured: u32,
    now: u32,
}

impl PageRows {
    /// So many, until they are too many.
    pub fn new(configured: u32) -> Self {
        Self {
            configured,
            now: configured,
        }
    }

    /// How many the next page has.
    pub fn get(self) -> u32 {
        self.now
    }

    /// A page was read: of so many rows, and whether that was all that its memory held. The next ones have no more, so that nothing is
    /// read in vain; little by little they have more again.
    pub fn note(&mut self, rows: usize, cut: bool) {
        self.now = if cut {
            u32::try_from(rows).unwrap_or(u32::MAX).max(1).min(self.now)
        } else {
            self.now.saturating_add(self.now / 8 + 1)
        }
        .min(self.configured);
    }
}

/// The rows of a part.
#[derive(Debug)]
pub struct SplitRows {
    /// In their order, each with its ordering values.
    pub rows: Vec<(Vec<Mark>, Vec<Cell>)>,
    /// Where it goes on behind them; none when they are the last of the relation.
    pub next: Option<Vec<Mark>>,
    /// They were too many bytes, so that they end before the end of the part: what follows the part does not follow them.
    pub cut: bool,
}

impl Split {
    /// Parts from a row on, of so many rows each, `count` at the most; the last one has no end. It costs a look into the index
    /// for each but the last.
    pub async fn all(
        connection: &mut Connection,
        relation: &Keyset,
        after: Option<Vec<Mark>>,
        rows: u32,
        count: usize,
    ) -> Result<Vec<Self>, Failure> {
        let mut splits = Vec::with_capacity(count);
        let mut after = after;
        while splits.len() + 1 < count {
            let select = Select::marks(relation, connection.dialect()).after(after.as_deref())?;
            let (found, _) = connection.query(&select.nth(rows), END_BYTES).await?;
            let until: Option<Vec<Mark>> = found.into_iter().next().and_then(|cells| cells.iter().map(Mark::of).collect());
            let Some(until) = until else { break };
            splits.push(Self {
                after: after.replace(until.clone()),
                until: Some(until),
            });
        }
        splits.push(Self { after, until: None });
        Ok(splits)
    }

    /// Reads it; `rows` are those of a page. It ends with the row that makes it `max_bytes` large, if not before.
    pub async fn read(&self, connection: &mut Connection, relation: &Keyset, rows: u32, max_bytes: usize) -> Result<SplitRows, Failure> {
        let mut select = Select::rows(relation, connection.dialect()).after(self.after.as_deref())?;
        if let Some(until) = &self.until {
            select = select.up_to(until)?;
        }
        // One row more says whether there are more.
        let limit = if self.until.is_none() { rows.saturating_add(1) } else { u32::MAX };
        let dialect = connection.dialect();
        let (mut found, cut) = connection.query(&select.page(limit), max_bytes).await?;
        let over = self.until.is_none() && found.len() > rows as usize;
        if over {
            found.pop();
        }
        let keyed = |mut cells: Vec<Cell>| Some((relation.take_marks(dialect, &mut cells)?, cells));
        let rows: Vec<_> = found.into_iter().filter_map(keyed).collect();
        let next = match rows.last() {
            Some((marks, _)) if cut || over => Some(marks.clone()),
            _ => self.until.clone(),
        };
        if next.is_some() && next == self.after {
            return Err(Failure::fatal(
                codes::SQL_ORDER,
                format!(
                    "{} can't be read in parts: a part does not end behind the one before it",
                    relation.from
                ),
            ));
        }
        Ok(SplitRows { rows, next, cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_shrink_to_what_the_memory_holds_and_grow_again() {
        let mut rows = PageRows::new(1000);
        rows.note(100, true);
        assert_eq!(rows.get(), 100);
        rows.note(0, true);
        assert_eq!(rows.get(), 1);
        rows.note(5, true);
        assert_eq!(rows.get(), 1, "parts that are cut together can hold more than one page");
        (0..60).for_each(|_| rows.note(1, false));
        assert_eq!(rows.get(), 1000);
    }
}
