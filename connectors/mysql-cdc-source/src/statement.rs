//! The statements of the log that concern tables. They are only recognised, never interpreted: each change brings the table as
//! it is (see `table.rs`).

/// What a statement does with tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Alter,
    Rename,
    Drop,
    Truncate,
}

/// A statement about tables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableStatement {
    pub(crate) verb: Verb,
    /// Database, where it is said, and name.
    pub(crate) tables: Vec<Name>,
}

type Name = (Option<String>, String);

impl TableStatement {
    /// None for any other statement.
    pub(crate) fn read(sql: &str) -> Option<Self> {
        let mut words = Words { rest: sql };
        let verb = match words.next()?.keyword()?.as_str() {
            "CREATE" => Verb::Create,
            "ALTER" => Verb::Alter,
            "RENAME" => Verb::Rename,
            "DROP" => Verb::Drop,
            "TRUNCATE" => Verb::Truncate,
            _ => return None,
        };
        // What may stand between the verb and the name.
        let mut is_table = verb == Verb::Truncate;
        let mut word = words.next()?;
        while let Some(keyword) = word.keyword() {
            match keyword.as_str() {
                "TABLE" | "TABLES" => is_table = true,
                "OR" | "REPLACE" | "TEMPORARY" | "ONLINE" | "IGNORE" => {}
                "IF" | "NOT" | "EXISTS" if is_table => {}
                _ => break,
            }
            word = words.next()?;
        }
        if !is_table {
            return None;
        }
        let mut tables = Vec::new();
        loop {
            let (table, next) = words.table(word)?;
            tables.push(table);
            match (verb, next) {
                (Verb::Drop, Some(Word::Sign(','))) => word = words.next()?,
                (Verb::Rename, Some(next)) if next == Word::Sign(',') || next.keyword().is_some_and(|word| word == "TO") => {
                    word = words.next()?;
                }
                _ => return Some(Self { verb, tables }),
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Bare(String),
    Quoted(String),
    Sign(char),
}

impl Word {
    fn keyword(&self) -> Option<String> {
        match self {
            Self::Bare(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }
}

struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// A table's name that begins with this word, and the word behind it.
    fn table(&mut self, word: Word) -> Option<(Name, Option<Word>)> {
        let name = |word| match word {
            Word::Bare(name) | Word::Quoted(name) => Some(name),
            Word::Sign(_) => None,
        };
        let first = name(word)?;
        match self.next() {
            Some(Word::Sign('.')) => {
                let table = name(self.next()?)?;
                Some(((Some(first), table), self.next()))
            }
            next => Some(((None, first), next)),
        }
    }

    /// Without spaces and comments; what stands in a comment for certain versions counts.
    fn skip(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            self.rest = if let Some(inside) = rest.strip_prefix("/*!").or_else(|| rest.strip_prefix("/*M!")) {
                inside.trim_start_matches(|c: char| c.is_ascii_digit())
            } else if rest.starts_with("/*") {
                rest.split_once("*/").map_or("", |(_, rest)| rest)
            } else if let Some(rest) = rest.strip_prefix("*/") {
                rest
            } else if rest.starts_with("-- ") || rest.starts_with('#') {
                rest.split_once('\n').map_or("", |(_, rest)| rest)
            } else {
                self.rest = rest;
                return;
            };
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        self.skip();
        let first = self.rest.chars().next()?;
        if first == '`' || first == '"' {
            let mut name = String::new();
            let mut rest = self.rest.get(1..)?;
            loop {
                let (part, behind) = rest.split_once(first)?;
                name.push_str(part);
                rest = behind;
                // Two of them stand for one.
                match rest.strip_prefix(first) {
                    Some(behind) => rest = behind,
                    None => break,
                }
                name.push(first);
            }
            self.rest = rest;
            return Some(Word::Quoted(name));
        }
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(if end == 0 { first.len_utf8() } else { end });
        self.rest = rest;
        Some(if end == 0 { Word::Sign(first) } else { Word::Bare(word.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn statements_about_tables_are_recognised() {
        for (sql, verb, tables) in [
            ("TRUNCATE TABLE orders", Verb::Truncate, "orders"),
            ("truncate `shop`.`or``ders`", Verb::Truncate, "shop.or`ders"),
            ("/* gh-ost */ alter table orders add column x int", Verb::Alter, "orders"),
            ("ALTER /*!50000 ONLINE */ TABLE \"orders\" ADD x INT", Verb::Alter, "orders"),
            ("CREATE TABLE IF NOT EXISTS größe(id int)", Verb::Create, "größe"),
            ("create or replace table t like u", Verb::Create, "t"),
            ("-- why\nDROP TABLE IF EXISTS a, b.c /* generated by server */", Verb::Drop, "a b.c"),
            (
                "RENAME TABLE orders TO _orders_del, shop._orders_gho TO orders",
                Verb::Rename,
                "orders _orders_del shop._orders_gho orders",
            ),
        ] {
            let read = TableStatement::read(sql).unwrap_or_else(|| panic!("{sql}"));
            let name = |(database, table): &Name| match database {
                Some(database) => format!("{database}.{table}"),
                None => table.clone(),
            };
            let names: Vec<String> = read.tables.iter().map(name).collect();
            assert_eq!((read.verb, names.join(" ").as_str()), (verb, tables), "{sql}");
        }
        for sql in [
            "BEGIN",
            "create user u identified by 'x'",
            "ALTER DATABASE d",
            "create index i on orders (x)",
            "drop",
            "",
        ] {
            assert_eq!(TableStatement::read(sql), None, "{sql}");
        }
    }
}
