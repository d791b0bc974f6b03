//! A topic as a source's input, through the public face of the core and against a real mesh.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openconnect_core::admin::{State, StatusHandle};
use openconnect_core::budget::Budget;
use openconnect_core::cloudevents::{AttributesReader, Event, EventBuilder, EventBuilderV10};
use openconnect_core::config::{ConnectorConfig, Settings};
use openconnect_core::dead_letter::archive::{Replayed, Which, letters, replay};
use openconnect_core::engine::check::{CheckState, check_source};
use openconnect_core::engine::{App, run_source};
use openconnect_core::error::Exit;
use openconnect_core::mesh::{Publisher, Subscriber};
use openconnect_core::record::{NoPosition, Partition, Record};
use openconnect_core::source::{
    Accept, Emitter, Input, InputEvent, InputUse, NoCommit, OffsetKeeper, Replay, Source, SourceContext, SourceProfile, Ticket,
};
use openconnect_core::{Failure, Result};
use openconnect_mesh::{Config, Mesh, MeshHandle};
use openconnect_protocol::wire;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

openconnect_core::code_table! {
    /// Nobody answers for now.
    BUSY,
    /// There is no answer.
    NO_ANSWER,
    /// Nobody will ever answer again.
    GONE,
}

/// What the source does with a question.
#[derive(Debug, Clone)]
enum Say {
    /// So many answers, and done.
    Answer(u64),
    /// So many answers, then this.
    Fail(u64, Failure),
    /// Nothing: the ticket is dropped.
    Leave,
    /// One answer that is never emitted, and done.
    LoseAnswer,
    /// Keeps the ticket.
    Hold,
    /// One answer to this question and to those that are held.
    AnswerAll,
}

/// What is said to questions by their id, one saying after the other; a question without any is answered once.
#[derive(Debug, Clone, Default)]
struct Script {
    sayings: Arc<Mutex<HashMap<String, VecDeque<Say>>>>,
    /// Id and attempt of each question, as it was given.
    given: Arc<Mutex<Vec<(String, u32)>>>,
    /// Bytes of an answer's data.
    padding: usize,
    input: InputUse,
    accept: Accept,
    offsets: Option<OffsetKeeper>,
}

impl Script {
    fn new() -> Self {
        Self {
            input: InputUse::Required,
            ..Self::default()
        }
    }

    fn say(self, id: &str, sayings: impl IntoIterator<Item = Say>) -> Self {
        self.sayings.lock().unwrap().insert(id.to_owned(), sayings.into_iter().collect());
        self
    }

    fn given(&self) -> Vec<(String, u32)> {
        self.given.lock().unwrap().clone()
    }

    fn was_given(&self, id: &str, attempt: u32) -> bool {
        self.given().contains(&(id.to_owned(), attempt))
    }
}

#[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
struct NoConfig {
    #[serde(skip)]
    #[schemars(skip)]
    script: Script,
}

impl ConnectorConfig for NoConfig {
    const TAKES_INPUT: bool = true;
}

struct Answering {
    input: Option<Input>,
    script: Script,
    held: Vec<InputEvent>,
}

impl Source for Answering {
    const NAME: &'static str = "answering-source";
    type Config = NoConfig;
    type Position = NoPosition;
    type Committer = NoCommit;

    fn profile(config: &NoConfig) -> SourceProfile {
        let profile = SourceProfile::new(Replay::ByCaller)
            .with_input(config.script.input)
            .with_accept(config.script.accept);
        profile.with_offsets(config.script.offsets.unwrap_or(OffsetKeeper::Nobody))
    }

    async fn open(config: NoConfig, cx: SourceContext<NoPosition>) -> Result<(Self, NoCommit)> {
        let source = Self {
            input: cx.input,
            script: config.script,
            held: Vec::new(),
        };
        Ok((source, NoCommit))
    }

    async fn read(&mut self, out: &mut Emitter<NoPosition>) -> Result<(), Failure> {
        let Some(input) = &mut self.input else {
            std::future::pending::<()>().await;
            return Ok(());
        };
        let asked = input.next().await.unwrap();
        let id = asked.event.id().to_owned();
        self.script.given.lock().unwrap().push((id.clone(), asked.ticket.attempt()));
        let saying = self.script.sayings.lock().unwrap().get_mut(&id).and_then(VecDeque::pop_front);
        match saying.unwrap_or(Say::Answer(1)) {
            Say::Answer(count) => {
                self.answer(&asked.ticket, count, out).await;
                asked.ticket.done();
            }
            Say::Fail(count, failure) => {
                self.answer(&asked.ticket, count, out).await;
                asked.ticket.fail(failure);
            }
            Say::Leave => drop(asked),
            Say::LoseAnswer => {
                drop(self.record(&asked.ticket, 0));
                asked.ticket.done();
            }
            Say::Hold => self.held.push(asked),
            Say::AnswerAll => {
                let record = self.record(&asked.ticket, 0);
                let record = self.held.iter().fold(record, |record, held| record.answers(&held.ticket));
                out.emit(record).await;
                self.held.drain(..).for_each(|held| held.ticket.done());
                asked.ticket.done();
            }
        }
        Ok(())
    }
}

impl Answering {
    fn record(&self, ticket: &Ticket, n: u64) -> Record<NoPosition> {
        let event = EventBuilderV10::new()
            .id(ticket.event_id(n))
            .source("/answers")
            .ty("answer")
            .data("text/plain", "x".repeat(self.script.padding))
            .build()
            .unwrap();
        Record::event(Partition::new("answers"), event).answers(ticket)
    }

    async fn answer(&self, ticket: &Ticket, count: u64, out: &mut Emitter<NoPosition>) {
        for n in 0..count {
            out.emit(self.record(ticket, n)).await;
        }
    }
}

/// A mesh and the folder of the connector's state.
struct Scene {
    dir: tempfile::TempDir,
    mesh: MeshHandle,
    asking: Publisher,
    answers: Subscriber,
    over: Value,
}

/// A connector that runs.
struct Running {
    status: StatusHandle,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<Exit>>,
}

impl Running {
    async fn stop(self) -> Exit {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap()
    }

    fn input(&self) -> Value {
        self.status.to_json()["input"].clone()
    }
}

impl Scene {
    /// `over` is put over the settings.
    async fn new(over: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mesh = Mesh::start(Config::embedded(dir.path().join("mesh"))).await.unwrap();
        let settings = settings(&mesh, dir.path(), &json!({}));
        let ends = CancellationToken::new();
        let asking = Publisher::connect(&settings.mesh, "asking", ends.clone()).await.unwrap();
        let answers = Subscriber::connect(&settings.mesh, "answers", Budget::with_bytes(16 << 20), ends)
            .await
            .unwrap();
        Self {
            dir,
            mesh,
            asking,
            answers,
            over,
        }
    }

    fn app(&self, script: &Script, drain: bool) -> App<NoConfig> {
        App {
            settings: settings(&self.mesh, self.dir.path(), &self.over),
            config: NoConfig { script: script.clone() },
            shared_offsets: None,
            status: StatusHandle::new("answering", Answering::NAME, "0"),
            drain,
            shutdown: CancellationToken::new(),
        }
    }

    fn start(&self, script: &Script, drain: bool) -> Running {
        let app = self.app(script, drain);
        Running {
            status: app.status.clone(),
            shutdown: app.shutdown.clone(),
            task: tokio::spawn(run_source::<Answering>(app)),
        }
    }

    /// Starts, and waits until the topic is subscribed to: what is asked before that is not its group's.
    async fn run(&self, script: &Script) -> Running {
        let running = self.start(script, false);
        until("running", || running.status.state() == State::Running).await;
        running
    }

    async fn ask(&self, id: &str, key: &str) {
        self.ask_with(id, key, "").await;
    }

    async fn ask_with(&self, id: &str, key: &str, data: &str) {
        let question = question(id, key, data);
        self.asking.send("questions", None, &question).await.await.unwrap();
    }

    /// The ids of the next answers.
    async fn answers(&mut self, count: usize) -> Vec<String> {
        let (mut ids, mut deliveries) = (Vec::new(), Vec::new());
        while ids.len() < count {
            let received = self.answers.recv(&mut deliveries, count - ids.len());
            tokio::time::timeout(Duration::from_secs(20), received).await.unwrap().unwrap();
            for delivery in deliveries.drain(..) {
                ids.push(wire::decode(&delivery.raw).unwrap().id().to_owned());
                delivery.ack.ack();
            }
        }
        ids
    }

    fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("answering")
    }
}

fn question(id: &str, key: &str, data: &str) -> Event {
    EventBuilderV10::new()
        .id(id)
        .source("/people")
        .ty("question")
        .extension("partitionkey", key)
        .data("text/plain", data.to_owned())
        .build()
        .unwrap()
}

fn settings(mesh: &MeshHandle, dir: &Path, over: &Value) -> Settings {
    let mut settings = json!({
        "name": "answering",
        "mesh": { "url": format!("tcp://{}", mesh.tcp_addr()), "topic": "answers" },
        "input": { "topic": "questions" },
        "state": { "dir": dir },
        "delivery": { "retry": { "initial": "1ms", "max": "20ms" }, "shutdown_timeout": "5s" },
    });
    merge(&mut settings, over);
    serde_json::from_value(settings).unwrap()
}

fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The id of the n-th answer to a question.
async fn answer_id(id: &str, n: u64) -> String {
    let (mut input, asks) = Input::alone();
    let _given = asks.give(question(id, "", ""), 1).await.unwrap();
    let asked = input.next().await.unwrap();
    let answer = asked.ticket.event_id(n);
    asked.ticket.done();
    answer
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const INBOX: &str = "inbox";
const WRITE: &str = "write";

fn acknowledged(how: &str) -> Value {
    json!({ "input": { "acknowledge": how } })
}

fn busy() -> Failure {
    Failure::retryable(BUSY, "not now")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_now_is_given_again_and_its_answers_have_the_same_ids() {
    for how in [INBOX, WRITE] {
        let mut scene = Scene::new(acknowledged(how)).await;
        let script = Script::new().say("a", [Say::Fail(2, busy()), Say::Leave, Say::Answer(2)]);
        let running = scene.run(&script).await;
        scene.ask("a", "k").await;
        let (first, second) = (answer_id("a", 0).await, answer_id("a", 1).await);
        assert_eq!(scene.answers(4).await, [first.clone(), second.clone(), first, second]);
        assert_eq!(script.given(), [1, 2, 3].map(|attempt| ("a".to_owned(), attempt)));
        until("done", || running.input()["counts"]["delivered"] == 1).await;
        assert_eq!(running.input()["counts"]["retried"], 2);
        assert_eq!(running.stop().await, Exit::Clean);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_good_is_a_dead_letter_of_the_input_and_can_be_handed_back() {
    for how in [INBOX, WRITE] {
        let mut scene = Scene::new(acknowledged(how)).await;
        let script = Script::new().say("a", [Say::Fail(0, Failure::permanent(NO_ANSWER, "nobody knows"))]);
        let running = scene.run(&script).await;
        scene.ask("a", "k").await;
        scene.ask("b", "k").await;
        assert_eq!(scene.answers(1).await, [answer_id("b", 0).await]);
        let settings = settings(&scene.mesh, scene.dir.path(), &scene.over);
        let dead = letters(&settings.dead_letter, &scene.state()).unwrap();
        let about: Vec<_> = dead
            .iter()
            .map(|letter| {
                (
                    letter.event.id().to_owned(),
                    letter.about("dlqcode"),
                    letter.about("dlqreason"),
                    letter.input(),
                )
            })
            .collect();
        let (code, reason) = ("NO_ANSWER".to_owned(), "nobody knows".to_owned());
        assert_eq!(about, [("a".to_owned(), code, reason, Some("questions".to_owned()))]);
        until("counted", || running.input()["counts"]["dead_lettered"] == 1).await;
        // What the connector itself emits is counted apart.
        assert_eq!(running.status.to_json()["counts"]["dead_lettered"], 0);
        let handed = Replayed {
            handed_back: 1,
            published: 0,
        };
        assert_eq!(replay(&settings, false, &Which::All).await.unwrap(), handed);
        assert_eq!(scene.answers(1).await, [answer_id("a", 0).await]);
        assert_eq!(running.stop().await, Exit::Clean);
        assert!(std::fs::read_dir(scene.state().join("input/replay")).unwrap().next().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_failure_stops_the_connector_and_the_event_comes_again() {
    for how in [INBOX, WRITE] {
        let mut scene = Scene::new(acknowledged(how)).await;
        let script = Script::new().say("a", [Say::Fail(0, Failure::fatal(GONE, "no rights any more"))]);
        let running = scene.run(&script).await;
        scene.ask("a", "k").await;
        let error = running.task.await.unwrap().unwrap_err();
        assert!(error.code == "OC0421" && error.reason().contains("no rights any more"), "{error}");
        let running = scene.run(&script).await;
        assert_eq!(scene.answers(1).await, [answer_id("a", 0).await]);
        assert_eq!(running.stop().await, Exit::Clean);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_with_open_tickets_loses_nothing_and_repeats_only_those() {
    for how in [INBOX, WRITE] {
        let mut scene = Scene::new(acknowledged(how)).await;
        let script = Script::new().say("held", [Say::Hold]);
        let running = scene.run(&script).await;
        scene.ask("held", "k").await;
        // Behind it, and never given before the end.
        scene.ask("waits", "k").await;
        scene.ask("done", "l").await;
        assert_eq!(scene.answers(1).await, [answer_id("done", 0).await]);
        until("taken in", || running.input()["counts"]["received"] == 3).await;
        until("two are left", || running.input()["backlog"] == 2).await;
        assert_eq!(running.stop().await, Exit::Undelivered);
        assert_eq!(script.given().len(), 2);
        let running = scene.run(&script).await;
        assert_eq!(scene.answers(2).await, [answer_id("held", 0).await, answer_id("waits", 0).await]);
        assert_eq!(running.stop().await, Exit::Clean);
        let again = |id: &str| script.given().iter().filter(|(given, _)| given == id).count();
        assert_eq!(["held", "waits", "done"].map(again), [2, 1, 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_the_answers_of_what_is_done() {
    let scene = Scene::new(acknowledged(INBOX)).await;
    let script = Script::new();
    let mut running = scene.run(&script).await;
    for n in 0..100 {
        scene.ask(&n.to_string(), &n.to_string()).await;
    }
    until("some are given", || script.given().len() > 10).await;
    running.shutdown.cancel();
    let exit = (&mut running.task).await.unwrap().unwrap();
    let (done, left) = (running.input()["counts"]["delivered"].as_u64(), running.input()["backlog"].as_u64());
    // Each was answered before it was noted, so that what was given and what is left add up.
    let given = script.given().len() as u64;
    assert!(done.unwrap() <= given && given - done.unwrap() <= 1, "{done:?} of {given}");
    assert_eq!(exit == Exit::Clean, left == Some(0));
    let again = scene.run(&script).await;
    // What was still in the mesh comes too.
    let of_again = || again.input()["counts"]["delivered"].as_u64();
    until("all are done", || of_again() >= Some(100 - done.unwrap())).await;
    assert!((0..100).all(|n| script.was_given(&n.to_string(), 1)));
    assert_eq!(again.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_one_before_it_of_its_key() {
    let mut scene = Scene::new(json!({})).await;
    let script = Script::new()
        .say("a1", [Say::Fail(0, busy()), Say::Hold])
        .say("b2", [Say::AnswerAll]);
    let running = scene.run(&script).await;
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        scene.ask(id, key).await;
    }
    assert_eq!(scene.answers(1).await, [answer_id("b1", 0).await]);
    until("held", || script.was_given("a1", 2)).await;
    scene.ask("b2", "b").await;
    // One answer ends both, and only then the next one comes.
    assert_eq!(scene.answers(2).await, [answer_id("b2", 0).await, answer_id("a2", 0).await]);
    let of_a: Vec<_> = script.given().into_iter().filter(|(id, _)| id.starts_with('a')).collect();
    assert_eq!(of_a, [("a1".to_owned(), 1), ("a1".to_owned(), 2), ("a2".to_owned(), 1)]);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_has_the_event_given_again_and_is_no_failed_attempt() {
    let over = json!({ "delivery": { "retry": { "max_attempts": 1 } } });
    let mut scene = Scene::new(over).await;
    let script = Script::new().say("a", [Say::LoseAnswer, Say::LoseAnswer]);
    let running = scene.run(&script).await;
    scene.ask("a", "k").await;
    assert_eq!(scene.answers(1).await, [answer_id("a", 0).await]);
    assert_eq!(script.given(), [1, 1, 1].map(|attempt| ("a".to_owned(), attempt)));
    // One attempt is allowed: a failure of the source is the last.
    script.sayings.lock().unwrap().insert("b".to_owned(), [Say::Leave].into());
    scene.ask("b", "k").await;
    until("dead letter", || running.input()["counts"]["dead_lettered"] == 1).await;
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_an_answer_and_one_whose_answers_are_filtered_are_done() {
    let over = json!({
        "transforms": [{ "filter": ".type != \"answer\"" }],
        "input": { "transforms": [{ "filter": ".id != \"of no interest\"" }], "acknowledge": INBOX },
    });
    let scene = Scene::new(over).await;
    let script = Script::new().say("none", [Say::Answer(0)]).say("filtered", [Say::Answer(3)]);
    let running = scene.run(&script).await;
    for id in ["none", "of no interest", "filtered"] {
        scene.ask(id, "k").await;
    }
    until("done", || {
        running.input()["counts"]["delivered"] == 2 && running.input()["backlog"] == 0
    })
    .await;
    assert_eq!(running.input()["counts"]["filtered"], 1);
    assert_eq!(running.status.to_json()["counts"]["filtered"], 3);
    assert_eq!(running.stop().await, Exit::Clean);
}

/// Whoever asks does not have the answer: what no mesh takes is kept as a dead letter, also out of the spool.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_no_mesh_takes_is_a_dead_letter() {
    for accept in [Accept::Mesh, Accept::Spool] {
        an_answer_that_is_too_large(accept).await;
    }
}

async fn an_answer_that_is_too_large(accept: Accept) {
    let scene = Scene::new(json!({ "limits": { "max_event_bytes": "2KiB" } })).await;
    let script = Script {
        padding: 4096,
        accept,
        ..Script::new()
    };
    let running = scene.run(&script).await;
    scene.ask("large", "k").await;
    until("done", || running.input()["counts"]["delivered"] == 1).await;
    until("dead letter", || running.status.to_json()["counts"]["dead_lettered"] == 1).await;
    let settings = settings(&scene.mesh, scene.dir.path(), &scene.over);
    let dead = letters(&settings.dead_letter, &scene.state()).unwrap();
    assert_eq!(dead.iter().map(|letter| letter.input()).collect::<Vec<_>>(), [None]);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_the_inbox_holds_and_takes_nothing_new() {
    let mut scene = Scene::new(acknowledged(INBOX)).await;
    let script = Script::new().say("held", [Say::Hold, Say::Fail(0, busy())]);
    let error = scene.start(&script, true).task.await.unwrap().unwrap_err();
    assert_eq!(error.code, "OC0510");
    let running = scene.run(&script).await;
    for id in ["held", "behind it"] {
        scene.ask(id, "k").await;
    }
    until("in the inbox", || running.input()["backlog"] == 2).await;
    assert_eq!(running.stop().await, Exit::Undelivered);
    scene.ask("new", "l").await;
    let exit = scene.start(&script, true).task.await.unwrap().unwrap();
    assert_eq!(exit, Exit::Clean);
    assert_eq!(
        scene.answers(2).await,
        [answer_id("held", 0).await, answer_id("behind it", 0).await]
    );
    assert!(!script.was_given("new", 1));
    let running = scene.run(&script).await;
    assert_eq!(scene.answers(1).await, [answer_id("new", 0).await]);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_room_however_much_waits_for_them() {
    let over = json!({ "limits": { "memory": "4MiB", "max_event_bytes": "128KiB" }, "input": { "acknowledge": INBOX, "in_flight": 64 } });
    let mut scene = Scene::new(over).await;
    let script = Script {
        padding: 100 << 10,
        ..Script::new()
    };
    let running = scene.run(&script).await;
    let data = "y".repeat(100 << 10);
    for n in 0..60 {
        scene.ask_with(&n.to_string(), &n.to_string(), &data).await;
    }
    assert_eq!(scene.answers(60).await.len(), 60);
    until("done", || running.input()["backlog"] == 0 && running.status.memory().0 == 0).await;
    assert_eq!(running.status.memory().1, 1 << 20);
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_nobody_expects_are_answered_and_told_apart() {
    let mut scene = Scene::new(acknowledged(INBOX)).await;
    let running = scene.run(&Script::new()).await;
    let long = "ü".repeat(2000);
    let ids = [
        " ",
        "a/0",
        "a",
        "../../etc/passwd",
        "' or 1=1 --",
        "grüße",
        "gru\u{308}ße",
        "🦀",
        "\u{202e}x",
        "{{ 1 + 1 }}",
        &long,
    ];
    let mut expected = Vec::new();
    for id in ids {
        scene.ask_with(id, id, "\u{0}\u{1b}[31m").await;
        expected.push(answer_id(id, 0).await);
    }
    let mut answers = scene.answers(ids.len()).await;
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
    expected.dedup();
    assert_eq!(expected.len(), ids.len());
    assert!(
        expected
            .iter()
            .all(|id| id.len() <= 53 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    );
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_is_refused_at_the_start_and_by_check() {
    let scene = Scene::new(json!({})).await;
    let without = Scene::new(json!({ "input": null })).await;
    let never = Script::default();
    let positions = Script {
        offsets: Some(OffsetKeeper::Core),
        ..Script::new()
    };
    for (scene, script, code) in [
        (&scene, never, "OC0218"),
        (&scene, positions, "OC0218"),
        (&without, Script::new(), "OC0219"),
    ] {
        let error = scene.start(&script, false).task.await.unwrap().unwrap_err();
        assert!(error.code == code && error.exit == Exit::Config, "{error}");
        assert!(!scene.state().join("input").exists());
        let report = check_source::<Answering>(scene.app(&script, false), false).await.unwrap();
        let line = report.lines.iter().find(|(what, ..)| what == "input").unwrap();
        assert_eq!(line.1, CheckState::Failed, "{line:?}");
    }
    let optional = Script {
        input: InputUse::Optional,
        ..Script::default()
    };
    for scene in [&scene, &without] {
        let running = scene.run(&optional).await;
        assert_eq!(
            running.input().is_null(),
            scene.over["input"].is_null() && !scene.over.as_object().unwrap().is_empty()
        );
        assert_eq!(running.stop().await, Exit::Clean);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weaker_link_decides_the_guarantee() {
    let lossy = json!({ "input": { "acknowledge": WRITE }, "delivery": { "require": "at-least-once" } });
    let scene = Scene::new(lossy).await;
    // Without asking the mesh, EventMesh 1.x is supposed: it forgets what is not acknowledged.
    let report = check_source::<Answering>(scene.app(&Script::new(), false), false).await.unwrap();
    let line = report.lines.iter().find(|(what, ..)| what == "guarantee").unwrap();
    assert!(
        line.1 == CheckState::Failed && line.2.contains("input.acknowledge is write"),
        "{line:?}"
    );
    let report = check_source::<Answering>(scene.app(&Script::new(), false), true).await.unwrap();
    let line = report.lines.iter().find(|(what, ..)| what == "guarantee").unwrap();
    assert!(
        line.1 == CheckState::Ok && line.2.contains("the mesh keeps an event of the input"),
        "{line:?}"
    );
    let running = scene.run(&Script::new()).await;
    assert_eq!(running.status.to_json()["guarantee"], "at-least-once");
    assert_eq!(running.stop().await, Exit::Clean);
}

#[tokio::test]
async fn a_source_is_tested_without_the_engine() {
    let (input, asks) = Input::alone();
    let mut context = SourceContext::alone("test", [].into());
    context.input = Some(input);
    let config = NoConfig {
        script: Script::new().say("a", [Say::Fail(0, busy())]),
    };
    let mut runner = openconnect_core::source::SourceRunner::<Answering>::start(config, context)
        .await
        .unwrap();
    let failed = asks.give(question("a", "", ""), 1).await.unwrap();
    assert_eq!(failed.ended().await, Err(busy()));
    let lost = asks.give(question("b", "", ""), 1).await.unwrap();
    drop(runner.next().await.unwrap());
    assert_eq!(lost.ended().await.unwrap_err().code, "OC0401");
    runner.close().await.unwrap();
}
