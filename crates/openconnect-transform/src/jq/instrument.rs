//! Makes definitions tell the meter that they are called, and bounds what a program's text may be.
//!
//! `def f: body` becomes `def f: enter(body)`. That is enough: a program can go round without making a value only by
//! calling a definition, and the stack can grow further than the text is deep only so, too. It also means that no call is
//! a tail call, which jaq would keep in memory instead of on the stack, unmetered.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{Def, Pattern, Term};
use jaq_core::path::{Part, Path};

/// The definition that a user's program becomes.
pub(super) const PROGRAM: &str = "__program";
/// The function that reads the meter. No program can write this name.
pub(super) const ENTER: &str = "!enter";
/// Levels that a program's terms are in each other, where lists (of fields, path parts, arguments) count their items.
const NESTING: usize = 1_000;

/// The program's text has terms too deep in each other.
#[derive(Debug)]
pub(super) struct TooDeep;

/// A user's program: all its definitions are metered.
pub(super) fn program(mut term: Term<&str>) -> Result<Def<&str>, TooDeep> {
    meter(&mut term, 0)?;
    Ok(Def {
        name: PROGRAM,
        args: Vec::new(),
        body: enter(term),
    })
}

/// A definition of jq's library: metered where it can go round.
pub(super) fn library(mut def: Def<&str>) -> Def<&str> {
    meter_recursive(&mut def);
    def
}

fn enter(body: Term<&str>) -> Term<&str> {
    Term::Call(ENTER, vec![body])
}

fn meter(term: &mut Term<&str>, depth: usize) -> Result<(), TooDeep> {
    if depth > NESTING {
        return Err(TooDeep);
    }
    let mut result = Ok(());
    children(term, &mut |child, place| {
        if result.is_ok() {
            result = meter(child, depth + 1 + place);
        }
    });
    if let Term::Def(defs, _) = term {
        for def in defs {
            def.body = enter(std::mem::take(&mut def.body));
        }
    }
    result
}

fn meter_recursive(def: &mut Def<&str>) {
    nested(&mut def.body);
    if calls(&mut def.body, def.name, def.args.len()) {
        def.body = enter(std::mem::take(&mut def.body));
    }
}

fn nested(term: &mut Term<&str>) {
    if let Term::Def(defs, _) = term {
        defs.iter_mut().for_each(meter_recursive);
    }
    children(term, &mut |child, _| nested(child));
}

/// Definitions see themselves and what is before them: only one that names itself can go round.
fn calls(term: &mut Term<&str>, name: &str, arity: usize) -> bool {
    let mut found = match term {
        Term::Call(called, args) => *called == name && args.len() == arity,
        Term::Str(format, _) => *format == Some(name),
        _ => false,
    };
    children(term, &mut |child, _| found = found || calls(child, name, arity));
    found
}

/// The terms right below, each with its place in its list.
fn children<'s>(term: &mut Term<&'s str>, f: &mut dyn FnMut(&mut Term<&'s str>, usize)) {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) | Term::Arr(None) => {}
        Term::Arr(Some(inner)) | Term::Neg(inner) | Term::Label(_, inner) => f(inner, 0),
        Term::Str(_, parts) => parts.iter_mut().enumerate().for_each(|(at, part)| {
            if let StrPart::Term(inner) = part {
                f(inner, at);
            }
        }),
        Term::Obj(fields) => fields.iter_mut().enumerate().for_each(|(at, (name, value))| {
            f(name, at);
            value.iter_mut().for_each(|value| f(value, at));
        }),
        Term::Pipe(left, bound, right) => {
            f(left, 0);
            bound.iter_mut().for_each(|bound| in_pattern(bound, 0, f));
            f(right, 0);
        }
        Term::BinOp(left, _, right) => {
            f(left, 0);
            f(right, 0);
        }
        Term::Fold(_, over, bound, args) => {
            f(over, 0);
            in_pattern(bound, 0, f);
            args.iter_mut().for_each(|arg| f(arg, 0));
        }
        Term::TryCatch(tried, caught) => {
            f(tried, 0);
            caught.iter_mut().for_each(|caught| f(caught, 0));
        }
        Term::IfThenElse(branches, other) => {
            let count = branches.len();
            branches.iter_mut().enumerate().for_each(|(at, (condition, then))| {
                f(condition, at);
                f(then, at);
            });
            other.iter_mut().for_each(|other| f(other, count));
        }
        Term::Def(defs, body) => {
            defs.iter_mut().for_each(|def| f(&mut def.body, def.args.len()));
            f(body, 0);
        }
        Term::Call(_, args) => args.iter_mut().enumerate().for_each(|(at, arg)| f(arg, at)),
        Term::Path(base, Path(parts)) => {
            f(base, parts.len());
            parts.iter_mut().enumerate().for_each(|(at, (part, _))| match part {
                Part::Index(index) => f(index, at),
                Part::Range(from, upto) => from.iter_mut().chain(upto).for_each(|bound| f(bound, at)),
            });
        }
    }
}

fn in_pattern<'s>(pattern: &mut Pattern<&'s str>, depth: usize, f: &mut dyn FnMut(&mut Term<&'s str>, usize)) {
    match pattern {
        Pattern::Var(_) => {}
        Pattern::Arr(items) => items
            .iter_mut()
            .enumerate()
            .for_each(|(at, item)| in_pattern(item, depth + 1 + at, f)),
        Pattern::Obj(fields) => fields.iter_mut().enumerate().for_each(|(at, (name, value))| {
            f(name, depth + at);
            in_pattern(value, depth + 1 + at, f);
        }),
    }
}
