//! A broken target is no reason to empty the stream into the dead letters.

use std::collections::VecDeque;

use crate::config::CircuitSettings;

/// Counts dead letters among the last events.
#[derive(Debug)]
pub(crate) struct Circuit {
    window: VecDeque<bool>,
    size: usize,
    limit: usize,
    dead: usize,
}

impl Circuit {
    pub(crate) fn new(settings: &CircuitSettings) -> Self {
        Self {
            window: VecDeque::new(),
            size: settings.window.max(1),
            limit: settings.dead_letters,
            dead: 0,
        }
    }

    /// Notes an event; true when the connector must stop before this dead letter is written.
    pub(crate) fn note(&mut self, dead: bool) -> bool {
        self.window.push_back(dead);
        self.dead += usize::from(dead);
        if self.window.len() > self.size && self.window.pop_front() == Some(true) {
            self.dead -= 1;
        }
        dead && self.dead > self.limit
    }

    /// For people: what the limit is.
    pub(crate) fn describe(&self) -> String {
        format!("more than {} of the last {} events could not be delivered", self.limit, self.size)
    }
}
