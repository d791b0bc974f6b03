//! Statements and their parameters.

/// A statement's parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `NULL`.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A 64-bit integer of MySQL's.
    Unsigned(u64),
    /// A double.
    Real(f64),
    /// A text; also what the database shall read as something else.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// PostgreSQL's `text[]`.
    Texts(Vec<Option<String>>),
    /// PostgreSQL's `bytea[]`.
    ByteStrings(Vec<Option<Vec<u8>>>),
}

impl Value {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) | Self::Unsigned(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Texts(all) => all.iter().flatten().map(String::len).sum(),
            Self::ByteStrings(all) => all.iter().flatten().map(Vec::len).sum(),
        }
    }
}

/// One statement with its parameters in order. Names in it are quoted ([`Dialect::quote`](crate::Dialect::quote)), values are parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// Its parameters.
    pub values: Vec<Value>,
}

impl Statement {
    /// A statement.
    pub fn new(sql: impl Into<String>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }
}
