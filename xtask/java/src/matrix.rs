//! The matrix in `docs/compatibility.md`: a table for each kind of message, each call by transport.

use std::fmt::Write as _;

use openconnect_testkit::Result;

const BEGIN: &str = "<!-- Written by `cargo xtask java --write`. -->\n";
const END: &str = "<!-- End of what is written. -->\n";
/// What stands where the SDK has no such call.
const NONE: &str = "–";

/// One check that passed.
struct Seen {
    call: String,
    transport: String,
    kind: String,
    /// `works`, or how it differs.
    how: String,
}

/// The lines of the program, in its order.
#[derive(Default)]
pub(crate) struct Matrix {
    seen: Vec<Seen>,
    failed: usize,
}

impl Matrix {
    /// Takes a line: `ok call | transport | kind`, with how it differs as a fourth part, or `FAILED …`.
    pub(crate) fn add(&mut self, line: &str) {
        if line.starts_with("FAILED ") {
            self.failed += 1;
        }
        let Some(check) = line.strip_prefix("ok ") else { return };
        let mut parts = check.split(" | ").map(str::to_owned);
        if let (Some(call), Some(transport), Some(kind)) = (parts.next(), parts.next(), parts.next()) {
            let how = parts.next().map_or_else(|| "works".to_owned(), |how| format!("differs: {how}"));
            self.seen.push(Seen {
                call,
                transport,
                kind,
                how,
            });
        }
    }

    pub(crate) fn passed(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// The page with this matrix between its two marks.
    pub(crate) fn put_into(&self, page: &str) -> Result<String> {
        let marks = page
            .split_once(BEGIN)
            .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = marks.ok_or("the page has lost the marks between which the matrix stands")?;
        Ok(format!("{before}{BEGIN}{}\n{END}{after}", self.tables()))
    }

    fn tables(&self) -> String {
        let transports = distinct(self.seen.iter().map(|seen| seen.transport.as_str()));
        let mut out = String::new();
        for kind in distinct(self.seen.iter().map(|seen| seen.kind.as_str())) {
            let _ = writeln!(out, "\n### {kind}\n\n| call | {} |", transports.join(" | "));
            let _ = writeln!(out, "|---{}|", "|---".repeat(transports.len()));
            let of_kind = || self.seen.iter().filter(|seen| seen.kind == kind);
            for call in distinct(of_kind().map(|seen| seen.call.as_str())) {
                let cells = transports.iter().map(|transport| {
                    let cell = of_kind().find(|seen| seen.call == call && seen.transport == *transport);
                    cell.map_or(NONE, |seen| seen.how.as_str())
                });
                let _ = writeln!(out, "| {call} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
        }
        out
    }
}

/// Each once, in the order of its first appearance.
fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for one in all {
        if !out.contains(&one) {
            out.push(one);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_page_is_stale_until_it_says_what_was_seen() {
        let mut matrix = Matrix::default();
        for line in [
            "ok publish | TCP | CloudEvents",
            "ok publish | gRPC | CloudEvents | slowly",
            "ok batch | gRPC | CloudEvents",
            "ok publish | TCP | OpenMessage | sends nothing",
            "FAILED subscribe | TCP | CloudEvents | nothing came",
            "java sdk: 4 passed, 1 failed",
        ] {
            matrix.add(line);
        }
        assert_eq!((matrix.passed(), matrix.failed()), (4, 1));
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        let fresh = matrix.put_into(&page).unwrap();
        assert_eq!(
            fresh,
            format!(
                "before\n{BEGIN}\n### CloudEvents\n\n| call | TCP | gRPC |\n|---|---|---|\n\
                 | publish | works | differs: slowly |\n| batch | – | works |\n\n\
                 ### OpenMessage\n\n| call | TCP | gRPC |\n|---|---|---|\n\
                 | publish | differs: sends nothing | – |\n\n{END}after\n"
            )
        );
        assert_eq!(matrix.put_into(&fresh).unwrap(), fresh);
        assert!(matrix.put_into("no marks").is_err());
    }
}
