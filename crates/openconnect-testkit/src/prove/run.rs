//! One run: a plan carried out on a pipeline, and what an onlooker finds afterwards.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use openconnect_fault::Defect;
use openconnect_protocol::{json, payload};

use super::fault::{Fault, Part, Trouble};
use super::pipeline::Pipeline;
use super::plan::Plan;
use super::poisoned;
use super::subject::{Produced, Subject};
use super::timeline::Timeline;
use crate::Result;
use crate::oracle::{Arrived, Hash, Sent, Verdict, hash, judge};

/// How long a run goes on before the first and after the last fault, so that there is something to compare.
const QUIET: Duration = Duration::from_millis(150);

/// What a run gave.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its plan.
    pub plan: Plan,
    /// What did not hold; empty when all is well.
    pub violations: Vec<String>,
    /// The comparison of sent and arrived.
    pub verdict: Verdict,
    /// Processes killed by SIGKILL.
    pub kills: usize,
    /// From the end of the last fault until everything had arrived.
    pub recovery: Option<Duration>,
    /// What happened.
    pub timeline: Timeline,
}

/// Carries out a plan. What goes wrong with the kit itself counts as a violation: nothing was proved then.
pub async fn run(subject: &Subject, plan: &Plan, defect: Option<Defect>) -> Outcome {
    let mut outcome = Outcome {
        plan: plan.clone(),
        violations: Vec::new(),
        verdict: Verdict::default(),
        kills: 0,
        recovery: None,
        timeline: Timeline::default(),
    };
    let mut pipeline = match Pipeline::start(subject, plan, defect).await {
        Ok(pipeline) => pipeline,
        Err(error) => {
            outcome.violations.push(format!("the pipeline did not start: {error}"));
            return outcome;
        }
    };
    if let Err(error) = carry_out(&mut pipeline, subject, plan, &mut outcome).await {
        outcome.violations.push(format!("the run could not go on: {error}"));
    }
    outcome.violations.append(&mut pipeline.violations);
    outcome.kills = pipeline.kills;
    outcome.timeline = pipeline.timeline;
    outcome
}

async fn carry_out(pipeline: &mut Pipeline, subject: &Subject, plan: &Plan, outcome: &mut Outcome) -> Result<()> {
    let guarantee = pipeline.sink.status().await?["guarantee"].as_str().unwrap_or_default().to_owned();
    pipeline.pass(QUIET).await?;
    for step in &plan.steps {
        pipeline.pass(Duration::from_millis(step.after_ms)).await?;
        pipeline.begin(&step.fault).await?;
    }
    pipeline.calm().await?;
    let calm = Instant::now();
    pipeline.pass(QUIET).await?;
    let produced = produced(pipeline, subject.recovery).await?;
    let counts = pipeline.counts().await;
    pipeline
        .timeline
        .note("kit", format!("no more faults, nothing more is sent  ({counts})"));
    if everything_arrived(pipeline, subject, &produced, calm + subject.recovery).await? {
        outcome.recovery = Some(calm.elapsed());
        pipeline.timeline.note("kit", "everything has arrived");
    } else {
        pipeline.timeline.note("kit", "not everything arrived");
    }
    for part in [Part::Source, Part::Sink, Part::Mesh] {
        pipeline.terminate(part, &[0]).await?;
    }
    outcome.violations.extend(left_over(pipeline));
    let arrived = pipeline.arrived().await?;
    let dead = dead_letters(&pipeline.sink.state);
    outcome.verdict = judge(&produced.confirmed, &produced.open, &arrived);
    outcome.verdict.missing.retain(|id| !dead.contains_key(id));
    // Its dead letter was its turn; a crash before that was noted may deliver it once more.
    outcome.verdict.out_of_order.retain(|id| !dead.contains_key(id));
    outcome
        .violations
        .extend(compare(&outcome.verdict, &produced, &dead, plan, &guarantee));
    outcome
        .violations
        .extend(compare_refused(&produced, &dead_letters(&pipeline.source.state)));
    Ok(())
}

/// Stops producing while the pipeline goes on.
async fn produced(pipeline: &mut Pipeline, within: Duration) -> Result<Produced> {
    // The input waits for its last answers; what ends by itself meanwhile is noticed afterwards.
    tokio::time::timeout(within, pipeline.input.stop())
        .await
        .map_err(|_| format!("the source did not answer within {within:?}"))?
}

async fn everything_arrived(pipeline: &mut Pipeline, subject: &Subject, produced: &Produced, until: Instant) -> Result<bool> {
    let (mut most, mut since) = (0, Instant::now());
    loop {
        let arrived = pipeline.arrived().await?;
        let dead = dead_letters(&pipeline.sink.state);
        let here: HashSet<&str> = arrived
            .iter()
            .map(|a| a.id.as_str())
            .chain(dead.keys().map(String::as_str))
            .collect();
        let refused = dead_letters(&pipeline.source.state);
        let all_refused = produced.refused.iter().all(|sent| refused.contains_key(&sent.id));
        if all_refused && produced.confirmed.iter().all(|sent| here.contains(sent.id.as_str())) {
            return Ok(true);
        }
        if here.len() + refused.len() > most {
            (most, since) = (here.len() + refused.len(), Instant::now());
        }
        if Instant::now() > until || since.elapsed() > subject.stalled() {
            return Ok(false);
        }
        pipeline.pass(Duration::from_millis(20)).await?;
    }
}

/// What the contract forbids, in words.
fn compare(verdict: &Verdict, produced: &Produced, dead: &HashMap<String, Hash>, plan: &Plan, guarantee: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !verdict.is_clean() {
        found.push(verdict.to_string());
    }
    if verdict.repeated > 0 && (guarantee == "effectively-once" || plan.steps.is_empty()) {
        found.push(format!(
            "{} repeats, though {guarantee} is claimed and nothing went wrong that excuses them",
            verdict.repeated
        ));
    }
    if produced.confirmed.is_empty() {
        found.push("nothing was confirmed: this run proves nothing".to_owned());
    }
    let sent: HashMap<&str, &Sent> = produced
        .confirmed
        .iter()
        .chain(&produced.open)
        .map(|sent| (sent.id.as_str(), sent))
        .collect();
    let poison = plan.any(|fault| match fault {
        Fault::Target { trouble, .. } => *trouble == Trouble::Poison,
        Fault::Failpoint { at, .. } => *at == openconnect_fault::Failpoint::DeadLetter,
        _ => false,
    });
    for (id, hash) in dead {
        match sent.get(id.as_str()) {
            None => found.push(format!("dead letter of an event that nobody sent: {id}")),
            Some(sent) if sent.hash != *hash => found.push(format!("dead letter with other content than was sent: {id}")),
            Some(sent) if !poison || !poisoned(sent.number) => found.push(format!("dead letter of an event that nobody refused: {id}")),
            Some(_) => {}
        }
    }
    found
}

/// What the contract says of what a source can't handle: it is a dead letter of the source, as it was sent; nothing else is.
fn compare_refused(produced: &Produced, dead: &HashMap<String, Hash>) -> Vec<String> {
    let missing = produced.refused.iter().filter(|sent| !dead.contains_key(&sent.id));
    let mut found: Vec<String> = missing
        .map(|sent| format!("neither handled nor a dead letter: {}", sent.id))
        .collect();
    let may_be: HashMap<&str, &Sent> = produced
        .refused
        .iter()
        .chain(&produced.open)
        .map(|sent| (sent.id.as_str(), sent))
        .collect();
    for (id, hash) in dead {
        match may_be.get(id.as_str()) {
            None => found.push(format!("dead letter of the source that nobody asked for: {id}")),
            Some(sent) if sent.hash != *hash => found.push(format!("dead letter of the source with other content: {id}")),
            Some(_) => {}
        }
    }
    found
}

/// The dead letters of a connector, as they are in the file.
fn dead_letters(state: &Path) -> HashMap<String, Hash> {
    let text = std::fs::read(state.join("dead-letters.jsonl")).unwrap_or_default();
    let events = text.split(|byte| *byte == b'\n').filter_map(|line| json::decode(line).ok());
    events
        .map(|event| {
            let arrived = Arrived {
                id: cloudevents::AttributesReader::id(&event).to_owned(),
                hash: hash(&payload::bytes(&event).unwrap_or_default()),
            };
            (arrived.id, arrived.hash)
        })
        .collect()
}

/// Temporary files and processes that are still there when everything has ended.
fn left_over(pipeline: &Pipeline) -> Vec<String> {
    let files = files(&pipeline.kit.file("state")).into_iter().chain(files(&pipeline.mesh.data));
    let temporary = files.filter(|file| file.ends_with(".tmp") || file.ends_with(".new"));
    let mut found: Vec<String> = temporary.map(|file| format!("temporary file left: {file}")).collect();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state parent group …
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, group) = (
            fields.next().unwrap_or_default(),
            fields.nth(1).and_then(|group| group.parse().ok()),
        );
        if state != "Z" && group.is_some_and(|group: u32| pipeline.groups.contains(&group)) {
            found.push(format!("process left: {}", stat.trim()));
        }
    }
    found
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path.display().to_string()]
            }
        })
        .collect()
}
