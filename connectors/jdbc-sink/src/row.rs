//! What is to be done with a table, as a row with values that its columns take.

use std::sync::Arc;

use openconnect_core::Failure;
use openconnect_sql::codes::SQL_VALUE;
use openconnect_sql::{Dialect, Table, Value, missing};

use crate::codes;
use crate::config::UnknownFields;
use crate::event::{Change, Operation};
use crate::exact;

/// One row of a table; `values` are in the order of `columns`, which are places in the table's columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) table: Arc<Table>,
    /// The columns that identify a row; none where rows are only inserted.
    pub(crate) key: Arc<[String]>,
    pub(crate) operation: Operation,
    pub(crate) columns: Vec<usize>,
    pub(crate) values: Vec<Value>,
}

/// How fields become columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    pub(crate) dialect: Dialect,
    pub(crate) unknown: UnknownFields,
    /// The configuration names the columns: one that the table lacks is waited for.
    pub(crate) mapped: bool,
}

impl Row {
    /// The row of a change.
    pub(crate) fn bind(table: &Arc<Table>, key: &Arc<[String]>, change: &Change<'_>, binding: Binding) -> Result<Self, Failure> {
        let mut columns = Vec::with_capacity(change.fields.len());
        let mut values = Vec::with_capacity(change.fields.len());
        if change.operation == Operation::Truncate {
            return Ok(Self {
                table: Arc::clone(table),
                key: Arc::clone(key),
                operation: change.operation,
                columns,
                values,
            });
        }
        for (at, column) in table.columns.iter().enumerate() {
            let is_key = key.contains(&column.name);
            if column.generated || (change.operation == Operation::Delete && !is_key) {
                continue;
            }
            let value = match change.fields.get(&column.name) {
                Some(input) => {
                    let unfit = |why: &str| {
                        Failure::permanent(
                            SQL_VALUE,
                            format!("the value for the column `{}` of `{}` {why}", column.name, table.name),
                        )
                    };
                    let value = binding.dialect.value(column, input).map_err(|reason| unfit(reason.0))?;
                    let declared = table.declared.get(at).map_or("", String::as_str);
                    match exact::loss(binding.dialect, column, declared, &value) {
                        Some(why) => return Err(unfit(why)),
                        None => value,
                    }
                }
                None if is_key => Value::Null,
                None => continue,
            };
            if is_key && value == Value::Null {
                return Err(Failure::permanent(
                    codes::SQL_NO_KEY,
                    format!("the event has no value for the key column `{}` of `{}`", column.name, table.name),
                ));
            }
            columns.push(at);
            values.push(value);
        }
        if let Some(name) = key.iter().find(|name| table.column(name).is_none()) {
            return Err(missing(format!("`{}` has no column `{name}`", table.name)));
        }
        unknown(table, change, binding)?;
        if columns.is_empty() {
            return Err(Failure::permanent(
                codes::SQL_NO_COLUMNS,
                format!("no field of the event is a column of `{}`", table.name),
            ));
        }
        Ok(Self {
            table: Arc::clone(table),
            key: Arc::clone(key),
            operation: change.operation,
            columns,
            values,
        })
    }

    /// The names of its columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.columns
            .iter()
            .filter_map(|at| self.table.columns.get(*at))
            .map(|column| &column.name)
    }
}

fn unknown(table: &Table, change: &Change<'_>, binding: Binding) -> Result<(), Failure> {
    if change.operation == Operation::Delete || (!binding.mapped && binding.unknown == UnknownFields::Ignore) {
        return Ok(());
    }
    let mut names = change.fields.iter().map(|(name, _)| name);
    match names.find(|name| table.column(name).is_none()) {
        None => Ok(()),
        Some(name) if binding.mapped => Err(missing(format!("`{}` has no column `{name}`", table.name))),
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(Failure::permanent(
                codes::SQL_UNKNOWN_FIELD,
                format!("the field `{name}` is no column of the table"),
            ))
        }
    }
}
