//! What is said differently from one kind of database to the next.

/// How a database talks. MariaDB talks as MySQL does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// Its name, as in a connection string.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// An identifier, quoted: whatever is in it, it is a name.
    pub fn quote(self, name: &str) -> String {
        let mark = if self == Self::MySql { '`' } else { '"' };
        let mut quoted = String::with_capacity(name.len() + 2);
        quoted.push(mark);
        for c in name.chars().filter(|c| *c != '\0') {
            if c == mark {
                quoted.push(mark);
            }
            quoted.push(c);
        }
        quoted.push(mark);
        quoted
    }

    /// Identifiers, quoted, with commas between.
    pub fn quote_all<'n>(self, names: impl IntoIterator<Item = &'n String>) -> String {
        let quoted: Vec<String> = names.into_iter().map(|name| self.quote(name)).collect();
        quoted.join(", ")
    }

    /// The parameter number `n`, from 1 on.
    pub fn parameter(self, n: usize) -> String {
        match self {
            Self::Postgres => format!("${n}"),
            Self::MySql | Self::Sqlite => "?".to_owned(),
        }
    }

    /// Parameters that one statement may have.
    pub fn max_parameters(self) -> usize {
        match self {
            // 16 bits on the wire.
            Self::Postgres | Self::MySql => 65_000,
            // SQLite's default limit is 32,766.
            Self::Sqlite => 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_whatever_is_in_it() {
        assert_eq!(Dialect::Sqlite.quote("a\"; drop table b; --"), "\"a\"\"; drop table b; --\"");
        assert_eq!(Dialect::MySql.quote("a`; drop table b; --"), "`a``; drop table b; --`");
    }
}
