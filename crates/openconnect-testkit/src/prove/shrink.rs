//! The shortest plan that still fails.

use std::future::Future;

use super::plan::Plan;

/// Leaves out steps, more than one at first, as long as the rest still fails. `fails` is asked `tries` times at the most.
pub async fn shrink<F: Future<Output = bool>>(plan: &Plan, mut tries: usize, mut fails: impl FnMut(Plan) -> F) -> Plan {
    let mut shortest = plan.clone();
    let mut chunk = plan.steps.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < shortest.steps.len() && tries > 0 {
            let mut without = shortest.clone();
            let end = (at + chunk).min(without.steps.len());
            // What follows keeps its time.
            let waited: u64 = without.steps.drain(at..end).map(|step| step.after_ms).sum();
            if let Some(next) = without.steps.get_mut(at) {
                next.after_ms += waited;
            }
            tries -= 1;
            if fails(without.clone()).await {
                shortest = without;
                shorter = true;
            } else {
                at += chunk;
            }
        }
        if !shorter {
            chunk /= 2;
        }
        chunk = chunk.min(shortest.steps.len());
    }
    shortest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::prove::fault::{Fault, Part};
    use crate::prove::plan::Step;

    #[tokio::test]
    async fn what_matters_is_left_at_its_time() {
        let step = |part| Step {
            after_ms: 10,
            fault: Fault::Kill { part },
        };
        let steps = [Part::Source, Part::Source, Part::Sink, Part::Source, Part::Mesh]
            .map(step)
            .to_vec();
        let plan = Plan {
            about: String::new(),
            subject: "any".to_owned(),
            seed: 1,
            steps,
        };
        let needs = |plan: &Plan, part| plan.any(|fault| *fault == Fault::Kill { part });
        let mut asked = 0;
        let shortest = shrink(&plan, 50, |plan| {
            asked += 1;
            std::future::ready(needs(&plan, Part::Sink) && needs(&plan, Part::Mesh))
        })
        .await;
        assert_eq!(shortest.steps.iter().map(|step| step.after_ms).collect::<Vec<_>>(), [30, 20]);
        assert!(asked <= 50);
    }
}
