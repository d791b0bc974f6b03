//! What the proof once found stays found: every plan in `regressions/` holds.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use openconnect_testkit::prove::plan::Plan;
use openconnect_testkit::prove::ready_to_prove;
use openconnect_testkit::prove::run::run;
use openconnect_testkit::subjects;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_plan_that_once_failed_holds() {
    if !ready_to_prove().unwrap() {
        return;
    }
    let mut plans: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    plans.sort();
    assert!(!plans.is_empty());
    for file in plans {
        let plan = Plan::read(&file).unwrap();
        assert!(!plan.about.is_empty(), "{} does not say what it found", file.display());
        let outcome = run(subjects::by_name(&plan.subject).unwrap(), &plan, None).await;
        assert!(
            outcome.violations.is_empty(),
            "{}: {:#?}\n{}",
            file.display(),
            outcome.violations,
            outcome.timeline
        );
    }
}
