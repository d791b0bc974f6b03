//! Parts of a relation that follow each other, so that they can be read at the same time.

use openconnect_change::Cell;
use openconnect_core::Failure;

use crate::connection::Connection;
use crate::keyset::{Keyset, Select};
use crate::mark::Mark;

/// Bytes of one part.
const BYTES: usize = 8 << 20;

/// Rows that follow each other in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// They come after this row; none: from the first one on.
    pub after: Option<Vec<Mark>>,
    /// The last of them; none: as many as a page has.
    pub until: Option<Vec<Mark>>,
}

/// The rows of a part.
#[derive(Debug)]
pub struct SplitRows {
    /// In their order.
    pub rows: Vec<Vec<Cell>>,
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
            let (found, _) = connection.query(&select.nth(rows), BYTES).await?;
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

    /// Reads it; `rows` are those of a page.
    pub async fn read(&self, connection: &mut Connection, relation: &Keyset, rows: u32) -> Result<SplitRows, Failure> {
        let mut select = Select::rows(relation, connection.dialect()).after(self.after.as_deref())?;
        if let Some(until) = &self.until {
            select = select.up_to(until)?;
        }
        // One row more says whether there are more.
        let limit = if self.until.is_none() { rows.saturating_add(1) } else { u32::MAX };
        let (mut found, cut) = connection.query(&select.page(limit), BYTES).await?;
        let over = self.until.is_none() && found.len() > rows as usize;
        if over {
            found.pop();
        }
        let next = if cut || over {
            let cells = found.last().map_or(&[][..], Vec::as_slice);
            relation.order.iter().map(|at| cells.get(*at).and_then(Mark::of)).collect()
        } else {
            self.until.clone()
        };
        Ok(SplitRows { rows: found, next, cut })
    }
}
