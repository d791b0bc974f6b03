//! Sets of global transaction identifiers, as MySQL writes them: `uuid:1-5:7,uuid:tag:1`.

use std::collections::BTreeMap;
use std::fmt;

/// A set of transactions. The whole set is needed to go on: a server may have transactions of several origins, with gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GtidSet {
    /// By origin (with its tag): intervals, ascending, neither touching nor overlapping.
    origins: BTreeMap<String, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Reads one; none when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let mut parts = entry.split(':');
            let uuid = parts.next()?.trim().to_ascii_lowercase();
            let mut origin = uuid.clone();
            for part in parts {
                let part = part.trim();
                if !part.starts_with(|c: char| c.is_ascii_digit()) {
                    origin = format!("{uuid}:{part}");
                    continue;
                }
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                set.add_range(&origin, first.trim().parse().ok()?, last.trim().parse().ok()?);
            }
        }
        Some(set)
    }

    /// Adds a transaction.
    pub(crate) fn add(&mut self, origin: &str, number: u64) {
        self.add_range(origin, number, number);
    }

    fn add_range(&mut self, origin: &str, mut first: u64, mut last: u64) {
        let intervals = self.origins.entry(origin.to_owned()).or_default();
        // The usual case: the next one.
        if let Some((_, end)) = intervals.last_mut()
            && first == end.saturating_add(1)
        {
            *end = last;
            return;
        }
        intervals.retain(|(start, end)| {
            let apart = *end < first.saturating_sub(1) || *start > last.saturating_add(1);
            if !apart {
                (first, last) = (first.min(*start), last.max(*end));
            }
            apart
        });
        let at = intervals.partition_point(|(start, _)| *start < first);
        intervals.insert(at, (first, last));
    }

    /// One text for each origin.
    pub(crate) fn entries(&self) -> impl Iterator<Item = String> {
        self.origins.iter().map(|(origin, intervals)| {
            let mut text = origin.clone();
            for (first, last) in intervals {
                text.push_str(&if first == last {
                    format!(":{first}")
                } else {
                    format!(":{first}-{last}")
                });
            }
            text
        })
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entries().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sets_are_kept_whole() {
        let text = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3:5,\n3E11FA47-71CA-11E1-9E33-C80AA9429563:7:tag:1-2";
        let mut set = GtidSet::parse(text).unwrap();
        let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let b = "3e11fa47-71ca-11e1-9e33-c80aa9429563";
        assert_eq!(set.to_string(), format!("{a}:1-3:5,{b}:7,{b}:tag:1-2"));
        set.add(a, 4);
        set.add(b, 9);
        set.add("c", 1);
        assert_eq!(set.to_string(), format!("{a}:1-5,{b}:7:9,{b}:tag:1-2,c:1"));
        assert_eq!(GtidSet::parse(&set.to_string()).unwrap(), set);
        assert!(GtidSet::parse("a:b-c:x-1:1-z").is_none());
        assert_eq!(GtidSet::parse("").unwrap(), GtidSet::default());
    }
}
