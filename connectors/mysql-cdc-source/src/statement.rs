//! The statements of the log. Those that concern tables are only recognised, never interpreted: each change brings the table as it is
//! (see `table.rs`). One that changes rows is not: its rows are not in the log. What is known to change none is a list.

/// What a statement of the log does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Table(TableStatement),
    /// A database goes with all its tables.
    DropDatabase(String),
    /// Rows are changed, and the log has the statement in their place.
    Rows(RowsStatement),
    /// Neither tables nor rows of tables are concerned.
    Harmless,
    /// It can't be said; the word that it begins with.
    Unknown(String),
}

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
    pub(crate) tables: Vec<Name>,
    /// Rows go or come with it, and no event of the log says which: what it does.
    pub(crate) untold: Option<String>,
}

/// A statement that changes rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowsStatement {
    pub(crate) verb: String,
    /// The one table that it changes; none where that can't be said.
    pub(crate) table: Option<Name>,
    /// All names in it, where the table can't be said.
    pub(crate) names: Vec<String>,
}

/// Database, where it is said, and name.
pub(crate) type Name = (Option<String>, String);

/// Statements that change neither tables nor rows of tables, by their first word.
const HARMLESS: [&str; 17] = [
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "FLUSH",
    "GRANT",
    "INSTALL",
    "OPTIMIZE",
    "RELEASE",
    "REPAIR",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "START",
    "UNINSTALL",
    "USE",
    "XA",
];
/// What is created, altered, renamed or dropped beside tables and databases, by the word that says so.
const OBJECTS: [&str; 24] = [
    "AGGREGATE",
    "ALGORITHM",
    "DEFINER",
    "EVENT",
    "FULLTEXT",
    "FUNCTION",
    "INDEX",
    "INSTANCE",
    "LOGFILE",
    "PACKAGE",
    "PROCEDURE",
    "RESOURCE",
    "ROLE",
    "SEQUENCE",
    "SERVER",
    "SPATIAL",
    "SQL",
    "TABLESPACE",
    "TRIGGER",
    "UNDO",
    "UNIQUE",
    "USER",
    "VIEW",
    "LIBRARY",
];
/// Words that may stand between INSERT, REPLACE, UPDATE, DELETE or LOAD and the table.
const BEFORE_TABLE: [&str; 12] = [
    "LOW_PRIORITY",
    "HIGH_PRIORITY",
    "DELAYED",
    "CONCURRENT",
    "QUICK",
    "IGNORE",
    "INTO",
    "FROM",
    "TABLE",
    "DATA",
    "XML",
    "LOCAL",
];

impl Statement {
    pub(crate) fn read(sql: &str) -> Self {
        let mut words = Words { rest: sql };
        let Some(first) = words.next() else {
            return Self::Harmless;
        };
        let first = first.keyword().unwrap_or_default();
        match first.as_str() {
            "CREATE" | "ALTER" | "RENAME" | "DROP" | "TRUNCATE" => Self::definition(sql, &first, words),
            "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" => Self::Rows(RowsStatement::read(first, words)),
            "WITH" | "SELECT" | "CALL" | "DO" | "VALUES" => Self::Rows(RowsStatement::of_any(first, words)),
            word if HARMLESS.contains(&word) => Self::Harmless,
            _ => Self::Unknown(first),
        }
    }

    fn definition(sql: &str, verb: &str, mut words: Words<'_>) -> Self {
        let is = |word: Word, wanted: &str| word.keyword().is_some_and(|word| word == wanted);
        if words
            .take_while(|word| word.keyword().is_none_or(|word| word != "TABLE"))
            .any(|word| is(word, "TEMPORARY"))
        {
            return Self::Harmless;
        }
        if let Some(table) = TableStatement::read(sql) {
            // Its rows would come as rows, unless the session logs statements.
            return if table.verb == Verb::Create && words.any(|word| is(word, "SELECT")) {
                Self::Rows(RowsStatement {
                    verb: "CREATE TABLE … SELECT".to_owned(),
                    table: table.tables.into_iter().next(),
                    names: Vec::new(),
                })
            } else {
                Self::Table(table)
            };
        }
        let object = words.by_ref().filter_map(|word| word.keyword()).find(|word| {
            !matches!(
                word.as_str(),
                "OR" | "REPLACE" | "IF" | "NOT" | "EXISTS" | "ONLINE" | "OFFLINE" | "TEMPORARY" | "PUBLIC"
            )
        });
        match object.as_deref() {
            Some("DATABASE" | "SCHEMA") if verb == "DROP" => words
                .find_map(|word| match word {
                    Word::Bare(word) if matches!(word.to_ascii_uppercase().as_str(), "IF" | "EXISTS") => None,
                    Word::Bare(name) | Word::Quoted(name) => Some(name),
                    Word::Text | Word::Sign(_) => None,
                })
                .map_or_else(|| Self::Unknown(verb.to_owned()), Self::DropDatabase),
            Some("DATABASE" | "SCHEMA") => Self::Harmless,
            Some(object) if OBJECTS.contains(&object) => Self::Harmless,
            _ => Self::Unknown(verb.to_owned()),
        }
    }
}

impl RowsStatement {
    /// INSERT, REPLACE, UPDATE, DELETE, LOAD DATA: most often of one table.
    fn read(verb: String, words: Words<'_>) -> Self {
        match Self::single(&verb, words) {
            Some(table) => Self {
                verb,
                table: Some(table),
                names: Vec::new(),
            },
            None => Self::of_any(verb, words),
        }
    }

    fn single(verb: &str, mut words: Words<'_>) -> Option<Name> {
        if verb == "LOAD" {
            // The file's name is before it.
            words.find(|word| word.keyword().is_some_and(|word| word == "INTO"))?;
        }
        let is_filler = |word: &Word| word.keyword().is_some_and(|word| BEFORE_TABLE.contains(&word.as_str()));
        let first = words.find(|word| !is_filler(word))?;
        let (table, next) = words.table(first)?;
        let next = next.and_then(|word| word.keyword());
        match (verb, next.as_deref()) {
            ("INSERT" | "REPLACE" | "LOAD", _) | ("UPDATE", Some("SET")) => Some(table),
            ("DELETE", None | Some("WHERE" | "ORDER" | "LIMIT" | "RETURNING")) => Some(table),
            _ => None,
        }
    }

    /// One that may concern any table.
    fn of_any(verb: String, words: Words<'_>) -> Self {
        let name = |word| match word {
            Word::Bare(name) | Word::Quoted(name) => Some(name),
            Word::Text | Word::Sign(_) => None,
        };
        Self {
            verb,
            table: None,
            names: words.filter_map(name).collect(),
        }
    }
}

impl TableStatement {
    /// None for any other statement.
    fn read(sql: &str) -> Option<Self> {
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
        let (mut is_table, mut replaces) = (verb == Verb::Truncate, false);
        let mut word = words.next()?;
        while let Some(keyword) = word.keyword() {
            match keyword.as_str() {
                "TABLE" | "TABLES" => is_table = true,
                "REPLACE" => replaces = true,
                "OR" | "ONLINE" | "IGNORE" => {}
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
                (verb, next) => {
                    let untold = match verb {
                        Verb::Drop => Some("DROP TABLE".to_owned()),
                        Verb::Create if replaces => Some("CREATE OR REPLACE TABLE".to_owned()),
                        Verb::Alter => words.moved_rows(next, &mut tables),
                        _ => None,
                    };
                    return Some(Self { verb, tables, untold });
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Bare(String),
    Quoted(String),
    /// A text in single quotes.
    Text,
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

#[derive(Clone, Copy)]
struct Words<'a> {
    rest: &'a str,
}

impl Words<'_> {
    /// A table's name that begins with this word, and the word behind it.
    fn table(&mut self, word: Word) -> Option<(Name, Option<Word>)> {
        let name = |word| match word {
            Word::Bare(name) | Word::Quoted(name) => Some(name),
            Word::Text | Word::Sign(_) => None,
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

    /// What an `ALTER TABLE` does with whole partitions or files of rows; the other table of it is added to `tables`.
    fn moved_rows(&mut self, next: Option<Word>, tables: &mut Vec<Name>) -> Option<String> {
        let mut before = next.as_ref().and_then(Word::keyword).unwrap_or_default();
        let mut found = None;
        while let Some(word) = self.next() {
            let Some(keyword) = word.keyword() else {
                before.clear();
                continue;
            };
            match (before.as_str(), keyword.as_str()) {
                ("TRUNCATE" | "DROP" | "EXCHANGE" | "DISCARD" | "IMPORT" | "CONVERT", "PARTITION")
                | ("DISCARD" | "IMPORT", "TABLESPACE")
                | ("CONVERT", "TABLE") => found = Some(format!("ALTER TABLE … {before} {keyword}")),
                _ => {}
            }
            if found.is_some()
                && keyword == "TABLE"
                && let Some((table, _)) = self.next().and_then(|word| self.table(word))
            {
                tables.push(table);
            }
            before = keyword;
        }
        found
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
        if first == '\'' {
            let mut rest = self.rest.get(1..)?.char_indices();
            // A backslash, or two marks, stand for one that does not end it; where the server takes backslashes as they are, a
            // text may seem longer than it is, never shorter.
            while let Some((_, c)) = rest.next() {
                match c {
                    '\\' => drop(rest.next()),
                    '\'' => break,
                    _ => {}
                }
            }
            self.rest = rest.as_str();
            return Some(Word::Text);
        }
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
            let Statement::Table(read) = Statement::read(sql) else {
                panic!("{sql}")
            };
            let names: Vec<String> = read.tables.iter().map(text).collect();
            assert_eq!((read.verb, names.join(" ").as_str()), (verb, tables), "{sql}");
        }
    }

    fn text((database, table): &Name) -> String {
        match database {
            Some(database) => format!("{database}.{table}"),
            None => table.clone(),
        }
    }

    #[test]
    fn statements_that_move_rows_without_a_word_are_recognised() {
        for (sql, what, tables) in [
            ("alter table t truncate partition p0, p1", "ALTER TABLE … TRUNCATE PARTITION", "t"),
            ("ALTER TABLE s.t DROP PARTITION p0", "ALTER TABLE … DROP PARTITION", "s.t"),
            (
                "alter table t exchange partition p with table s.`other` without validation",
                "ALTER TABLE … EXCHANGE PARTITION",
                "t s.other",
            ),
            (
                "alter table t discard partition p tablespace",
                "ALTER TABLE … DISCARD PARTITION",
                "t",
            ),
            ("alter table t import tablespace", "ALTER TABLE … IMPORT TABLESPACE", "t"),
            (
                "alter table t convert partition p to table x",
                "ALTER TABLE … CONVERT PARTITION",
                "t x",
            ),
            (
                "alter table t convert table x to partition p values less than (5)",
                "ALTER TABLE … CONVERT TABLE",
                "t x",
            ),
            ("create or replace table t (id int)", "CREATE OR REPLACE TABLE", "t"),
            ("drop table a, b", "DROP TABLE", "a b"),
        ] {
            let Statement::Table(read) = Statement::read(sql) else {
                panic!("{sql}")
            };
            let names: Vec<String> = read.tables.iter().map(text).collect();
            assert_eq!((read.untold.as_deref(), names.join(" ").as_str()), (Some(what), tables), "{sql}");
        }
        for sql in [
            "alter table t add column `drop` int comment 'drop partition p'",
            "alter table t add partition (partition p2 values less than (30))",
            "create table t (id int comment 'select')",
        ] {
            let Statement::Table(read) = Statement::read(sql) else {
                panic!("{sql}")
            };
            assert_eq!(read.untold, None, "{sql}");
        }
    }

    #[test]
    fn statements_that_change_rows_name_their_table_where_it_is_one() {
        for (sql, verb, table) in [
            ("insert into t values (2, 'from other')", "INSERT", Some("t")),
            ("INSERT IGNORE s.t select * from u", "INSERT", Some("s.t")),
            (
                "replace into percona.checksums (a) select count(*) from shop.orders",
                "REPLACE",
                Some("percona.checksums"),
            ),
            ("update low_priority t set a = 1", "UPDATE", Some("t")),
            ("update t, u set t.a = 1", "UPDATE", None),
            ("update t as x set a = 1", "UPDATE", None),
            ("delete from `t` where id = 1", "DELETE", Some("t")),
            ("delete from t", "DELETE", Some("t")),
            ("delete t from t join u using (id)", "DELETE", None),
            ("load data local infile 'into table x' ignore into table t (a)", "LOAD", Some("t")),
            ("with c as (select 1) update t set a = 2", "WITH", None),
            ("SELECT `d`.`f`()", "SELECT", None),
            ("create table t select * from u", "CREATE TABLE … SELECT", Some("t")),
        ] {
            let Statement::Rows(read) = Statement::read(sql) else {
                panic!("{sql}")
            };
            assert_eq!(
                (read.verb.as_str(), read.table.as_ref().map(text).as_deref()),
                (verb, table),
                "{sql}"
            );
        }
        let Statement::Rows(read) = Statement::read("update t, shop.u set t.a = 1") else {
            panic!()
        };
        assert!(read.names.contains(&"shop".to_owned()), "{read:?}");
    }

    #[test]
    fn what_is_known_is_harmless_and_nothing_else_is() {
        for sql in [
            "BEGIN",
            "create user u identified by 'x'",
            "create temporary table t select 1",
            "DROP TEMPORARY TABLE IF EXISTS `t` /* generated by server */",
            "ALTER DATABASE d",
            "create index i on orders (x)",
            "create definer = `a`@`%` sql security invoker view v as select 1",
            "CREATE OR REPLACE ALGORITHM=UNDEFINED DEFINER=`a`@`b` VIEW v AS SELECT 1",
            "create definer=root@localhost trigger tr after insert on t for each row delete from u",
            "create or replace sequence s",
            "drop view if exists v",
            "rename user a to b",
            "grant select on *.* to u",
            "# a comment alone",
            "",
        ] {
            assert_eq!(Statement::read(sql), Statement::Harmless, "{sql}");
        }
        for (sql, word) in [
            ("drop", "DROP"),
            ("frobnicate all rows", "FROBNICATE"),
            ("create thing x", "CREATE"),
            ("(select 1)", ""),
        ] {
            assert_eq!(Statement::read(sql), Statement::Unknown(word.to_owned()), "{sql}");
        }
        for sql in ["drop database shop", "DROP SCHEMA IF EXISTS `shop`"] {
            assert_eq!(Statement::read(sql), Statement::DropDatabase("shop".to_owned()), "{sql}");
        }
    }
}
