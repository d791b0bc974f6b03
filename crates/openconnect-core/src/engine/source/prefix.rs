//! The contiguous prefix: how far everything is resolved when outcomes arrive in any order.

use std::collections::VecDeque;

/// Numbers handed out in order, resolved in any order.
#[derive(Debug)]
pub(crate) struct Prefix<T> {
    first: u64,
    slots: VecDeque<Slot<T>>,
}

#[derive(Debug)]
enum Slot<T> {
    Open,
    Resolved(Option<T>),
}

impl<T> Prefix<T> {
    pub(crate) fn new() -> Self {
        Self {
            first: 0,
            slots: VecDeque::new(),
        }
    }

    /// Is nothing unresolved?
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The number of the next event.
    pub(crate) fn begin(&mut self) -> u64 {
        self.slots.push_back(Slot::Open);
        self.first + self.slots.len() as u64 - 1
    }

    /// Resolves one; returns the last position that the prefix has moved past, if it did. An unknown number is ignored.
    pub(crate) fn resolve(&mut self, number: u64, position: Option<T>) -> Option<T> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        *self.slots.get_mut(at)? = Slot::Resolved(position);
        let mut reached = None;
        while let Some(Slot::Resolved(_)) = self.slots.front() {
            if let Some(Slot::Resolved(position)) = self.slots.pop_front() {
                reached = position.or(reached);
            }
            self.first += 1;
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_never_passes_an_open_event() {
        let mut prefix = Prefix::new();
        let (a, b, c) = (prefix.begin(), prefix.begin(), prefix.begin());
        assert_eq!(prefix.resolve(b, Some("b")), None);
        assert_eq!(prefix.resolve(a, None), Some("b"));
        assert_eq!(prefix.resolve(c, Some("c")), Some("c"));
        assert_eq!(prefix.resolve(c, Some("c")), None);
    }
}
