//! Our format: `{"op", "before", "after", "source", "transaction"}`, values as `docs/sql-types.md` has them.

use crate::change::{Change, ChangeSource};
use crate::kind::Decimals;
use crate::to_json::{json_text, push_row, row_size};

/// About how long an event is without its rows, in bytes.
const ENVELOPE: usize = 320;

/// A change as JSON.
pub fn change(change: &Change<'_>, source: &impl ChangeSource, decimals: Decimals) -> String {
    let rows = [change.before, change.after];
    let size: usize = rows.iter().flatten().map(|row| row_size(change.columns, row)).sum();
    let mut out = String::with_capacity(size + ENVELOPE);
    out.push_str("{\"op\":\"");
    out.push_str(change.op.as_str());
    for (lead, row) in ["\",\"before\":", ",\"after\":"].into_iter().zip(rows) {
        out.push_str(lead);
        match row {
            Some(row) => push_row(&mut out, change.columns, row, decimals),
            None => out.push_str("null"),
        }
    }
    out.push_str(",\"source\":");
    source.push_native(&mut out);
    if let Some(transaction) = &change.transaction {
        out.push_str(",\"transaction\":");
        transaction.push_json(&mut out);
    }
    out.push('}');
    out
}

/// A statement that changed a table as JSON.
pub fn schema_change(statement: &str, database: &str, source: &impl ChangeSource) -> String {
    let mut out = format!(
        "{{\"ddl\":{},\"database\":{},\"source\":",
        json_text(statement),
        json_text(database)
    );
    source.push_native(&mut out);
    out.push('}');
    out
}
