//! Values by their names: few of them, looked up often, so they stand sorted in one piece of memory.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Values by name. Where JSON has a name twice, the last value counts, as for most readers.
#[derive(Debug, Clone)]
pub struct ByName<'a, V>(Vec<(Cow<'a, str>, V)>);

impl<V> Default for ByName<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, V> ByName<'a, V> {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let at = self.place(name).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether the name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Adds a value whose name is not there.
    pub fn add(&mut self, name: Cow<'a, str>, value: V) {
        if let Err(at) = self.place(&name) {
            self.0.insert(at, (name, value));
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_ref().cmp(name))
    }

    /// The same names with other values.
    ///
    /// # Errors
    ///
    /// The first error of `value`.
    pub fn map<W, E>(self, mut value: impl FnMut(&str, V) -> Result<W, E>) -> Result<ByName<'a, W>, E> {
        let values = self.0.into_iter().map(|(name, old)| {
            let new = value(&name, old)?;
            Ok((name, new))
        });
        Ok(ByName(values.collect::<Result<_, E>>()?))
    }
}

impl<'a, V> FromIterator<(Cow<'a, str>, V)> for ByName<'a, V> {
    fn from_iter<I: IntoIterator<Item = (Cow<'a, str>, V)>>(values: I) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        // Stable: of one name the last stays last.
        values.sort_by(|(a, _), (b, _)| a.cmp(b));
        values.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self(values)
    }
}

/// A name that is borrowed where JSON has no escapes in it.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for ByName<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(PhantomData))
    }
}

struct Object<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Object<V> {
    type Value = ByName<'de, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        std::iter::from_fn(|| map.next_entry::<Name<'de>, V>().transpose())
            .map(|entry| entry.map(|(name, value)| (name.0, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_found_and_the_last_of_a_name_counts() {
        let json = r#"{"b":1,"a":2,"b":3,"\u0063":4,"b":5}"#;
        let mut fields: ByName<'_, u32> = serde_json::from_str(json).unwrap();
        fields.add("a".into(), 9);
        fields.add("aa".into(), 6);
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("a", &2), ("aa", &6), ("b", &5), ("c", &4)]);
        assert_eq!((fields.get("b"), fields.get("x"), fields.len()), (Some(&5), None, 4));
    }
}
