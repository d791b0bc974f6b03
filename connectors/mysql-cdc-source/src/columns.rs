//! Which columns are told, and what is hidden of them.

use openconnect_change::{Cell, Column, Kind};
use openconnect_core::Failure;
use openconnect_core::config::Problems;
use openconnect_core::secret::Secret;
use openconnect_sql::{Mark, NamePattern};
use ring::hmac;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::codes;

/// Columns are named `table.column`; `*` stands for any characters.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnSettings {
    /// Only these. Default: all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Not these, though `include` names them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What stands in place of values; the first mask that names a column counts. `NULL` stays.
    #[serde(default)]
    #[schemars(example = serde_json::json!([{ "columns": ["*.password"], "fixed": "***" }]))]
    pub masks: Vec<Mask>,
}

/// One of `hash`, `truncate` and `fixed`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// The columns, as `table.column`; `*.column` means that column of any table.
    #[schemars(example = &["*.password"])]
    pub columns: Vec<String>,
    /// The HMAC with SHA-256 of the value, in hexadecimal: equal values stay equal.
    pub hash: Option<HashMask>,
    /// The value's first characters, so many.
    pub truncate: Option<u32>,
    /// This text.
    pub fixed: Option<String>,
}

/// A hash that can't be looked up in a table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashMask {
    /// The key of the HMAC.
    pub salt: Secret,
}

impl ColumnSettings {
    pub(crate) fn validate(&self, problems: &mut Problems) {
        check_names(problems, "columns.include", &self.include);
        check_names(problems, "columns.exclude", &self.exclude);
        for (number, mask) in self.masks.iter().enumerate() {
            let at = format!("columns.masks[{number}]");
            check_names(problems, &format!("{at}.columns"), &mask.columns);
            let given = [mask.hash.is_some(), mask.truncate.is_some(), mask.fixed.is_some()];
            if mask.columns.is_empty() {
                problems.add(at.clone(), "names no columns");
            }
            if given.into_iter().filter(|given| *given).count() != 1 {
                problems.add(at.clone(), "must have one of `hash`, `truncate` and `fixed`");
            }
        }
    }

    /// Is a column told?
    pub(crate) fn wants(&self, table: &str, column: &str) -> bool {
        let name = &format!("{table}.{column}");
        (self.include.is_empty() || named(&self.include, name)) && !named(&self.exclude, name)
    }

    fn hide(&self, name: &str) -> Hide {
        let Some(mask) = self.masks.iter().find(|mask| named(&mask.columns, name)) else {
            return Hide::Nothing;
        };
        match (&mask.hash, mask.truncate, &mask.fixed) {
            (Some(hash), ..) => Hide::Hash(hmac::Key::new(hmac::HMAC_SHA256, hash.salt.expose().as_bytes())),
            (_, Some(characters), _) => Hide::Truncate(characters as usize),
            (_, _, fixed) => Hide::Fixed(fixed.clone().unwrap_or_default()),
        }
    }
}

fn check_names(problems: &mut Problems, at: &str, names: &[String]) {
    if names.iter().any(|name| !name.contains('.')) {
        problems.add(at, "must be `table.column`; `*.column` means the column of any table");
    }
}

fn named(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| NamePattern::new(pattern).matches(name))
}

#[derive(Debug, Clone)]
enum Hide {
    Nothing,
    Hash(hmac::Key),
    Truncate(usize),
    Fixed(String),
}

/// What is told of a table's rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The columns that are told.
    pub(crate) columns: Vec<Column>,
    /// Places of the key among them, in the key's order.
    pub(crate) key: Vec<usize>,
    /// Where each column is in the table.
    picked: Vec<(usize, Hide)>,
    /// Rows are told as they are.
    whole: bool,
}

impl View {
    /// `key` are the places of the key's columns in the table.
    pub(crate) fn new(settings: &ColumnSettings, table: &str, columns: &[Column], key: &[usize]) -> Result<Self, Failure> {
        let (mut told, mut picked) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
        let mut whole = true;
        for (at, column) in columns.iter().enumerate() {
            let name = format!("{table}.{}", column.name);
            let hide = settings.hide(&name);
            let in_key = key.contains(&at);
            if !settings.wants(table, &column.name) {
                if in_key {
                    return Err(of_the_key(&name, "can't be left out"));
                }
                whole = false;
                continue;
            }
            if in_key && matches!(hide, Hide::Truncate(_) | Hide::Fixed(_)) {
                return Err(of_the_key(&name, "can be masked by `hash` alone"));
            }
            let mut column = column.clone();
            if !matches!(hide, Hide::Nothing) {
                (column.kind, column.type_name) = (Kind::Text, "varchar".to_owned());
                whole = false;
            }
            told.push(column);
            picked.push((at, hide));
        }
        let place = |at: &usize| picked.iter().position(|(from, _)| from == at);
        let key = key.iter().filter_map(place).collect();
        Ok(Self {
            columns: told,
            key,
            picked,
            whole,
        })
    }

    /// What is told of a row.
    pub(crate) fn row(&self, mut cells: Vec<Cell>) -> Vec<Cell> {
        if self.whole {
            return cells;
        }
        let picked = self.picked.iter();
        picked
            .map(|(at, hide)| {
                let cell = cells.get_mut(*at).map_or(Cell::Null, |cell| std::mem::replace(cell, Cell::Null));
                hide.of(cell)
            })
            .collect()
    }
}

fn of_the_key(name: &str, what: &str) -> Failure {
    Failure::fatal(
        codes::CDC_COLUMNS,
        format!("`{name}` is in the primary key: it {what} (source.columns), for rows could not be told apart"),
    )
}

impl Hide {
    fn of(&self, cell: Cell) -> Cell {
        if cell == Cell::Null {
            return cell;
        }
        match self {
            Self::Nothing => cell,
            Self::Fixed(text) => Cell::Text(text.clone()),
            Self::Truncate(characters) => match Mark::of(&cell) {
                Some(mark) => Cell::Text(mark.text().chars().take(*characters).collect()),
                None => Cell::Null,
            },
            Self::Hash(key) => {
                let tag = match &cell {
                    Cell::Bytes(bytes) => hmac::sign(key, bytes),
                    cell => hmac::sign(key, Mark::of(cell).map(|mark| mark.text()).unwrap_or_default().as_bytes()),
                };
                Cell::Text(hex::encode(tag))
            }
        }
    }
}
