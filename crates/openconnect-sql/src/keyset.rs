//! Rows page by page. Pages are found by the ordering columns' values, never by an offset: a page costs the same wherever it is,
//! and rows that come or go meanwhile shift nothing.
//!
//! The server compares, by its own order of the column's type: what a page goes on behind is written as a value of that type. Where
//! the text of a value does not say its place in that order, the place is selected beside the value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openconnect_change::{Cell, Column, Kind};
use openconnect_core::Failure;

use crate::codes;
use crate::dialect::Dialect;
use crate::mark::Mark;
use crate::statement::{Statement, Value};

/// Rows in the order of some of their columns.
#[derive(Debug, Clone)]
pub struct Keyset {
    /// What stands behind `from`: a quoted name, or a query in parentheses.
    pub from: String,
    /// The columns that are selected.
    pub columns: Vec<Column>,
    /// Places of the columns that order rows; together they tell every row from the others. Rows in which one is null are
    /// not selected.
    pub order: Vec<usize>,
    /// A condition on `r`, in SQL: only rows for which it holds.
    pub condition: Option<String>,
}

impl Keyset {
    /// The ordering values of a row that [`Select::rows`] gave; what was selected for them alone is taken off its end. None where one
    /// is null.
    pub fn take_marks(&self, dialect: Dialect, row: &mut Vec<Cell>) -> Option<Vec<Mark>> {
        let mut places = row.split_off(self.columns.len().min(row.len())).into_iter();
        let mark = |at: &usize| {
            let is_apart = self.columns.get(*at).is_some_and(|column| place(dialect, column).is_some());
            if is_apart {
                places.next().as_ref().and_then(Mark::of)
            } else {
                row.get(*at).and_then(Mark::of)
            }
        };
        self.order.iter().map(mark).collect()
    }

    fn ordering(&self) -> impl Iterator<Item = &Column> {
        self.order.iter().filter_map(|at| self.columns.get(*at))
    }
}

/// The expression of a value's place in the order of its column, where the value as it is selected does not say it: MySQL orders
/// members of an enumeration and sets of them by their numbers.
fn place(dialect: Dialect, column: &Column) -> Option<String> {
    let is_numbered = dialect == Dialect::MySql && (column.type_name.starts_with("enum") || column.type_name.starts_with("set"));
    is_numbered.then(|| format!("cast(({} + 0) as char)", dialect.quote(&column.name)))
}

/// Makes the statement that selects some of them.
pub struct Select<'a> {
    relation: &'a Keyset,
    dialect: Dialect,
    sql: String,
    values: Vec<Value>,
}

impl<'a> Select<'a> {
    /// Selects all columns; [`Keyset::take_marks`] takes the ordering values out of a row.
    pub fn rows(relation: &'a Keyset, dialect: Dialect) -> Self {
        let all = relation.columns.iter().map(|column| dialect.selected(column));
        let places = relation.ordering().filter_map(|column| place(dialect, column));
        Self::new(relation, dialect, &all.chain(places).collect::<Vec<_>>())
    }

    /// Selects the ordering values.
    pub fn marks(relation: &'a Keyset, dialect: Dialect) -> Self {
        let mark = |column| place(dialect, column).unwrap_or_else(|| dialect.selected(column));
        Self::new(relation, dialect, &relation.ordering().map(mark).collect::<Vec<_>>())
    }

    fn new(relation: &'a Keyset, dialect: Dialect, columns: &[String]) -> Self {
        // Where one is null, there is no order.
        let ordered: Vec<String> = relation
            .ordering()
            .map(|column| format!("{} is not null", reference(dialect, &column.name)))
            .chain(relation.condition.clone())
            .collect();
        Self {
            relation,
            dialect,
            sql: format!(
                "select {} from {} as r where {}",
                columns.join(", "),
                relation.from,
                ordered.join(" and ")
            ),
            values: Vec::new(),
        }
    }

    /// Only rows after this one.
    pub fn after(mut self, marks: Option<&[Mark]>) -> Result<Self, Failure> {
        if let Some(marks) = marks {
            self.sql.push_str(" and ");
            self.compare(marks, 0, '>', false)?;
        }
        Ok(self)
    }

    /// Only rows up to this one, and it.
    pub fn up_to(mut self, marks: &[Mark]) -> Result<Self, Failure> {
        self.sql.push_str(" and ");
        self.compare(marks, 0, '<', true)?;
        Ok(self)
    }

    /// Only these rows.
    pub fn only<M: AsRef<[Mark]>>(mut self, rows: &[M]) -> Result<Self, Failure> {
        let mut lead = " and (";
        for marks in rows {
            self.sql.push_str(lead);
            self.sql.push('(');
            for (at, mark) in marks.as_ref().iter().enumerate() {
                if at > 0 {
                    self.sql.push_str(" and ");
                }
                self.one(at, "=", mark)?;
            }
            self.sql.push(')');
            lead = " or ";
        }
        self.sql.push(')');
        Ok(self)
    }

    /// In order, so many at the most.
    pub fn page(self, rows: u32) -> Statement {
        self.ordered(&format!("limit {rows}"))
    }

    /// The last of so many, where there are as many: the end of a page.
    pub fn nth(self, rows: u32) -> Statement {
        self.ordered(&format!("limit 1 offset {}", rows.saturating_sub(1)))
    }

    fn ordered(mut self, limit: &str) -> Statement {
        let order: Vec<String> = self.relation.ordering().map(|c| reference(self.dialect, &c.name)).collect();
        self.sql.push_str(&format!(" order by {} {limit}", order.join(", ")));
        Statement::new(self.sql, self.values)
    }

    /// `a > x or (a = x and b > y)`, with `a >= x` before it: what an index on `a` can use, in every database.
    fn compare(&mut self, marks: &[Mark], at: usize, sign: char, or_equal: bool) -> Result<(), Failure> {
        let Some(mark) = marks.get(at) else {
            self.sql.push_str("1 = 0");
            return Ok(());
        };
        if at + 1 == marks.len() {
            let sign = format!("{sign}{}", if or_equal { "=" } else { "" });
            return self.one(at, &sign, mark);
        }
        self.sql.push('(');
        self.one(at, &format!("{sign}="), mark)?;
        self.sql.push_str(" and (");
        self.one(at, &sign.to_string(), mark)?;
        self.sql.push_str(" or ");
        self.compare(marks, at + 1, sign, or_equal)?;
        self.sql.push_str("))");
        Ok(())
    }

    /// One column against a value, in the column's own type.
    fn one(&mut self, at: usize, sign: &str, mark: &Mark) -> Result<(), Failure> {
        let column = self.relation.order.get(at).and_then(|place| self.relation.columns.get(*place));
        let column = column.ok_or_else(|| unfit("the position has more values than the table has ordering columns"))?;
        let parameter = self.dialect.parameter(self.values.len() + 1);
        let (parameter, value) = match (self.dialect, mark) {
            (Dialect::Sqlite, Mark::Integer(value)) => (parameter, Value::Integer(*value)),
            (Dialect::Sqlite, Mark::Real(value)) => (parameter, Value::Real(*value)),
            (_, Mark::Bytes { base64 }) => {
                let bytes = STANDARD.decode(base64).map_err(|_| unfit("the position holds what is no base64"))?;
                (parameter, Value::Bytes(bytes))
            }
            (Dialect::Postgres, mark) => (format!("{parameter}::{}", column.type_name), Value::Text(mark.text())),
            // As a text a number would be compared as a double, or as a text.
            (Dialect::MySql, mark) if matches!(column.kind, Kind::Integer | Kind::Bits { .. }) || place(self.dialect, column).is_some() => {
                (parameter, integer(&mark.text())?)
            }
            // With the value's own digits behind the point all those before it have room.
            (Dialect::MySql, mark) if column.kind == Kind::Decimal => {
                let digits = mark.text();
                let scale = digits.split_once('.').map_or(0, |(_, behind)| behind.len());
                (format!("cast({parameter} as decimal(65,{scale}))"), Value::Text(digits))
            }
            (_, mark) => (parameter, Value::Text(mark.text())),
        };
        self.sql
            .push_str(&format!("{} {sign} {parameter}", reference(self.dialect, &column.name)));
        self.values.push(value);
        Ok(())
    }
}

/// The relation's column: without the `r` PostgreSQL would order by the text that is selected under the same name.
fn reference(dialect: Dialect, column: &str) -> String {
    format!("r.{}", dialect.quote(column))
}

fn integer(text: &str) -> Result<Value, Failure> {
    let signed = text.parse().map(Value::Integer);
    signed
        .or_else(|_| text.parse().map(Value::Unsigned))
        .map_err(|_| unfit("the position holds a text where the column is a number"))
}

fn unfit(why: &str) -> Failure {
    Failure::fatal(
        codes::SQL_POSITION,
        format!("{why}: the table or the configuration has changed; reset the offset (`offsets reset`), or undo the change"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn relation() -> Keyset {
        let column = |name: &str, kind, ty: &str| Column {
            name: name.into(),
            kind,
            type_name: ty.into(),
            generated: false,
        };
        Keyset {
            from: "\"t\"".into(),
            columns: vec![column("id", Kind::Integer, "bigint"), column("at", Kind::Timestamp, "timestamp")],
            order: vec![1, 0],
            condition: None,
        }
    }

    #[test]
    fn rows_with_equal_times_are_told_apart_by_the_key() {
        let relation = relation();
        let marks = [Mark::Text("2024-01-31 12:00:00".into()), Mark::Text("7".into())];
        let page = Select::rows(&relation, Dialect::Postgres).after(Some(&marks)).unwrap().page(10);
        assert_eq!(
            page.sql,
            "select \"id\"::text, \"at\"::text from \"t\" as r where r.\"at\" is not null and r.\"id\" is not null and (r.\"at\" >= $1::timestamp \
             and (r.\"at\" > $2::timestamp or r.\"id\" > $3::bigint)) order by r.\"at\", r.\"id\" limit 10"
        );
        let window = Select::marks(&relation, Dialect::MySql).up_to(&marks).unwrap().page(10);
        assert!(
            window
                .sql
                .ends_with("(r.`at` <= ? and (r.`at` < ? or r.`id` <= ?)) order by r.`at`, r.`id` limit 10"),
            "{}",
            window.sql
        );
        assert_eq!(window.values[2], Value::Integer(7));
    }
}
