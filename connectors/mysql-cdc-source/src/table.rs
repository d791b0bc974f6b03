//! A table as the log describes it. With `binlog_row_metadata=FULL` every change comes with the names, types and keys that the
//! table had at that time: no history of schemas is needed, and no statement has to be understood.

use std::io;

use mysql_async::binlog::events::{Event, OptionalMetaExtractor, OptionalMetadataField, TableMapEvent};
use mysql_async::consts::ColumnType;
use mysql_common::binlog::BinlogCtx;
use mysql_common::io::ParseBuf;
use mysql_common::proto::MyDeserialize as _;
use openconnect_change::{Column, Kind};
use openconnect_core::Failure;

use crate::catalog::Declared;
use crate::charset::BINARY;
use crate::columns::View;
use crate::context::Context;
use crate::server::unreadable;

/// MariaDB's types of `COMPRESSED` columns, and what they are without it.
const COMPRESSED: [(u8, ColumnType); 2] = [(140, ColumnType::MYSQL_TYPE_BLOB), (141, ColumnType::MYSQL_TYPE_VARCHAR)];

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
    /// What the log does not say of it.
    pub(crate) declared: Option<Declared>,
    /// Its values are compressed.
    pub(crate) compressed: bool,
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
    /// Reads the description.
    pub(crate) fn read(event: &Event, context: &Context<'_>) -> Result<Self, Failure> {
        let (data, compressed) = without_compression(event.data()).map_err(unreadable)?;
        let head = event.header();
        let cx = BinlogCtx::new(head.event_size() as usize, event.fde(), head.event_type_raw());
        let map = TableMapEvent::deserialize(cx, &mut ParseBuf(&data)).map_err(unreadable)?;
        let name = map.table_name().into_owned();
        let (columns, log_columns, key) = description(&map, &name, context, &compressed).map_err(unreadable)?;
        Ok(Self {
            view: View::new(&context.config.columns, &name, &columns, &key)?,
            database: context.about.database.clone(),
            name,
            columns,
            log_columns,
            key,
        })
    }

    pub(crate) fn is_sequence(&self) -> bool {
        self.key.is_empty() && self.columns.iter().map(|column| column.name.as_str()).eq(SEQUENCE)
    }
}

/// The columns of a sequence of MariaDB's, which the log has as a table.
const SEQUENCE: [&str; 8] = [
    "next_not_cached_value",
    "minimum_value",
    "maximum_value",
    "start_value",
    "increment",
    "cache_size",
    "cycle_option",
    "cycle_count",
];

type Description = (Vec<Column>, Vec<LogColumn>, Vec<usize>);

/// The description with plain types in place of compressed ones, and which columns had those.
fn without_compression(data: &[u8]) -> io::Result<(Vec<u8>, Vec<usize>)> {
    let mut data = data.to_vec();
    // A number of six bytes and flags, two names with their lengths and a zero each, the number of the columns, their types.
    let name = |at: usize| data.get(at).map(|length| at + usize::from(*length) + 2);
    let types = name(8).and_then(name).and_then(|at| {
        Some(match *data.get(at)? {
            count @ 0..=250 => (at + 1, usize::from(count)),
            252 => (at + 3, usize::from(*data.get(at + 1)?) | usize::from(*data.get(at + 2)?) << 8),
            _ => return None,
        })
    });
    let (at, count) = types.ok_or_else(|| wrong("it ends before its types"))?;
    let types = data.get_mut(at..at + count).ok_or_else(|| wrong("it ends in its types"))?;
    let mut compressed = Vec::new();
    for (place, ty) in types.iter_mut().enumerate() {
        if let Some((_, plain)) = COMPRESSED.iter().find(|(known, _)| known == ty) {
            *ty = *plain as u8;
            compressed.push(place);
        }
    }
    Ok((data, compressed))
}

fn description(event: &TableMapEvent<'_>, table: &str, context: &Context<'_>, compressed: &[usize]) -> io::Result<Description> {
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
        // For MySQL a vector has a character set too, for MariaDB geometry.
        let has_charset = ty.is_character_type() || ty.is_vector_type() || (context.about.mariadb && ty.is_geometry_type());
        let charset = if has_charset {
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
        let declared = context.catalog.declared(table, &name);
        columns.push(Column {
            kind: match declared {
                Some(Declared::Json) => Kind::Json,
                Some(Declared::Uuid | Declared::Inet4 | Declared::Inet6) => Kind::Text,
                None => kind(ty, charset, &meta),
            },
            name,
            type_name: type_name(ty),
            generated: false,
        });
        log_columns.push(LogColumn {
            ty,
            meta,
            unsigned,
            charset,
            values,
            declared,
            compressed: compressed.contains(&at),
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
        ColumnType::MYSQL_TYPE_VECTOR => "vector".to_owned(),
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
