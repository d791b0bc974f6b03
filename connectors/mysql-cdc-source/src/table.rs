//! A table as the log describes it. With `binlog_row_metadata=FULL` every change comes with the names, types and keys that the
//! table had at that time: no history of schemas is needed, and no statement has to be understood.

use std::io;

use mysql_async::binlog::events::{OptionalMetaExtractor, OptionalMetadataField, TableMapEvent};
use mysql_async::consts::ColumnType;
use openconnect_change::{Column, Kind};
use openconnect_core::Failure;

use crate::charset::BINARY;
use crate::columns::{ColumnSettings, View};
use crate::server::unreadable;

/// A column in the log.
#[derive(Debug, Clone)]
pub(crate) struct LogColumn {
    pub(crate) ty: ColumnType,
    /// Lengths and digits, as the type has them.
    pub(crate) meta: Vec<u8>,
    pub(crate) unsigned: bool,
    /// The number of its collation.
    pub(crate) charset: u16,
    /// The texts of an enumeration or a set, in the column's character set.
    pub(crate) values: Vec<Vec<u8>>,
}

/// A table in the log.
#[derive(Debug, Clone)]
pub(crate) struct LogTable {
    pub(crate) database: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) log_columns: Vec<LogColumn>,
    /// Places of the primary key's columns.
    pub(crate) key: Vec<usize>,
    /// What is told of its rows.
    pub(crate) view: View,
}

impl LogTable {
    /// Reads the description. `json` names the columns that hold JSON though their type is text (MariaDB).
    pub(crate) fn read(event: &TableMapEvent<'_>, json: &[String], settings: &ColumnSettings) -> Result<Self, Failure> {
        let (columns, log_columns, key) = description(event, json).map_err(unreadable)?;
        let name = event.table_name().into_owned();
        Ok(Self {
            view: View::new(settings, &name, &columns, &key)?,
            database: event.database_name().into_owned(),
            name,
            columns,
            log_columns,
            key,
        })
    }
}

type Description = (Vec<Column>, Vec<LogColumn>, Vec<usize>);

fn description(event: &TableMapEvent<'_>, json: &[String]) -> io::Result<Description> {
    let count = usize::try_from(event.columns_count()).unwrap_or(0);
    let extractor = OptionalMetaExtractor::new(event.iter_optional_meta())?;
    let (mut charsets, mut choice_charsets) = (extractor.iter_charset(), extractor.iter_enum_and_set_charset());
    let mut names = extractor.iter_column_name();
    let mut signs = extractor.iter_signedness();
    let (mut enums, mut sets) = choices(event)?;
    let (mut columns, mut log_columns) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for at in 0..count {
        let ty = event
            .get_column_type(at)
            .map_err(io::Error::other)?
            .ok_or_else(|| wrong("a column has no type"))?;
        let name = names
            .next()
            .ok_or_else(|| wrong("it names no columns; set binlog_row_metadata=FULL"))??;
        let name = name.name().into_owned();
        let charset = if ty.is_character_type() {
            charsets.next().transpose()?.unwrap_or(BINARY)
        } else if ty.is_enum_or_set_type() {
            choice_charsets.next().transpose()?.unwrap_or(BINARY)
        } else {
            BINARY
        };
        let unsigned = ty.is_numeric_type() && signs.next().unwrap_or(false);
        let values = match ty {
            ColumnType::MYSQL_TYPE_ENUM => enums.next().unwrap_or_default(),
            ColumnType::MYSQL_TYPE_SET => sets.next().unwrap_or_default(),
            _ => Vec::new(),
        };
        let meta = event.get_column_metadata(at).unwrap_or_default().to_vec();
        let kind = if json.contains(&name) {
            Kind::Json
        } else {
            kind(ty, charset, &meta)
        };
        columns.push(Column {
            name,
            kind,
            type_name: type_name(ty),
            generated: false,
        });
        log_columns.push(LogColumn {
            ty,
            meta,
            unsigned,
            charset,
            values,
        });
    }
    let key = extractor
        .iter_primary_key()
        .map(|at| at.map(|at| usize::try_from(at).unwrap_or(usize::MAX)));
    Ok((columns, log_columns, key.collect::<io::Result<_>>()?))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the log's description of a table can't be used: {what}"),
    )
}

type Choices = std::vec::IntoIter<Vec<Vec<u8>>>;

/// The texts of the enumerations and of the sets, each in the order of their columns.
fn choices(event: &TableMapEvent<'_>) -> io::Result<(Choices, Choices)> {
    let (mut enums, mut sets) = (Vec::new(), Vec::new());
    for field in event.iter_optional_meta() {
        match field? {
            OptionalMetadataField::EnumStrValue(values) => {
                for column in values.iter_values() {
                    enums.push(column?.values().iter().map(|value| value.value_raw().to_vec()).collect());
                }
            }
            OptionalMetadataField::SetStrValue(values) => {
                for column in values.iter_values() {
                    sets.push(column?.values().iter().map(|value| value.value_raw().to_vec()).collect());
                }
            }
            _ => {}
        }
    }
    Ok((enums.into_iter(), sets.into_iter()))
}

/// The type, where its kind does not say enough: as the declaration has it.
fn type_name(ty: ColumnType) -> String {
    match ty {
        ColumnType::MYSQL_TYPE_GEOMETRY => "geometry".to_owned(),
        _ => String::new(),
    }
}

/// As the column's declaration would say it: events of the log look like those of a snapshot.
fn kind(ty: ColumnType, charset: u16, meta: &[u8]) -> Kind {
    use ColumnType as T;
    match ty {
        T::MYSQL_TYPE_TINY
        | T::MYSQL_TYPE_SHORT
        | T::MYSQL_TYPE_INT24
        | T::MYSQL_TYPE_LONG
        | T::MYSQL_TYPE_LONGLONG
        | T::MYSQL_TYPE_YEAR => Kind::Integer,
        T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL => Kind::Decimal,
        T::MYSQL_TYPE_FLOAT => Kind::Float,
        T::MYSQL_TYPE_DOUBLE => Kind::Double,
        T::MYSQL_TYPE_BIT => Kind::Bits {
            width: {
                let [bits, bytes] = [0, 1].map(|at| u32::from(meta.get(at).copied().unwrap_or(0)));
                bytes * 8 + bits
            },
        },
        T::MYSQL_TYPE_JSON => Kind::Json,
        T::MYSQL_TYPE_DATE | T::MYSQL_TYPE_NEWDATE => Kind::Date,
        T::MYSQL_TYPE_TIME | T::MYSQL_TYPE_TIME2 => Kind::Time,
        T::MYSQL_TYPE_DATETIME | T::MYSQL_TYPE_DATETIME2 => Kind::Timestamp,
        T::MYSQL_TYPE_TIMESTAMP | T::MYSQL_TYPE_TIMESTAMP2 => Kind::TimestampTz,
        T::MYSQL_TYPE_GEOMETRY | T::MYSQL_TYPE_VECTOR => Kind::Bytes,
        T::MYSQL_TYPE_ENUM | T::MYSQL_TYPE_SET => Kind::Text,
        _ if charset == BINARY => Kind::Bytes,
        _ => Kind::Text,
    }
}
