//! The expressions in a tag: what they may call, and which of their values are compared or calculated with.

use std::ops::RangeInclusive;

use super::filters::{FILTERS, TESTS, date_items};
use super::tags::{Word, nesting, words};

/// Checks that each filter and test exists and has the arguments that it takes, and that nothing else is called.
///
/// `code` is the tag's code with spaces for what is in quotes, `text` begins with the code as it is written.
///
/// # Errors
///
/// What does not exist or does not fit.
pub(super) fn check(code: &str, text: &str) -> Result<(), String> {
    let mut previous: [Option<Word<'_>>; 2] = [None, None];
    for word in words(code) {
        let is_test = match previous {
            [_, Some(is)] if is_keyword(is, "is") => word.text != "not",
            [Some(is), Some(not)] => is_keyword(is, "is") && is_keyword(not, "not"),
            _ => false,
        };
        let after = word.at + word.text.len();
        if word.before == Some('|') {
            let arguments = called("filter", &FILTERS, word.text, &code[after..])?;
            if word.text == "date" {
                check_date(arguments, &text[after..])?;
            }
        } else if is_test {
            called("test", &TESTS, word.text, &code[after..])?;
        } else if word.after == Some('(') && word.before == Some('.') {
            return Err(format!("it calls `{}`; values have no functions, only filters", word.text));
        } else if word.after == Some('(') && !KEYWORDS.contains(&word.text) {
            return Err(format!("it calls `{}`; there are no functions, only filters", word.text));
        }
        previous = [previous[1], Some(word)];
    }
    Ok(())
}

const KEYWORDS: [&str; 10] = ["and", "elif", "else", "for", "if", "in", "is", "not", "or", "recursive"];
const LITERALS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];

fn is_keyword(word: Word<'_>, keyword: &str) -> bool {
    word.text == keyword && word.before != Some('.')
}

/// The code of the arguments of what is called; none without parentheses.
fn called<'a>(kind: &str, table: &[(&str, RangeInclusive<usize>)], name: &str, after: &'a str) -> Result<&'a str, String> {
    let Some((_, takes)) = table.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        return Err(format!("there is no {kind} `{name}`; there are {}", known.join(", ")));
    };
    let arguments = arguments(after);
    let count = match arguments.trim() {
        "" => 0,
        _ => 1 + outermost(arguments).filter(|(_, c)| *c == ',').count(),
    };
    if takes.contains(&count) {
        return Ok(arguments);
    }
    let wanted = match (takes.start(), takes.end()) {
        (0, 0) => "no arguments".to_owned(),
        (least, most) if least == most => format!("arguments: {least}"),
        (least, most) => format!("arguments: {least} to {most}"),
    };
    Err(format!("the {kind} `{name}` takes {wanted}, not {count}"))
}

/// What is in the parentheses at the beginning.
fn arguments(code: &str) -> &str {
    let Some(inner) = code.trim_start().strip_prefix('(') else {
        return "";
    };
    let end = outermost(inner).find(|(_, c)| *c == ')').map_or(inner.len(), |(at, _)| at);
    &inner[..end]
}

/// The characters that are in no brackets of the code; a bracket that closes what the code did not open is one of them.
fn outermost(code: &str) -> impl Iterator<Item = (usize, char)> {
    let mut depth = 0_isize;
    code.char_indices().filter(move |(_, c)| {
        let outside = depth == 0;
        depth += nesting(*c);
        outside && nesting(*c) <= 0
    })
}

/// A date's format that is written in the template is checked before the first event.
fn check_date(arguments: &str, text: &str) -> Result<(), String> {
    let start = text.find('(').map_or(0, |at| at + 1);
    let argument = text.get(start..start + arguments.len()).unwrap_or_default().trim();
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| argument.strip_prefix(*quote)?.strip_suffix(*quote));
    quoted.map_or(Ok(()), |format| date_items(format).map(drop))
}

/// Where the operands of a tag that compares or calculates end: names with their members, elements and filters.
pub(super) fn operands(code: &str) -> Vec<usize> {
    if !calculates(code) {
        return Vec::new();
    }
    let mut ends = Vec::new();
    let (mut after, mut previous) = (0, None);
    for word in words(code) {
        let before = previous.replace(word);
        let is_test =
            before.is_some_and(|before: Word<'_>| is_keyword(before, "is") || is_keyword(before, "not") && is_test_negated(code, before));
        let names_value = word.at >= after
            && !is_test
            && !matches!(word.before, Some('.' | '|'))
            && word.after != Some('(')
            && !is_named_argument(code, word)
            && !word.text.starts_with(|c: char| c.is_ascii_digit())
            && !KEYWORDS.contains(&word.text)
            && !LITERALS.contains(&word.text);
        if names_value {
            after = operand_end(code, word.at + word.text.len());
            ends.push(after);
        }
    }
    ends
}

/// Is the `not` that of `is not`?
fn is_test_negated(code: &str, not: Word<'_>) -> bool {
    words(&code[..not.at]).last().is_some_and(|word| is_keyword(word, "is"))
}

fn is_named_argument(code: &str, word: Word<'_>) -> bool {
    let rest = code[word.at + word.text.len()..].trim_start();
    rest.starts_with('=') && !rest.starts_with("==")
}

/// Does it compare or calculate? A minus at an end of the tag is about white space, one behind another sign is part of a number.
fn calculates(code: &str) -> bool {
    let inner = code.strip_prefix('-').unwrap_or(code).trim_end();
    let inner = inner.strip_suffix('-').unwrap_or(inner);
    let compares = inner.contains(['<', '>', '/', '%']) || inner.contains("==") || inner.contains("!=");
    let subtracts = || {
        inner.match_indices('-').any(|(at, _)| {
            let before = inner[..at].trim_end().chars().next_back();
            before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ')' | ']' | '"' | '\''))
        })
    };
    compares || subtracts() || words(inner).any(|word| is_keyword(word, "in"))
}

/// The end of the members, elements and filters that follow a name.
fn operand_end(code: &str, mut end: usize) -> usize {
    loop {
        let rest = &code[end..];
        let spaces = rest.len() - rest.trim_start().len();
        let rest = rest.trim_start();
        let length = match rest.chars().next() {
            Some('.') => 1 + word_length(&rest[1..]),
            Some('[') => bracket_length(rest),
            Some('|') => {
                let name = 1 + word_length(&rest[1..]);
                let after = &rest[name..];
                match after.trim_start().starts_with('(') {
                    true => name + (after.len() - after.trim_start().len()) + bracket_length(after.trim_start()),
                    false => name,
                }
            }
            _ => return end,
        };
        end += spaces + length;
    }
}

/// The length of the word that comes next, with the spaces before it.
fn word_length(code: &str) -> usize {
    words(code).next().map_or(code.len(), |word| word.at + word.text.len())
}

/// The length of what the bracket at the beginning encloses, with both brackets.
fn bracket_length(code: &str) -> usize {
    outermost(&code[1..])
        .find(|(_, c)| nesting(*c) < 0)
        .map_or(code.len(), |(at, _)| 1 + at + 1)
}
