//! The tags of a template: what may stand in them, and what is added to them before they are compiled.
//!
//! Tags are found as minijinja finds them: a tag ends where its quotes and brackets are closed, so nothing is a tag that it does not
//! take for one, and the other way round.

use super::{expressions, filters};

/// Bytes of a template's text.
const MAX_TEXT_BYTES: usize = 4 << 10;
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// The text that minijinja compiles: `{% for x in LIST %}` has become `{% for x in (LIST) | each(n) %}`, where n is how often the
/// loop's body names `x`; and where a tag compares or calculates, each operand is followed by `| calculable`.
///
/// # Errors
///
/// What the template holds that templates don't have.
pub(super) fn prepare(text: &str) -> Result<String, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!("it is longer than {} KiB", MAX_TEXT_BYTES >> 10));
    }
    let tags = tags(text);
    let mut insertions = Vec::new();
    let mut in_loop = false;
    for (at, tag) in tags.iter().enumerate() {
        refuse(tag)?;
        expressions::check(&tag.code, &text[tag.start..])?;
        match tag.statement() {
            Some("for") if in_loop => return Err("it has a `for` inside a `for`; make one list of them in a jq step".to_owned()),
            Some("for") => {
                in_loop = true;
                let head = LoopHead::parse(tag)?;
                let uses = uses(&tags[at + 1..], head.variable);
                let start = tag.start + head.list.start;
                insertions.push((start, "(".to_owned()));
                insertions.extend(calculable(&tag.code[head.list.clone()], start));
                insertions.push((tag.start + head.list.end, format!(") | {}({uses}) ", filters::BOUND)));
            }
            Some("endfor") => in_loop = false,
            _ => insertions.extend(calculable(&tag.code, tag.start)),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, inserted) in insertions {
        out.push_str(&text[copied..at]);
        out.push_str(&inserted);
        copied = at;
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// What is added to code that begins at `start`: its operands become numbers where it compares or calculates.
fn calculable(code: &str, start: usize) -> impl Iterator<Item = (usize, String)> {
    let ends = expressions::operands(code).into_iter();
    ends.map(move |end| (start + end, format!(" | {} ", filters::CALCULABLE)))
}

/// How often the body of a loop, which the tags begin with, names `variable`.
fn uses(tags: &[Tag], variable: &str) -> usize {
    let body = tags.iter().take_while(|tag| tag.statement() != Some("endfor"));
    body.flat_map(|tag| words(&tag.code))
        .filter(|word| word.text == variable && word.before != Some('.'))
        .count()
}

fn refuse(tag: &Tag) -> Result<(), String> {
    if let Some(statement) = tag.statement()
        && !STATEMENTS.contains(&statement)
    {
        return Err(format!("it has `{statement}`; of statements there are only `if` and `for`"));
    }
    if let Some(operator) = tag.code.chars().find(|c| matches!(c, '~' | '+' | '*')) {
        return Err(format!(
            "it has the operator `{operator}`; write texts beside each other, and calculate in a jq step"
        ));
    }
    Ok(())
}

/// `{{ … }}` or `{% … %}`.
struct Tag {
    is_statement: bool,
    /// Where its code begins in the text.
    start: usize,
    /// Its code, with spaces for what is in quotes.
    code: String,
}

impl Tag {
    /// The word that says what a statement does.
    fn statement(&self) -> Option<&str> {
        let first = || words(&self.code).next().map_or("", |word| word.text);
        self.is_statement.then(first)
    }
}

/// `for VARIABLE in LIST`.
struct LoopHead<'a> {
    variable: &'a str,
    /// Where the list's expression is in the tag's code.
    list: std::ops::Range<usize>,
}

impl<'a> LoopHead<'a> {
    fn parse(tag: &'a Tag) -> Result<Self, String> {
        let form = || "a loop is `{% for name in list %}`".to_owned();
        let mut words = words(&tag.code).skip(1);
        let (Some(variable), Some(keyword)) = (words.next(), words.next()) else {
            return Err(form());
        };
        let between = &tag.code[variable.at + variable.text.len()..keyword.at];
        if keyword.text != "in" || !between.trim().is_empty() {
            return Err(form());
        }
        if words.any(|word| matches!(word.text, "if" | "recursive") && word.before != Some('.')) {
            return Err("a `for` has neither `if` nor `recursive`; write `{% if … %}` inside the loop".to_owned());
        }
        let start = keyword.at + keyword.text.len();
        let list = tag.code[start..].trim_end();
        let list = list.strip_suffix('-').unwrap_or(list);
        // A bracket that closes what the list did not open would end the parentheses around it.
        let mut depth = 0_isize;
        if list.chars().any(|c| {
            depth += nesting(c);
            depth < 0
        }) {
            return Err(form());
        }
        Ok(Self {
            variable: variable.text,
            list: start..start + list.len(),
        })
    }
}

fn tags(text: &str) -> Vec<Tag> {
    let (mut tags, mut at) = (Vec::new(), 0);
    while let Some((found, open)) = next_open(&text[at..]) {
        let start = at + found + open.len();
        let rest = &text[start..];
        let length = if open == "{#" {
            rest.find("#}").unwrap_or(rest.len())
        } else {
            let is_statement = open == "{%";
            let code = code(rest, if is_statement { "%}" } else { "}}" });
            let length = code.len();
            tags.push(Tag { is_statement, start, code });
            length
        };
        at = start + length + 2.min(rest.len() - length);
    }
    tags
}

fn next_open(text: &str) -> Option<(usize, &'static str)> {
    let opens = ["{{", "{%", "{#"].into_iter();
    opens.filter_map(|open| Some((text.find(open)?, open))).min()
}

/// The code of a tag up to its `close`, with spaces for what is in quotes; up to the end of the text where it is not closed.
fn code(rest: &str, close: &str) -> String {
    let mut code = String::new();
    let (mut quote, mut escaped, mut depth) = (None, false, 0);
    for (at, c) in rest.char_indices() {
        let Some(mark) = quote else {
            if depth == 0 && rest[at..].starts_with(close) {
                break;
            }
            depth += nesting(c);
            quote = matches!(c, '"' | '\'').then_some(c);
            code.push(c);
            continue;
        };
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => quote = None,
            _ => {}
        }
        match quote {
            Some(_) => code.extend(std::iter::repeat_n(' ', c.len_utf8())),
            None => code.push(c),
        }
    }
    code
}

pub(super) fn nesting(c: char) -> isize {
    match c {
        '(' | '[' | '{' => 1,
        ')' | ']' | '}' => -1,
        _ => 0,
    }
}

/// A name, keyword or number in a tag's code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// The characters beside it that are no spaces.
    pub(super) before: Option<char>,
    pub(super) after: Option<char>,
}

pub(super) fn words(code: &str) -> impl Iterator<Item = Word<'_>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let at = next + code[next..].find(is_part)?;
        let length = code[at..].find(|c| !is_part(c)).unwrap_or(code.len() - at);
        next = at + length;
        Some(Word {
            text: &code[at..next],
            at,
            before: code[..at].trim_end().chars().next_back(),
            after: code[next..].trim_start().chars().next(),
        })
    })
}
