//! Did everything arrive, unaltered, in order per key?

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use ring::digest::{SHA256, digest};

/// Identifies content.
pub type Hash = [u8; 32];

/// Hash of content.
pub fn hash(content: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, content).as_ref());
    hash
}

/// One event that the sender was told to be safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The event's id.
    pub id: String,
    /// Its key.
    pub key: String,
    /// Its number within the key, from 1 upwards.
    pub number: u64,
    /// Hash of its data.
    pub hash: Hash,
}

/// One event that the target got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The event's id.
    pub id: String,
    /// Hash of its data.
    pub hash: Hash,
}

/// What the comparison gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Events sent and confirmed.
    pub sent: usize,
    /// Different events that arrived.
    pub delivered: usize,
    /// Arrivals beyond the first of each event.
    pub repeated: usize,
    /// Confirmed events that never arrived.
    pub missing: Vec<String>,
    /// Events whose content is not what was sent.
    pub altered: Vec<String>,
    /// Events whose first arrival was after that of a later one of the same key.
    pub out_of_order: Vec<String>,
    /// Arrivals that nobody sent.
    pub unknown: Vec<String>,
}

impl Verdict {
    /// Nothing missing, altered, unknown or out of order?
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.altered.is_empty() && self.out_of_order.is_empty() && self.unknown.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = |ids: &[String]| ids.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        write!(f, "sent {}, delivered {}, repeated {}", self.sent, self.delivered, self.repeated)?;
        for (name, ids) in [
            ("missing", &self.missing),
            ("altered", &self.altered),
            ("out of order per key", &self.out_of_order),
            ("unknown", &self.unknown),
        ] {
            write!(f, ", {name} {}", ids.len())?;
            if !ids.is_empty() {
                write!(f, " ({} …)", few(ids))?;
            }
        }
        Ok(())
    }
}

/// Compares what was confirmed with what arrived, in the order of arrival. `may_arrive` are events that were sent and whose
/// confirmation got lost: they may arrive.
pub fn judge(sent: &[Sent], may_arrive: &[Sent], arrived: &[Arrived]) -> Verdict {
    let known: HashMap<&str, &Sent> = sent.iter().chain(may_arrive).map(|sent| (sent.id.as_str(), sent)).collect();
    let mut verdict = Verdict {
        sent: sent.len(),
        ..Verdict::default()
    };
    let mut seen = HashSet::new();
    let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
    for arrival in arrived {
        let Some(sent) = known.get(arrival.id.as_str()) else {
            verdict.unknown.push(arrival.id.clone());
            continue;
        };
        if sent.hash != arrival.hash {
            verdict.altered.push(arrival.id.clone());
        }
        if !seen.insert(arrival.id.as_str()) {
            verdict.repeated += 1;
            continue;
        }
        let latest = latest.entry(&sent.key).or_default();
        if sent.number < *latest {
            verdict.out_of_order.push(arrival.id.clone());
        }
        *latest = sent.number.max(*latest);
    }
    verdict.delivered = seen.len();
    verdict.missing = sent
        .iter()
        .filter(|sent| !seen.contains(sent.id.as_str()))
        .map(|sent| sent.id.clone())
        .collect();
    verdict
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sent(key: &str, number: u64) -> Sent {
        Sent {
            id: format!("{key}-{number}"),
            key: key.to_owned(),
            number,
            hash: hash(&number.to_le_bytes()),
        }
    }

    fn arrived(sent: &Sent) -> Arrived {
        Arrived {
            id: sent.id.clone(),
            hash: sent.hash,
        }
    }

    #[test]
    fn repeats_are_counted_and_harmless() {
        let all = [sent("a", 1), sent("a", 2), sent("b", 1)];
        let verdict = judge(&all, &[], &[arrived(&all[0]), arrived(&all[2]), arrived(&all[1]), arrived(&all[0])]);
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!((verdict.delivered, verdict.repeated), (3, 1));
    }

    #[test]
    fn every_fault_is_found() {
        let all = [sent("a", 1), sent("a", 2), sent("a", 3)];
        let altered = Arrived {
            hash: hash(b"other"),
            ..arrived(&all[2])
        };
        let unknown = Arrived {
            id: "who".to_owned(),
            hash: hash(b""),
        };
        let verdict = judge(&all, &[], &[altered, arrived(&all[1]), unknown]);
        assert_eq!(verdict.missing, ["a-1"]);
        assert_eq!(verdict.altered, ["a-3"]);
        assert_eq!(verdict.out_of_order, ["a-2"]);
        assert_eq!(verdict.unknown, ["who"]);
        assert!(!verdict.is_clean());
    }
}
