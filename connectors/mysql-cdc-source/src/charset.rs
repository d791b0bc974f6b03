//! Text in the column's character set.

use std::borrow::Cow;
use std::collections::HashMap;

use encoding_rs::Encoding;

/// The number of the collation that means bytes.
pub(crate) const BINARY: u16 = 63;

/// Character sets by the numbers of their collations, as the server tells them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charsets {
    names: HashMap<u16, String>,
}

impl Charsets {
    pub(crate) fn new(collations: impl IntoIterator<Item = (u16, String)>) -> Self {
        Self {
            names: collations.into_iter().collect(),
        }
    }

    /// As [`text`](Self::text), without a copy where the bytes are the text.
    pub(crate) fn owned(&self, collation: u16, bytes: Vec<u8>) -> Option<String> {
        // In all character sets but those of wide units ASCII is ASCII.
        let wide = matches!(self.name(collation), "ucs2" | "utf16" | "utf16le" | "utf32");
        if self.name(collation).starts_with("utf8") || (bytes.is_ascii() && !wide) {
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
            name => Encoding::for_label(label(name)?.as_bytes())?,
        };
        encoding.decode_without_bom_handling_and_without_replacement(bytes)
    }
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
        let charsets = Charsets::new([(8, "latin1".into()), (28, "gbk".into()), (60, "utf32".into()), (3, "dec8".into())]);
        assert_eq!(charsets.text(8, b"Gr\xf6\xdfe").unwrap(), "Größe");
        assert_eq!(charsets.text(28, b"\xd6\xd0\xce\xc4").unwrap(), "中文");
        assert_eq!(charsets.text(60, b"\0\0\0x").unwrap(), "x");
        assert!(charsets.text(3, b"x").is_none(), "not known");
        assert!(charsets.text(255, b"\xff").is_none(), "no UTF-8");
    }
}
