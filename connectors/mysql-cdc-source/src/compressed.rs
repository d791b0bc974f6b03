//! MariaDB's compression: events of the log (`log_bin_compress`), and columns (`COMPRESSED`).

use std::borrow::Cow;
use std::io::{self, Read as _};

use flate2::read::{DeflateDecoder, ZlibDecoder};
use mysql_async::binlog::BinlogVersion;
use mysql_async::binlog::events::{BinlogEventHeader, Event};

/// More bytes than a server sends in a packet.
const MAX_BYTES: u64 = 1 << 30;

const QUERY_COMPRESSED: u8 = 165;
const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
const WRITE_ROWS_COMPRESSED: u8 = 169;
const DELETE_ROWS_COMPRESSED: u8 = 171;

const QUERY: u8 = 2;
const WRITE_ROWS_V1: u8 = 23;
const WRITE_ROWS: u8 = 30;

/// The event as it would be in the log without compression.
pub(crate) fn plain_event(event: &Event) -> io::Result<Cow<'_, Event>> {
    let kind = event.header().event_type_raw();
    let (plain, head) = match kind {
        QUERY_COMPRESSED => (QUERY, query_head(event.data())),
        WRITE_ROWS_COMPRESSED_V1..WRITE_ROWS_COMPRESSED => {
            let plain = WRITE_ROWS_V1 + (kind - WRITE_ROWS_COMPRESSED_V1);
            (plain, rows_head(event.data(), 0, plain == WRITE_ROWS_V1 + 1))
        }
        WRITE_ROWS_COMPRESSED..=DELETE_ROWS_COMPRESSED => {
            let plain = WRITE_ROWS + (kind - WRITE_ROWS_COMPRESSED);
            let extra = number(event.data(), 8, 2).unwrap_or(0);
            (plain, rows_head(event.data(), extra, plain == WRITE_ROWS + 1))
        }
        _ => return Ok(Cow::Borrowed(event)),
    };
    let (head, packed) = head
        .and_then(|head| event.data().split_at_checked(head))
        .ok_or_else(|| wrong("an event ends in its head"))?;
    let unpacked = unpack_event(packed)?;
    let mut bytes = Vec::new();
    event.write(BinlogVersion::Version4, &mut bytes)?;
    let checksum = bytes.len() - BinlogEventHeader::LEN - event.data().len();
    bytes.truncate(BinlogEventHeader::LEN);
    let size = BinlogEventHeader::LEN + head.len() + unpacked.len() + checksum;
    let size = u32::try_from(size).map_err(|_| wrong("an event is too large"))?;
    if let Some(at) = bytes.get_mut(4) {
        *at = plain;
    }
    if let Some(at) = bytes.get_mut(9..13) {
        at.copy_from_slice(&size.to_le_bytes());
    }
    bytes.extend_from_slice(head);
    bytes.extend_from_slice(&unpacked);
    // Of what was compressed: nobody compares it with this.
    bytes.resize(bytes.len() + checksum, 0);
    Event::read(event.fde(), bytes.as_slice()).map(Cow::Owned)
}

/// Where the text of a statement begins: behind numbers, variables and the database's name.
fn query_head(data: &[u8]) -> Option<usize> {
    let database = usize::from(*data.get(8)?);
    Some(13 + number(data, 11, 2)? + database + 1)
}

/// Where rows begin: behind the table's number, what is beside it, and which columns there are, twice for an update.
fn rows_head(data: &[u8], extra: usize, is_update: bool) -> Option<usize> {
    let at = 8 + extra;
    let (columns, behind) = match *data.get(at)? {
        count @ 0..=250 => (usize::from(count), at + 1),
        252 => (number(data, at + 1, 2)?, at + 3),
        _ => return None,
    };
    Some(behind + columns.div_ceil(8) * if is_update { 2 } else { 1 })
}

/// A number of so many bytes, the lowest first.
fn number(data: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let digits = data.get(at..at + bytes)?.iter().rev();
    Some(digits.fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// A head (how, and the length in so many bytes), the length, and what is compressed.
fn unpack_event(packed: &[u8]) -> io::Result<Vec<u8>> {
    let (head, rest) = packed.split_first().ok_or_else(|| wrong("it is empty"))?;
    if head & 0xf0 != 0x80 {
        return Err(wrong("it is not zlib"));
    }
    let (length, rest) = length(rest, usize::from(head & 0x07))?;
    unpack(ZlibDecoder::new(rest), length)
}

/// The value of a column; empty ones are not compressed, and short ones may not be.
pub(crate) fn plain_value(value: Vec<u8>) -> io::Result<Vec<u8>> {
    let Some((head, rest)) = value.split_first() else {
        return Ok(value);
    };
    if *head == 0 {
        return Ok(rest.to_vec());
    }
    if head & 0xf0 != 0x80 {
        return Err(wrong("it is not zlib"));
    }
    let (length, rest) = length(rest, usize::from(head & 0x07))?;
    if head & 0x08 == 0 {
        unpack(ZlibDecoder::new(rest), length)
    } else {
        unpack(DeflateDecoder::new(rest), length)
    }
}

/// The length before what is compressed, the highest byte first.
fn length(data: &[u8], bytes: usize) -> io::Result<(u64, &[u8])> {
    let (digits, rest) = data.split_at_checked(bytes).ok_or_else(|| wrong("it ends in its length"))?;
    let length = digits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some((length, rest))
        .filter(|(length, _)| *length <= MAX_BYTES)
        .ok_or_else(|| wrong("it is too large"))
}

fn unpack(from: impl io::Read, length: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    from.take(length + 1).read_to_end(&mut out)?;
    if out.len() as u64 == length {
        Ok(out)
    } else {
        Err(wrong("it has another length than it says"))
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("what MariaDB has compressed can't be read: {what}"),
    )
}
