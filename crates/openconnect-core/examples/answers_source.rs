//! A whole source that takes a topic as its input: it answers questions, several at the same time, each with several answers.
//!
//! What it asks for its answers is played here: by the number of a question (`number` in its data) it takes its time, is busy at first,
//! or has no answer.

use std::time::Duration;

use openconnect_core::cloudevents::event::ExtensionValue;
use openconnect_core::cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, NO_EFFECT, Problems};
use openconnect_core::record::{NoPosition, Partition, Record};
use openconnect_core::source::{Emitter, Input, InputEvent, InputUse, NoCommit, Replay, Source, SourceContext, SourceProfile, Ticket};
use openconnect_core::{Error, Failure, Result};
use openconnect_protocol::payload;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;

mod codes {
    openconnect_core::code_table! {
        /// There is no topic with questions.
        ANSWERS_INPUT,
        /// A question cannot be read.
        ANSWERS_QUESTION,
        /// Nobody answers for now.
        ANSWERS_BUSY,
        /// There is no answer to the question.
        ANSWERS_NONE,
        /// An answer cannot be an event.
        ANSWERS_EVENT,
    }
}

/// How long an answer takes that takes its time.
const LATE: Duration = Duration::from_millis(30);

/// Answers questions.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AnswersConfig {
    /// Answers to each question.
    #[schemars(example = &3, extend("x-effect" = "holds for questions that come from the restart on, and for those that wait"))]
    answers: u64,
    /// Every question of which number takes its time.
    #[schemars(example = &4, extend("x-effect" = NO_EFFECT))]
    late_every: Option<u64>,
    /// Every question of which number meets nobody in its first attempt.
    #[schemars(example = &7, extend("x-effect" = NO_EFFECT))]
    busy_every: Option<u64>,
    /// Every question of which number has no answer.
    #[schemars(example = &5, extend("x-effect" = "such questions become dead letters"))]
    none_every: Option<u64>,
}

impl ConnectorConfig for AnswersConfig {
    const TAKES_INPUT: bool = true;

    fn validate(&self, problems: &mut Problems) {
        let every = [
            ("late_every", self.late_every),
            ("busy_every", self.busy_every),
            ("none_every", self.none_every),
        ];
        for (setting, every) in every {
            if every == Some(0) {
                problems.add(setting, "is 0");
            }
        }
    }
}

struct AnswersSource {
    input: Input,
    /// Questions that are being answered.
    working: JoinSet<(InputEvent, Result<Vec<String>, Failure>)>,
    config: AnswersConfig,
    partition: Partition,
}

impl Source for AnswersSource {
    const NAME: &'static str = "answers-source";
    type Config = AnswersConfig;
    type Position = NoPosition;
    type Committer = NoCommit;

    fn profile(_: &AnswersConfig) -> SourceProfile {
        SourceProfile::new(Replay::ByCaller).with_input(InputUse::Required)
    }

    async fn open(config: AnswersConfig, cx: SourceContext<NoPosition>) -> Result<(Self, NoCommit)> {
        // The core refuses a configuration without it.
        let no_input = || Error::config(codes::ANSWERS_INPUT, "there is no topic with questions");
        let source = Self {
            input: cx.input.ok_or_else(no_input)?,
            working: JoinSet::new(),
            config,
            partition: Partition::new("answers"),
        };
        Ok((source, NoCommit))
    }

    async fn read(&mut self, out: &mut Emitter<NoPosition>) -> Result<(), Failure> {
        tokio::select! {
            Some(asked) = self.input.next() => {
                let config = self.config;
                self.working.spawn(async move {
                    let answers = config.answer(&asked.event, asked.ticket.attempt()).await;
                    (asked, answers)
                });
            }
            // A task that panics drops its ticket: the question comes again.
            Some(Ok((asked, answers))) = self.working.join_next() => match answers {
                Ok(answers) => {
                    let records = self.records(&asked.event, &asked.ticket, answers)?;
                    out.emit_all(records).await;
                    asked.ticket.done();
                }
                Err(failure) => asked.ticket.fail(failure),
            },
            else => out.finish(),
        }
        Ok(())
    }
}

impl AnswersSource {
    /// An event for each answer, with the key of the question.
    fn records(&self, question: &Event, ticket: &Ticket, answers: Vec<String>) -> Result<Vec<Record<NoPosition>>, Failure> {
        let event = |(n, answer): (u64, String)| {
            let mut event = EventBuilderV10::new()
                .id(ticket.event_id(n))
                .source("urn:answers")
                .ty("org.example.answer")
                // Says which question it answers.
                .extension("inputid", question.id())
                .data("application/json", answer);
            if let Some(ExtensionValue::String(key)) = question.extension("partitionkey") {
                event = event.extension("partitionkey", key.as_str());
            }
            let event = event
                .build()
                .map_err(|e| Failure::fatal(codes::ANSWERS_EVENT, "an answer can't be an event").because(e))?;
            Ok(Record::event(self.partition.clone(), event).answers(ticket))
        };
        (0..).zip(answers).map(event).collect()
    }
}

impl AnswersConfig {
    /// Asks for the answers to a question.
    async fn answer(self, question: &Event, attempt: u32) -> Result<Vec<String>, Failure> {
        let text = payload::bytes(question).unwrap_or_default();
        let asked: Value = serde_json::from_slice(&text)
            .map_err(|e| Failure::permanent(codes::ANSWERS_QUESTION, "the question is not JSON").because(e))?;
        let number = asked["number"].as_u64().unwrap_or(1);
        let is_every = |every: Option<u64>| every.is_some_and(|every| number.is_multiple_of(every));
        if is_every(self.late_every) {
            tokio::time::sleep(LATE).await;
        }
        if is_every(self.none_every) {
            return Err(Failure::permanent(codes::ANSWERS_NONE, "there is no answer to this question"));
        }
        if is_every(self.busy_every) && attempt == 1 {
            return Err(Failure::retryable(codes::ANSWERS_BUSY, "nobody answers now"));
        }
        let text = String::from_utf8_lossy(&text);
        Ok((0..self.answers)
            .map(|n| format!(r#"{{"question":{text},"answer":{n}}}"#))
            .collect())
    }
}

openconnect_core::source_main!(AnswersSource);
