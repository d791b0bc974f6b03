//! Random plans on several subjects, some at the same time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::host;
use super::plan::Plan;
use super::report::Report;
use super::run::{Outcome, run};
use super::subject::Subject;
use crate::services;
use crate::{Result, skip};

/// Of so many runs of the other subjects those with a service have one: a server takes its time.
const SERVICE_RUNS: usize = 4;

/// How a series is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    /// The seed of the first run; run n has the seed + n.
    pub(super) seed: u64,
    /// Runs of each subject.
    pub(super) runs: usize,
    /// Runs at the same time.
    pub(super) jobs: usize,
}

/// Runs a series of random plans on each subject. `ended` sees each run.
///
/// # Errors
/// With `CI=true`, when a service can't be had.
pub(super) async fn series(
    subjects: &[&'static Subject],
    series: Series,
    report: &mut Report,
    mut ended: impl FnMut(&Outcome),
) -> Result<()> {
    let mut there = Vec::new();
    for &subject in subjects {
        match subject.service {
            Some(service) if services::lend(service).await?.is_none() => report.skipped.push(subject.name.to_owned()),
            _ => there.push(subject),
        }
    }
    let room = Arc::new(Semaphore::new(series.jobs.max(1)));
    let mut runs = JoinSet::new();
    for n in 0..series.runs {
        let few = |subject: &&&Subject| subjects.len() == 1 || subject.service.is_none() || n % SERVICE_RUNS == 0;
        for &subject in there.iter().filter(few) {
            let plan = possible(Plan::random(subject, series.seed.wrapping_add(n as u64)), &mut report.skipped)?;
            let room = Arc::clone(&room);
            runs.spawn(async move {
                let _permit = room.acquire_owned().await;
                run(subject, &plan, None).await
            });
        }
    }
    while let Some(done) = runs.join_next().await {
        let outcome = done?;
        report.add(&outcome);
        ended(&outcome);
    }
    Ok(())
}

/// The plan without what can't be done on this machine; that is said once.
fn possible(mut plan: Plan, skipped: &mut Vec<String>) -> Result<Plan> {
    let mut missing = Vec::new();
    plan.steps.retain(|step| match host::missing(&step.fault) {
        Some(why) => {
            missing.push(why);
            false
        }
        None => true,
    });
    for (what, why) in missing {
        if !skipped.iter().any(|known| known == what) {
            skip::skipped(what, why)?;
            skipped.push(what.to_owned());
        }
    }
    Ok(plan)
}
