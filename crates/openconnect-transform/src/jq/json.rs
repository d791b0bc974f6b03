//! Values from JSON and to JSON.

use std::fmt;

use hifijson::token::Lex as _;
use hifijson::{SliceLexer, Token, token};

use super::meter::{self, DEPTH, Limit, TEXT};
use super::value::{Array, Error, Kind, Object, Text, ValR, Value};

/// One value, from its text.
pub(super) fn parse(text: &str) -> ValR {
    let mut lexer = SliceLexer::new(text.as_bytes());
    let parsed = lexer.exactly_one(|token, lexer| read(token, lexer, 0));
    parsed
        .map(Value::from)
        .map_err(|error| Error::str(format_args!("cannot parse the text as JSON: {error}")))
}

fn read(token: Token, lexer: &mut SliceLexer<'_>, depth: u16) -> Result<Kind, hifijson::Error> {
    use hifijson::num::LexWrite as _;
    use hifijson::str::LexAlloc as _;
    meter::step();
    if depth > DEPTH {
        meter::stop(Limit::Depth);
    }
    Ok(match token {
        Token::Null => Kind::Null,
        Token::True => Kind::Bool(true),
        Token::False => Kind::Bool(false),
        Token::DigitOrMinus => {
            let (text, parts) = lexer.num_string()?;
            match text.parse() {
                // `-0` is no integer: it would lose its sign.
                Ok(number) if parts.is_int() && (number != 0 || text == "0") => Kind::Int(number),
                _ => Kind::Number(Text::new(text.to_owned())),
            }
        }
        Token::Quote => Kind::Text(Text::new(lexer.str_string()?.to_string())),
        Token::LSquare => {
            let mut array = Array::default();
            lexer.seq(Token::RSquare, |token, lexer| {
                array.push(read(token, lexer, depth + 1)?);
                Ok::<_, hifijson::Error>(())
            })?;
            Kind::Array(array.into())
        }
        Token::LCurly => {
            let mut object = Object::default();
            lexer.seq(Token::RCurly, |token, lexer| {
                let name = lexer.str_colon(token, |lexer| lexer.str_string().map_err(hifijson::Error::Str))?;
                let token = lexer.ws_token().ok_or(token::Expect::Value)?;
                object.insert(Text::new(name.to_string()), read(token, lexer, depth + 1)?);
                Ok::<_, hifijson::Error>(())
            })?;
            Kind::Object(object.into())
        }
        _ => Err(token::Expect::Value)?,
    })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.kind, &mut Bounded { to: f, left: TEXT })
    }
}

/// Shared values can be far larger as text than they are in memory.
struct Bounded<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl fmt::Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        meter::work(text.len());
        self.left = self.left.checked_sub(text.len()).unwrap_or_else(|| meter::stop(Limit::Text));
        self.to.write_str(text)
    }
}

fn write(kind: &Kind, out: &mut impl fmt::Write) -> fmt::Result {
    meter::step();
    match kind {
        Kind::Null => out.write_str("null"),
        Kind::Bool(value) => write!(out, "{value}"),
        Kind::Int(value) => write!(out, "{value}"),
        Kind::Float(value) if value.is_finite() => write!(out, "{value:?}"),
        Kind::Float(_) => out.write_str("null"),
        Kind::Number(text) => out.write_str(text),
        Kind::Text(text) => quote(text, out),
        Kind::Array(array) => {
            out.write_char('[')?;
            for (at, item) in array.iter().enumerate() {
                if at > 0 {
                    out.write_char(',')?;
                }
                write(item, out)?;
            }
            out.write_char(']')
        }
        Kind::Object(object) => {
            out.write_char('{')?;
            for (at, (name, value)) in object.iter().enumerate() {
                if at > 0 {
                    out.write_char(',')?;
                }
                quote(name, out)?;
                out.write_char(':')?;
                write(value, out)?;
            }
            out.write_char('}')
        }
    }
}

fn quote(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_char('"')?;
    for piece in text.split_inclusive(|c| c < ' ' || c == '\\' || c == '"') {
        let (plain, last) = match piece.char_indices().next_back() {
            Some((at, last)) if last < ' ' || last == '\\' || last == '"' => (&piece[..at], Some(last)),
            _ => (piece, None),
        };
        out.write_str(plain)?;
        match last {
            None => {}
            Some('\n') => out.write_str("\\n")?,
            Some('\r') => out.write_str("\\r")?,
            Some('\t') => out.write_str("\\t")?,
            Some(c @ ('\\' | '"')) => write!(out, "\\{c}")?,
            Some(c) => write!(out, "\\u{:04x}", u32::from(c))?,
        }
    }
    out.write_char('"')
}
