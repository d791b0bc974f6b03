//! Connection strings, native and in `jdbc:` form.

use std::path::PathBuf;

/// What a connection string names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A SQLite file.
    Sqlite(PathBuf),
}

impl Target {
    /// Parses `sqlite:path`, `sqlite:///path`, `jdbc:sqlite:path`. The reason never repeats the string: it may hold a password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let native = url.strip_prefix("jdbc:").unwrap_or(url);
        let Some((scheme, rest)) = native.split_once(':') else {
            return Err("is no connection string; write sqlite:///path/file.db".into());
        };
        if scheme != "sqlite" {
            let known = ["postgresql", "postgres", "mysql", "mariadb", "oracle", "sqlserver"]
                .iter()
                .find(|name| **name == scheme);
            let name = known.map_or("this kind of database".to_owned(), |name| format!("`{name}`"));
            return Err(format!("{name} is not supported by this version; sqlite is"));
        }
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.contains('?') {
            return Err("has parameters; use the settings of this section instead".into());
        }
        if path.is_empty() || path == ":memory:" {
            return Err("must name a file: a database in memory is gone with the process".into());
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_and_jdbc_forms_name_the_same_file() {
        for url in ["sqlite:///tmp/a.db", "sqlite:/tmp/a.db", "jdbc:sqlite:/tmp/a.db"] {
            assert_eq!(Target::parse(url), Ok(Target::Sqlite("/tmp/a.db".into())), "{url}");
        }
        assert!(Target::parse("jdbc:postgresql://u:secret@h/d").is_err_and(|e| e.contains("postgresql") && !e.contains("secret")));
        assert!(Target::parse("sqlite::memory:").is_err());
    }
}
