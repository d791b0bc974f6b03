//! What goes wrong in a run, and when: chosen by a seed, printed, read back.

use std::fmt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Link, Part};
use super::subject::Subject;
use crate::Result;

/// The faults of one run. As a file it is JSON; `cargo xtask prove --plan FILE` replays it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What this plan once found, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Who is tested.
    pub subject: String,
    /// The seed that it came from.
    #[serde(default)]
    pub seed: u64,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One fault, some time after the step before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds after the step before has begun.
    pub after_ms: u64,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

impl Plan {
    /// The plan of a seed.
    pub fn random(subject: &Subject, seed: u64) -> Self {
        // Another plan for each subject.
        let mut rng = StdRng::seed_from_u64(
            subject
                .name
                .bytes()
                .fold(seed, |all, byte| all.wrapping_mul(31).wrapping_add(byte.into())),
        );
        let mut steps: Vec<Step> = (0..rng.random_range(2..=5))
            .map(|_| Step {
                after_ms: rng.random_range(20..400),
                fault: fault(subject, &mut rng),
            })
            .collect();
        keep_clocks_startable(&mut steps);
        Self {
            about: String::new(),
            subject: subject.name.to_owned(),
            seed,
            steps,
        }
    }

    /// Reads a plan.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display()))?)
    }

    /// The plan as a file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Does any step satisfy this?
    pub fn any(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.steps.iter().any(|step| wanted(&step.fault))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seed {}:", self.subject, self.seed)?;
        for step in &self.steps {
            write!(f, " +{} ms {};", step.after_ms, step.fault)?;
        }
        Ok(())
    }
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> Option<T> {
    from.choose(rng).copied()
}

/// A clock that jumps is a library that makes a file at each start of the program, and kills it where none can grow: the disk
/// of such a part stays free, its folders become read-only instead.
fn keep_clocks_startable(steps: &mut [Step]) {
    let jumps = |step: &Step| match step.fault {
        Fault::Clock { part, .. } => Some(part),
        _ => None,
    };
    let jumping: Vec<Part> = steps.iter().filter_map(jumps).collect();
    for step in steps {
        if let Fault::DiskFull { part, ms } = step.fault
            && jumping.contains(&part)
        {
            step.fault = Fault::ReadOnly { part, ms };
        }
    }
}

/// A fault that this subject can meet.
fn fault(subject: &Subject, rng: &mut StdRng) -> Fault {
    let part = pick(rng, subject.aims).unwrap_or(Part::Mesh);
    let ms = rng.random_range(100..800);
    match rng.random_range(0..100) {
        0..30 => Fault::Kill { part },
        30..52 => match pick(rng, subject.failpoints) {
            Some(at) => Fault::Failpoint {
                at,
                nth: rng.random_range(1..=8),
            },
            None => Fault::Kill { part },
        },
        52..60 => Fault::Terminate { part },
        60..66 => Fault::Pause { part, ms },
        66..78 => {
            let link = pick(rng, &links(subject)).unwrap_or(Link::Source);
            match rng.random_range(0..3) {
                0 => Fault::Cut { link },
                1 => Fault::HalfOpen { link, ms },
                _ => Fault::Slow { link, ms },
            }
        }
        78..90 => match pick(rng, subject.troubles).filter(|_| subject.aims.contains(&Part::Sink)) {
            Some(trouble) => Fault::Target { trouble, ms },
            None => Fault::Kill { part },
        },
        90..94 => Fault::Clock {
            part,
            seconds: pick(rng, &[-86_400, -60, 60, 86_400]).unwrap_or(60),
        },
        94..98 => Fault::DiskFull { part, ms },
        _ => Fault::ReadOnly { part, ms },
    }
}

fn links(subject: &Subject) -> Vec<Link> {
    let of = |part: &Part| match part {
        Part::Source => vec![Link::Source],
        Part::Mesh => vec![Link::Source, Link::Sink],
        Part::Sink if subject.network_target => vec![Link::Sink, Link::Target],
        Part::Sink => vec![Link::Sink],
    };
    subject.aims.iter().flat_map(of).collect()
}
