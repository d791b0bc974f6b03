//! The table of programs in the README, from the manifests.

use std::fmt::Write as _;

use crate::Result;
use crate::connectors::Connector;

const BEGIN: &str = "<!-- `cargo xtask docs` writes this table from the connectors' Cargo.toml. -->\n";
const END: &str = "<!-- End of the table. -->\n";

/// The README with the table between its two marks.
pub(super) fn page(readme: &str, connectors: &[Connector]) -> Result<String> {
    let outside = readme
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = outside.ok_or_else(|| format!("README.md has no table between `{}` and `{}`", BEGIN.trim(), END.trim()))?;
    let mut table = String::from("| binary | what it does |\n|---|---|\n");
    for connector in connectors {
        let Connector {
            name,
            package,
            description,
            ..
        } = connector;
        let _ = writeln!(table, "| [`{package}`](docs/connectors/{name}.md) | {description} |");
    }
    table.push_str("| `openconnect-mesh` | EventMesh's TCP and gRPC protocols for one machine, over a durable log |\n");
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_replaced_and_the_rest_stays() {
        let connector = Connector {
            name: "a-sink".to_owned(),
            package: "openconnect-a-sink".to_owned(),
            version: String::new(),
            description: "A sink: events to A".to_owned(),
            guarantee: String::new(),
            size: 1,
            variants: Vec::new(),
            folder: "connectors/a-sink".into(),
        };
        let fresh = page(&format!("before\n{BEGIN}old\n{END}after\n"), &[connector]).unwrap();
        assert!(
            fresh.starts_with("before\n") && fresh.ends_with("after\n") && !fresh.contains("old"),
            "{fresh}"
        );
        assert!(
            fresh.contains("| [`openconnect-a-sink`](docs/connectors/a-sink.md) | A sink: events to A |"),
            "{fresh}"
        );
        assert!(page("no marks", &[]).is_err());
    }
}
