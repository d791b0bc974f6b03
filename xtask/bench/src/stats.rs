//! What several runs say together.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Draws for an interval.
const DRAWS: usize = 2_000;

/// The middle value; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// How many times as large as the second the first is, and where that lies in 95 of 100 cases when the runs are drawn again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) middle: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Of the medians. The draws follow from a fixed seed, so that the same runs give the same interval.
pub(crate) fn ratio(first: &[f64], second: &[f64]) -> Ratio {
    let mut rng = StdRng::seed_from_u64(7);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| median(&again(first, &mut rng)) / median(&again(second, &mut rng)))
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |part: f64| drawn[((DRAWS - 1) as f64 * part) as usize];
    Ratio {
        middle: median(first) / median(second),
        low: at(0.025),
        high: at(0.975),
    }
}

fn again(values: &[f64], rng: &mut StdRng) -> Vec<f64> {
    (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).collect()
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.middle, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_around_the_ratio_of_the_medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        let ratio = ratio(&[20.0, 22.0, 21.0], &[10.0, 11.0, 10.5]);
        assert_eq!(ratio.middle, 2.0);
        assert!(ratio.low < 2.0 && ratio.high > 2.0 && ratio.low >= 20.0 / 11.0 && ratio.high <= 2.2);
    }
}
