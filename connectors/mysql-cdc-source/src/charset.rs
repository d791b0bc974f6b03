//! Text in the column's character set. What its codes mean the server itself is asked, so that a text of the log is what the server
//! would have given for it in a snapshot.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use encoding_rs::Encoding;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use openconnect_core::Failure;

use crate::server::failure;

/// The number of the collation that means bytes.
pub(crate) const BINARY: u16 = 63;

/// All bytes as numbers.
const BYTES: &str = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 255)";

/// Character sets by the numbers of their collations, as the server tells them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charsets {
    names: HashMap<u16, String>,
    codes: HashMap<String, Arc<Codes>>,
}

/// What the codes of a character set mean.
#[derive(Debug, Default)]
struct Codes {
    /// By the code's bytes as a number, the first one highest. Codes of more bytes begin with a byte that is none itself.
    characters: HashMap<u32, char>,
    /// ASCII is ASCII in it.
    ascii: bool,
}

impl Charsets {
    pub(crate) async fn load(connection: &mut Conn) -> Result<Self, Failure> {
        let collations: Vec<(u16, String)> = connection
            .query("SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL AND id < 65536")
            .await
            .map_err(failure)?;
        Ok(Self {
            names: collations.into_iter().collect(),
            codes: HashMap::new(),
        })
    }

    /// Asks the server for the codes of a character set that a table uses; nothing for those of Unicode.
    pub(crate) async fn learn(&mut self, connection: &mut Conn, name: &str) -> Result<(), Failure> {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_unicode(name) || !is_name || self.codes.contains_key(name) {
            return Ok(());
        }
        let converted = |code: &str| format!("CONVERT(CONVERT({code} USING {name}) USING utf8mb4)");
        let one = converted("CHAR(i USING binary)");
        let mut found: Vec<(u32, Option<String>)> = connection.query(format!("{BYTES} SELECT i, {one} FROM n")).await.map_err(failure)?;
        let is_of_one_byte: Option<u8> = connection
            .exec_first(
                "SELECT maxlen = 1 FROM information_schema.character_sets WHERE character_set_name = ?",
                (name,),
            )
            .await
            .map_err(failure)?;
        if is_of_one_byte != Some(1) {
            // Where it is the first of several, there is no character, or a mark in its place.
            found.retain(|(code, text)| *code == 0x3f || text.as_deref() != Some("?"));
            let two = converted("CONCAT(CHAR(a.i USING binary), CHAR(b.i USING binary))");
            let three = converted("CONCAT(CHAR(143 USING binary), CHAR(a.i USING binary), CHAR(b.i USING binary))");
            let sql = format!("{BYTES} SELECT a.i * 256 + b.i, {two} FROM n a, n b WHERE a.i > 128 AND b.i > 48");
            found.extend(connection.query::<(u32, Option<String>), _>(sql).await.map_err(failure)?);
            if matches!(name, "ujis" | "eucjpms") {
                let sql = format!("{BYTES} SELECT 9371648 + a.i * 256 + b.i, {three} FROM n a, n b WHERE a.i > 160 AND b.i > 160");
                found.extend(connection.query::<(u32, Option<String>), _>(sql).await.map_err(failure)?);
            }
        }
        let one = |(code, text): (u32, Option<String>)| {
            let text = text?;
            let mut characters = text.chars();
            Some((code, characters.next()?)).filter(|_| characters.next().is_none())
        };
        let characters: HashMap<u32, char> = found.into_iter().filter_map(one).collect();
        let ascii = (0..128).all(|code| characters.get(&code).copied() == char::from_u32(code));
        self.codes.insert(name.to_owned(), Arc::new(Codes { characters, ascii }));
        Ok(())
    }

    /// As [`text`](Self::text), without a copy where the bytes are the text.
    pub(crate) fn owned(&self, collation: u16, bytes: Vec<u8>) -> Option<String> {
        let name = self.name(collation);
        let ascii = || bytes.is_ascii() && self.codes.get(name).is_some_and(|codes| codes.ascii);
        if name.starts_with("utf8") || ascii() {
            return String::from_utf8(bytes).ok();
        }
        self.text(collation, &bytes).map(Cow::into_owned)
    }

    fn name(&self, collation: u16) -> &str {
        self.names.get(&collation).map_or("utf8mb4", String::as_str)
    }

    /// The text; none when the character set is not known, or the bytes are no text in it.
    pub(crate) fn text<'b>(&self, collation: u16, bytes: &'b [u8]) -> Option<Cow<'b, str>> {
        let name = self.name(collation);
        let encoding = match name {
            "utf8mb4" | "utf8mb3" | "utf8" | "ascii" => return std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            "utf32" => return utf32(bytes).map(Cow::Owned),
            "ucs2" | "utf16" => encoding_rs::UTF_16BE,
            "utf16le" => encoding_rs::UTF_16LE,
            name => match self.codes.get(name).map(|codes| codes.text(bytes)) {
                Some(Some(text)) => return Some(Cow::Owned(text)),
                Some(None) if name != "gb18030" => return None,
                // Codes of four bytes, and tables that are there no longer.
                _ => Encoding::for_label(label(name)?.as_bytes())?,
            },
        };
        encoding.decode_without_bom_handling_and_without_replacement(bytes)
    }
}

impl Codes {
    fn text(&self, mut bytes: &[u8]) -> Option<String> {
        let mut text = String::with_capacity(bytes.len());
        while !bytes.is_empty() {
            let code = |length: usize| {
                bytes
                    .get(..length)
                    .map(|code| code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte)))
            };
            let found = (1..=3).find_map(|length| Some((length, *self.characters.get(&code(length)?)?)));
            let (length, character) = found?;
            text.push(character);
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Some(text)
    }
}

fn is_unicode(name: &str) -> bool {
    matches!(
        name,
        "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "utf32" | "ucs2" | "utf16" | "utf16le" | "binary"
    )
}

/// MySQL's names of character sets, as the web knows them.
fn label(name: &str) -> Option<&'static str> {
    Some(match name {
        // MySQL's latin1 is the superset.
        "latin1" => "windows-1252",
        "latin2" => "iso-8859-2",
        "latin5" => "windows-1254",
        "latin7" => "iso-8859-13",
        "greek" => "iso-8859-7",
        "hebrew" => "iso-8859-8",
        "cp1250" => "windows-1250",
        "cp1251" => "windows-1251",
        "cp1256" => "windows-1256",
        "cp1257" => "windows-1257",
        "cp866" => "ibm866",
        "koi8r" => "koi8-r",
        "koi8u" => "koi8-u",
        "tis620" => "windows-874",
        "macroman" => "macintosh",
        "gbk" | "gb2312" => "gbk",
        "gb18030" => "gb18030",
        "big5" => "big5",
        "sjis" | "cp932" => "shift_jis",
        "ujis" | "eucjpms" => "euc-jp",
        "euckr" => "euc-kr",
        _ => return None,
    })
}

fn utf32(bytes: &[u8]) -> Option<String> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    rest.is_empty()
        .then(|| chunks.iter().map(|chunk| char::from_u32(u32::from_be_bytes(*chunk))).collect())
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_is_read_in_its_character_set() {
        let names = [(8, "latin1"), (28, "gbk"), (60, "utf32"), (3, "dec8"), (10, "swe7")];
        let mut charsets = Charsets {
            names: names.map(|(id, name)| (id, name.to_owned())).into(),
            ..Charsets::default()
        };
        assert_eq!(charsets.text(8, b"Gr\xf6\xdfe").unwrap(), "Größe");
        assert_eq!(charsets.text(28, b"\xd6\xd0\xce\xc4").unwrap(), "中文");
        assert_eq!(charsets.text(60, b"\0\0\0x").unwrap(), "x");
        assert!(charsets.text(3, b"x").is_none(), "not known");
        assert!(charsets.text(255, b"\xff").is_none(), "no UTF-8");
        let codes = Codes {
            characters: [(0x5b, 'Ä'), (0x41, 'A')].into(),
            ascii: false,
        };
        charsets.codes.insert("swe7".into(), Arc::new(codes));
        assert_eq!(
            charsets.owned(10, b"A[".to_vec()).unwrap(),
            "AÄ",
            "ASCII is not ASCII in each of them"
        );
    }
}
