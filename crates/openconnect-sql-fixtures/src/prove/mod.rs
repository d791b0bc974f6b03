//! Tables as inputs and outputs of the proof of delivery, for the SQL connectors.
//!
//! | module | what is in it |
//! |---|---|
//! | [`sqlite`] | an SQLite file that the JDBC sink writes to |
//! | [`tables`] | a table of a server that the JDBC sink writes to |
//! | [`rows`] | a table of a server that a source reads |

use openconnect_testkit::oracle::{Arrived, hash};
use serde_json::json;

pub mod rows;
pub mod sqlite;
pub mod tables;

/// A row's key, number and text. By what is in the row, not by its id: a repeat under another id is a repeat.
fn arrived(row: &[String]) -> Arrived {
    let [key, number, text] = row else {
        return Arrived {
            id: String::new(),
            hash: hash(&[]),
        };
    };
    let data = json!({ "key": key, "number": number.parse::<u64>().unwrap_or(0), "text": text });
    Arrived {
        id: format!("{key}-{number}"),
        hash: hash(data.to_string().as_bytes()),
    }
}
