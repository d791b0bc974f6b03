//! Loading a configuration: layers, placeholders, and every mistake at once.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use openconnect_core::config::{
    ConnectorConfig, Loaded, NO_EFFECT, Problems, RateScope, Rejected, Section, Sources, contradictions, example, load, schema,
};
use openconnect_core::duration::HumanDuration;
use openconnect_core::secret::Secret;
use openconnect_core::{Error, Exit};
use schemars::JsonSchema;
use serde::Deserialize;

const CANARY: &str = "canary-5f2e-s3cret";

/// A section with one of everything.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Section1 {
    /// Where to send. Must be http or https.
    #[schemars(example = &"https://example.com/hook", extend("x-effect" = NO_EFFECT))]
    url: String,
    /// Who are we?
    #[schemars(extend("x-effect" = NO_EFFECT))]
    auth: Option<Auth>,
    /// Headers.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    headers: BTreeMap<String, String>,
    /// Secret headers.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    secret_headers: BTreeMap<String, Secret>,
    /// Codes that are retried.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    retry_codes: Vec<u16>,
    /// How bodies look.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    mode: Mode,
    /// Pause.
    #[schemars(extend("x-effect" = NO_EFFECT))]
    pause: Option<HumanDuration>,
    /// Number of things.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    batch: Batch,
}

/// Numbers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code)]
struct Batch {
    /// Events at the most.
    max_events: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code)]
enum Auth {
    /// User and password.
    Basic {
        /// User.
        user: String,
        /// Password.
        password: Secret,
    },
    /// A token.
    Bearer {
        /// Token.
        token: Secret,
    },
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// One event a request.
    #[default]
    Binary,
    /// Several.
    Batch,
}

impl ConnectorConfig for Section1 {
    fn validate(&self, problems: &mut Problems) {
        if !self.url.starts_with("http") {
            problems.add("url", "is neither http nor https");
        }
    }
}

fn sources(dir: &tempfile::TempDir, text: impl AsRef<[u8]>) -> Sources {
    let file = dir.path().join("orders.yaml");
    std::fs::write(&file, text).unwrap();
    Sources {
        file: Some(file),
        ..Sources::default()
    }
}

/// Loads, with the folder's name taken out of the messages.
fn try_load(text: &str, change: impl FnOnce(&mut Sources)) -> Result<Loaded<Section1>, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(&dir, text);
    change(&mut sources);
    let folder = format!("{}/", dir.path().display());
    load::<Section1>(&sources, Section::Sink).map_err(|rejected: Rejected| rejected.to_string().replace(&folder, ""))
}

fn mistakes(text: &str) -> String {
    try_load(text, |_| {}).unwrap_err()
}

const GOOD: &str = "name: orders\nmesh: {url: 'tcp://127.0.0.1:10000', topic: orders}\nsink: {url: 'http://x'}\n";

#[test]
fn a_small_file_loads() {
    let loaded = try_load(GOOD, |_| {}).unwrap();
    assert_eq!(loaded.settings.name, "orders");
    assert_eq!(loaded.settings.mesh.topic, "orders");
    assert_eq!(loaded.connector.mode, Mode::Binary);
}

#[test]
fn three_mistakes_are_reported_with_place_and_nearest_name() {
    let text = "name: orders\nmesh:\n  url: tcp://127.0.0.1:10000\n  topik: orders\nsink:\n  url: https://x\n  pause: soon\n  batch:\n    max_event: 10\n";
    insta::assert_snapshot!(mistakes(text), @r#"
    orders.yaml has 3 mistakes
      orders.yaml:4:3 mesh.topik: unknown key; did you mean `topic`? [OC0103]
      orders.yaml:7:10 sink.pause: `soon` is not a duration; write for instance 500ms, 10s or 2m [OC0106]
      orders.yaml:9:5 sink.batch.max_event: unknown key; did you mean `max_events`? [OC0103]
    "#);
}

#[test]
fn every_kind_of_mistake_is_found_at_once() {
    let text = "name: 'bad name'\nmesh: {url: 'htp://x', topic: 5}\nadmn: {}\ndelivery:\n  require: at-lest-once\n  in_flight: 0\n  retry: {initial: 10 parsecs}\n\
                dead_letter: {topic: a, file: b}\ntransforms: [{jqq: .}]\n\
                sink:\n  mode: bach\n  retry_codes: [500, 70000, x]\n  auth: {type: basic, user: me, pasword: hunter22}\n  headers: [a]\n  pause: ${env:NO_SUCH}\n";
    insta::assert_snapshot!(mistakes(text), @r#"
    orders.yaml has 16 mistakes
      orders.yaml:1:7 name: may have letters, digits, `-` and `_` only [OC0106]
      orders.yaml:2:13 mesh.url: has an unknown scheme; one of tcp, tcps, grpc, grpcs [OC0106]
      orders.yaml:2:31 mesh.topic: expected a text, found a number; put it in quotes [OC0105]
      orders.yaml:3:1 admn: unknown key; did you mean `admin`? [OC0103]
      orders.yaml:5:12 delivery.require: `at-lest-once` is not known here; did you mean `at-least-once`? One of `at-most-once`, `at-least-once`, `effectively-once` [OC0106]
      orders.yaml:6:14 delivery.in_flight: must be more than 0 [OC0106]
      orders.yaml:7:20 delivery.retry.initial: `10 parsecs` is not a duration; write for instance 500ms, 10s or 2m [OC0106]
      orders.yaml:8:31 dead_letter.file: `topic` and `file` exclude each other; keep one [OC0106]
      orders.yaml:9:15 transforms[0].jqq: unknown key; did you mean `jq`? [OC0103]
      orders.yaml:10:1 sink.url: is required and missing: Where to send [OC0104]
      orders.yaml:11:9 sink.mode: `bach` is not known here; did you mean `batch`? One of `binary`, `batch` [OC0106]
      orders.yaml:12:22 sink.retry_codes[1]: `70000` is too large; at most 65535 [OC0106]
      orders.yaml:12:29 sink.retry_codes[2]: expected a whole number, found a text [OC0105]
      orders.yaml:13:33 sink.auth.pasword: unknown key; did you mean `password`? [OC0103]
      orders.yaml:14:12 sink.headers: expected a section with keys, found a list [OC0105]
      orders.yaml:15:10 sink.pause: the environment variable NO_SUCH is not set; set it, or write `${env:NO_SUCH:-default}` [OC0107]
    "#);
}

#[test]
fn environment_and_flags_lie_over_the_file() {
    let loaded = try_load(GOOD, |sources| {
        for (key, value) in [
            ("OPENCONNECT__MESH__TOPIC", "12345"),
            ("OPENCONNECT__MESH__WINDOW", "7"),
            ("OPENCONNECT__SINK__RETRY_CODES", "[500, 503]"),
            ("OPENCONNECT__SINK__AUTH", r#"{"type":"bearer","token":"abc"}"#),
            ("OPENCONNECT__NAME", "from-environment"),
            ("OPENCONNECT__SINK__HEADERS__X-Key", "v"),
        ] {
            sources.environment.insert(key.to_owned(), value.to_owned());
        }
        sources.set = vec!["name=from-flag".to_owned(), "sink.batch.max_events=${env:N:-9}".to_owned()];
    })
    .unwrap();
    assert_eq!(loaded.settings.name, "from-flag");
    assert_eq!(loaded.settings.mesh.topic, "12345");
    assert_eq!(loaded.settings.mesh.window, Some(7));
    assert_eq!(loaded.connector.retry_codes, [500, 503]);
    assert_eq!(loaded.connector.batch.max_events, Some(9));
    assert_eq!(loaded.connector.headers["X-Key"], "v");
    assert!(matches!(loaded.connector.auth, Some(Auth::Bearer { .. })));
    assert_eq!(loaded.written.shown()["sink"]["auth"], "***");
}

/// More elements than one digit counts, and a list that the file does not have.
#[test]
fn a_list_is_set_by_the_index_of_its_elements() {
    let with = |codes: &[(usize, u16)], file: &str| {
        try_load(file, |sources| {
            for (index, code) in codes {
                let name = format!("OPENCONNECT__SINK__RETRY_CODES__{index}");
                sources.environment.insert(name, code.to_string());
            }
        })
    };
    let many: Vec<(usize, u16)> = (0..12).map(|index| (index, 500 + u16::try_from(index).unwrap())).collect();
    let codes: Vec<u16> = (500..512).collect();
    for file in [GOOD.to_owned(), GOOD.replace("'http://x'", "'http://x', retry_codes: [1, 2, 3]")] {
        assert_eq!(with(&many, &file).unwrap().connector.retry_codes, codes);
    }
    let text = with(&[(0, 500), (2, 502)], GOOD).unwrap_err();
    assert!(
        text.contains("environment variable OPENCONNECT__SINK__RETRY_CODES__2")
            && text.contains("has 1 elements")
            && text.contains("as JSON"),
        "{text}"
    );
}

/// A variable that sets nothing is not passed over when it was meant to set something.
#[test]
fn one_underline_where_two_belong_is_a_mistake() {
    for (name, right) in [
        ("OPENCONNECT_MESH_TOPIC", "OPENCONNECT__MESH__TOPIC"),
        ("OPENCONNECT_SINK__RETRY_CODES", "OPENCONNECT__SINK__RETRY_CODES"),
        ("OPENCONNECT_MESH_REQUEST_TIMEOUT", "OPENCONNECT__MESH__REQUEST_TIMEOUT"),
    ] {
        let text = try_load(GOOD, |sources| _ = sources.environment.insert(name.to_owned(), "x".to_owned())).unwrap_err();
        assert!(text.contains(name) && text.contains(right), "{text}");
    }
    for other in [
        "OPENCONNECT_CONFIG",
        "OPENCONNECT_SERVICE_HOST",
        "OPENCONNECT_MESH_PORT_80_TCP",
        "OPENCONNECT_",
    ] {
        try_load(GOOD, |sources| _ = sources.environment.insert(other.to_owned(), "x".to_owned())).unwrap();
    }
}

/// JSON writers with ASCII output make pairs of surrogates. A tag that means something elsewhere is not ignored.
#[test]
fn json_with_surrogates_is_read_and_foreign_tags_are_refused() {
    let topic = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        try_load("", |sources| sources.file = Some(file)).map(|loaded| loaded.settings.mesh.topic)
    };
    let json = |topic: &str| {
        format!(
            "{{\"name\":\"a\",\"mesh\":{{\"url\":\"tcp://127.0.0.1:10000\",\"topic\":\"{topic}\"}},\"sink\":{{\"url\":\"http://127.0.0.1:1/\"}}}}"
        )
    };
    for (written, meant) in [
        ("\\ud83d\\ude00", "\u{1f600}"),
        ("a\\uD83D\\uDE00\\u00e9", "a\u{1f600}é"),
        ("\\\\ud83d", "\\ud83d"),
        ("\\\\\\ud83d\\ude00", "\\\u{1f600}"),
    ] {
        for name in ["c.json", "c.yaml"] {
            assert_eq!(topic(name, &json(written)).unwrap(), meant, "{written}");
        }
    }
    assert!(topic("c.json", &json("\\ud83d")).is_err());
    for tag in ["!env TOPIC", "!!binary dG9waWM=", "!Ref topic", "!<tag:example.org,2026:x> t"] {
        let text = topic("c.yaml", &GOOD.replace("topic: orders", &format!("topic: {tag}"))).unwrap_err();
        assert!(text.contains("tag") && text.contains("OC0102"), "{tag}: {text}");
    }
    assert_eq!(topic("c.yaml", &GOOD.replace("topic: orders", "topic: !!str 12")).unwrap(), "12");
}

#[test]
fn mistakes_in_other_layers_name_the_layer() {
    let text = try_load(GOOD, |sources| {
        sources.environment.insert("OPENCONNECT__MESH__WINDOWS".to_owned(), "7".to_owned());
        sources
            .environment
            .insert("OPENCONNECT__SINK__RETRY_CODES".to_owned(), "many".to_owned());
        sources.set = vec!["mesh.connections=two".to_owned()];
    })
    .unwrap_err();
    insta::assert_snapshot!(text, @r#"
    orders.yaml has 3 mistakes
      --set mesh.connections: expected a whole number, found a text [OC0105]
      environment variable OPENCONNECT__MESH__WINDOWS mesh.windows: unknown key; did you mean `window`? [OC0103]
      environment variable OPENCONNECT__SINK__RETRY_CODES sink.retry_codes: expected a list, found a text [OC0105]
    "#);
}

#[test]
fn toml_and_json_load_too() {
    for (name, text) in [
        (
            "a.toml",
            "name='orders'\n[mesh]\nurl='tcp://h:1'\ntopic='t'\n[sink]\nurl='http://x'\nretry_codes=[500]\n",
        ),
        (
            "a.json",
            r#"{"name":"orders","mesh":{"url":"tcp://h:1","topic":"t"},"sink":{"url":"http://x","retry_codes":[500]}}"#,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let loaded = load::<Section1>(
            &Sources {
                file: Some(file),
                ..Sources::default()
            },
            Section::Sink,
        )
        .unwrap();
        assert_eq!(loaded.connector.retry_codes, [500], "{name}");
    }
}

#[test]
fn unusable_files_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let of = |text: &[u8]| load::<Section1>(&sources(&dir, text), Section::Sink).unwrap_err();
    assert!(
        of(b"name: a\nx: \xff")
            .to_string()
            .contains("not UTF-8 text: the first wrong byte is in line 2")
    );
    assert!(of(b"- a\n- b").to_string().contains("must hold keys and values"));
    assert!(of(b"a: [1").problems[0].place.contains("orders.yaml:"));
    assert!(of(b"name: a\nname: b").problems.iter().any(|p| p.code == "OC0108"));
    let large = dir.path().join("large.yaml");
    std::fs::File::create(&large).unwrap().set_len(100 << 20).unwrap();
    for (file, word) in [
        (large, "larger than 1 MiB"),
        (dir.path().join("none.yaml"), "can't be read"),
        (dir.path().to_owned(), "folder"),
    ] {
        let rejected = load::<Section1>(
            &Sources {
                file: Some(file),
                ..Sources::default()
            },
            Section::Sink,
        )
        .unwrap_err();
        assert!(rejected.to_string().contains(word), "{rejected}");
        assert_eq!(Error::from(rejected).exit, Exit::Config);
    }
    let none = load::<Section1>(&Sources::default(), Section::Sink).unwrap_err();
    assert!(none.to_string().contains("--config"), "{none}");
}

#[test]
fn a_rate_limit_is_a_number_one_limit_or_several() {
    let load = |limit: &str| {
        let text = format!("name: a\nmesh: {{url: 'tcp://h:1', topic: t}}\nsink: {{url: 'http://h'}}\ndelivery: {{rate_limit: {limit}}}\n");
        try_load(&text, |_| {})
    };
    let limits = |limit: &str| {
        let settings = load(limit).unwrap_or_else(|e| panic!("{e}")).settings;
        settings.delivery.rate_limit.unwrap().limits()
    };
    let minute = HumanDuration(std::time::Duration::from_secs(60));
    assert_eq!(limits("10").len(), 1);
    let one = limits("{count: 20, per: 1m, by: target}");
    assert_eq!((one[0].count.get(), one[0].per, one[0].by), (20, minute, RateScope::Target));
    assert_eq!(limits("[{count: 100, per: 1m}, {count: 5}]").len(), 2);
    for wrong in ["0", "{count: 0}", "{per: 1m}", "{count: 1, per: 1ms}", "{count: 1, by: robot}"] {
        assert!(load(wrong).unwrap_err().contains("rate_limit"), "{wrong}");
    }
}

#[test]
fn no_secret_shows() {
    let dir = tempfile::tempdir().unwrap();
    let secret: PathBuf = dir.path().join("token");
    std::fs::write(&secret, format!("{CANARY}\n")).unwrap();
    let text = format!(
        "name: orders\nmesh: {{url: 'tcp://h:1', topic: t, username: u, password: {CANARY}, token: '${{env:T}}'}}\n\
         sink:\n  url: 'http://me:{CANARY}@host/x'\n  headers: {{a: '${{file:{}}}'}}\n  secret_headers: {{b: {CANARY}}}\n  auth: {{type: basic, user: u, password: {CANARY}}}\n",
        secret.display()
    );
    let with_env = |sources: &mut Sources| {
        sources.environment.insert("T".to_owned(), CANARY.to_owned());
    };
    let loaded = try_load(&text, with_env).unwrap();
    assert_eq!(loaded.connector.headers["a"], CANARY);
    assert_eq!(loaded.settings.mesh.token.as_ref().unwrap().expose(), CANARY);
    assert!(!loaded.written.shown().to_string().contains(CANARY), "{}", loaded.written.shown());
    assert!(!format!("{:?}", loaded.settings).contains(CANARY));
    assert!(!schema::<Section1>(Section::Sink).to_string().contains(CANARY));
    // The same secrets, each in a place where it is wrong.
    for wrong in [
        format!("mesh: {{password: [{CANARY}]}}"),
        format!("mesh: {{password: {{a: {CANARY}}}}}"),
        "mesh: {window: '${env:T}', heartbeat: '${env:T}'}".to_owned(),
        "delivery: {require: '${env:T}', retry: {initial: 'a${env:T}'}}".to_owned(),
        format!("sink: {{mode: '${{file:{}}}'}}", secret.display()),
        format!("sink: {{auth: {{type: basic, password: {{x: {CANARY}}}}}}}"),
        format!("sink: {{auth: {{type: bearer, tokn: {CANARY}}}}}"),
        format!("sink: {{url: 'tcp://me:{CANARY}@h'}}\nmesh: {{url: 'tcp://me:{CANARY}@h:1'}}"),
        format!("sink: {{secret_headers: {CANARY}}}"),
        format!("password: \"{CANARY}\nx: }}"),
    ] {
        let rejected = try_load(&wrong, with_env).unwrap_err();
        assert!(!rejected.contains(CANARY), "{wrong}\n{rejected}");
    }
}

#[test]
fn an_empty_secret_is_a_mistake_with_its_place() {
    let text = "name: orders\nmesh: {url: 'tcp://h', topic: t, password: ''}\nsink:\n  url: https://x\n  secret_headers: {a: '  '}\n  auth: {type: bearer, token: '${env:T}'}\n";
    let rejected = try_load(text, |sources| {
        sources.environment.insert("T".to_owned(), String::new());
    })
    .unwrap_err();
    for path in ["mesh.password", "sink.secret_headers.a", "sink.auth.token"] {
        assert!(rejected.contains(&format!("{path}: is empty or blank")), "{path}: {rejected}");
    }
    assert!(Secret::new("\t ").is_none());
    assert!(Secret::new(" key").is_some());
}

#[test]
fn the_example_loads_and_so_does_all_of_it() {
    let text = example::<Section1>("test-sink", Section::Sink);
    // The connector's own section: those of the core change with their explanations.
    insta::assert_snapshot!("example", text.split("\n\n").find(|part| part.contains("\nsink:\n")).unwrap());
    try_load(&text, |_| {}).unwrap();
    // Everything uncommented: every key is known and has a value of the right type.
    let all: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("# "))
        .map(|line| format!("{}\n", line.strip_prefix('#').unwrap_or(line)))
        .collect();
    if let Err(text) = try_load(&all, |_| {}) {
        panic!("{all}\n{text}");
    }
    for section in [Section::Source, Section::Sink] {
        let found = contradictions::<Section1>("test", section);
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// A section with a setting of which `config plan` has nothing to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Silent {
    /// Something.
    #[serde(default)]
    something: String,
}

impl ConnectorConfig for Silent {}

#[test]
fn a_setting_that_does_not_say_what_a_change_does_is_found() {
    let found = contradictions::<Silent>("test", Section::Sink);
    assert!(found.len() == 1 && found[0].starts_with("sink.something: "), "{found:#?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        let _ = load::<Section1>(&sources(&dir, bytes), Section::Sink);
    }

    #[test]
    fn no_yaml_panics(text in "(name|mesh|sink|transforms|url|auth|type|mode|\\$\\{env:|\\$\\{file:|[:{}\\[\\]&*!|>'\"%@`#,?~ \n-]|[a-z0-9.]{1,3}|\t){0,80}") {
        let dir = tempfile::tempdir().unwrap();
        let _ = load::<Section1>(&sources(&dir, text), Section::Sink);
    }
}

/// Of a source that can take a topic as its input.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Answers {
    /// How many.
    #[serde(default)]
    #[schemars(extend("x-effect" = NO_EFFECT))]
    count: u32,
}

impl ConnectorConfig for Answers {
    const TAKES_INPUT: bool = true;
}

#[test]
fn an_input_is_a_setting_of_connectors_that_take_one() {
    let has_input = |schema: &serde_json::Value| schema["properties"].get("input").is_some();
    assert!(has_input(&schema::<Answers>(Section::Source)));
    assert!(!has_input(&schema::<Answers>(Section::Sink)));
    let without = schema::<Section1>(Section::Source);
    assert!(!has_input(&without) && !without.to_string().contains("InputSettings"));
    assert_eq!(contradictions::<Answers>("answers-source", Section::Source), [""; 0]);
    assert!(example::<Answers>("answers-source", Section::Source).contains("\ninput:\n"));
}

#[test]
fn an_input_that_would_feed_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mistakes = |input: &str, section: Section, rest: &str| {
        let text = format!(
            "name: a\nmesh: {{url: 'tcp://127.0.0.1:10000', topic: answers}}\n{}: {{}}\ninput: {input}\n{rest}",
            section.key()
        );
        let loaded = load::<Answers>(&sources(&dir, text), section);
        loaded.map_or_else(|rejected| rejected.to_string(), |_| String::new())
    };
    let of_source = |input, rest| mistakes(input, Section::Source, rest);
    assert_eq!(of_source("{topic: questions, group: g, acknowledge: inbox, in_flight: 3}", ""), "");
    for (input, rest, what) in [
        ("{topic: answers}", "", "input.topic: is the topic that the source publishes to"),
        ("{topic: ' '}", "", "input.topic: is empty"),
        (
            "{topic: questions}",
            "dead_letter: {topic: questions}",
            "dead_letter.topic: is the topic that the source reads",
        ),
        ("{topic: questions, group: ''}", "", "input.group: is empty"),
        ("{topic: questions, in_flight: 0}", "", "input.in_flight: must be more than 0"),
        ("{}", "", "topic"),
    ] {
        let told = of_source(input, rest);
        assert!(told.contains(what), "{told}");
    }
    let told = mistakes("{topic: questions}", Section::Sink, "");
    assert!(told.contains("input: is for sources only"), "{told}");
}
