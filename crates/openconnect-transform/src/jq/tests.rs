#![allow(clippy::unwrap_used)]
//! Programs that would take the process with them, through the public face of the transforms.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use cloudevents::{Event, EventBuilder, EventBuilderV10};
use proptest::prelude::*;

use crate::codes::PROGRAM_INVALID;
use crate::{TransformConfig, Transformed, Transforms};
use openconnect_error::{Failure, FailureKind};

/// Far more than any program may take: the machine can be busy.
const DEADLINE: Duration = Duration::from_secs(120);

fn event(data: &str) -> Event {
    let built = EventBuilderV10::new().id("1").source("/s").ty("t");
    built.data("application/json", data.to_owned()).build().unwrap()
}

/// What the program does to an event that has `hostile`, and to one after it, for which the program ends at once.
fn run(program: &str) -> (Transformed, Transformed) {
    let text = format!("if .data.hostile then ({program}) else . end");
    let transforms = Transforms::compile(&[TransformConfig::Jq(text)], None).map_err(|error| error.reason());
    let transforms = transforms.unwrap();
    let (to, done) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let events = [r#"{"hostile": true, "list": [1, 2.5, "three", null]}"#, "{}"].map(|data| Ok::<_, Infallible>(Arc::new(event(data))));
        let mut after = runtime.block_on(transforms.apply(events.into())).into_iter().flatten();
        let _ = to.send((after.next().unwrap(), after.next().unwrap()));
    });
    done.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("not in time: {program}"))
}

fn harmless(program: &str) -> Option<Failure> {
    let (hostile, next) = run(program);
    assert!(matches!(next, Transformed::Keep(..)), "{program}: the next event: {next:?}");
    match hostile {
        Transformed::Failed(_, failure) => {
            assert_eq!(failure.kind, FailureKind::Permanent, "{program}: {failure}");
            Some(failure)
        }
        Transformed::Lost(failure) => panic!("{program}: {failure}"),
        Transformed::Keep(..) | Transformed::Drop => None,
    }
}

#[test]
fn hostile_programs_fail_alone_and_say_by_what() {
    for (program, reason) in [
        // Recursion, in every place that it can be in.
        ("def f: 1 + f; f", "itself too deeply"),
        ("def f: f; f", "itself too deeply"),
        ("def f: f, 1; f", "itself too deeply"),
        ("def f: (f, 1) | .; f", "itself too deeply"),
        ("def f: [f]; f", "itself too deeply"),
        ("def f: {a: f}; f", "itself too deeply"),
        (r#"def f: "\(f)"; f"#, "itself too deeply"),
        ("def f(g): f(g | .); f(.)", "itself too deeply"),
        ("def f(g): def h: f(g|.); h; f(.)", "itself too deeply"),
        ("def f(g): g | f(g); f(.)", "itself too deeply"),
        ("def f: reduce (1, 2) as $x (0; f); f", "itself too deeply"),
        ("def f: foreach f as $x (0; 1); f", "itself too deeply"),
        ("def f: . as {a: [$x]} | f; f", "itself too deeply"),
        ("def f: first(f); f", "itself too deeply"),
        ("def f: label $x | f; f", "itself too deeply"),
        ("def f: .a |= f; f", "itself too deeply"),
        ("def f: .[]?, f; f |= 1", "itself too deeply"),
        ("until(false; .)", "itself too deeply"),
        ("(reduce range(1000000) as $i (.; .)) |= 1", "itself too deeply"),
        // What can't be caught.
        ("try (def f: 1 + f; f) catch 1", "itself too deeply"),
        ("def f: (try f catch .), (try f catch .); f", "itself too deeply"),
        ("(def f: 1 + f; f) // 1", "itself too deeply"),
        ("label $out | (def f: 1 + f; f), break $out", "itself too deeply"),
        // Depth of values.
        ("reduce range(1000000) as $i (null; [.])", "levels deep"),
        ("reduce range(1000000) as $i (null; {a: .})", "levels deep"),
        ("def f($x): f([$x]); f(1)", "levels deep"),
        (r#""[" * 1000000 | fromjson"#, "levels deep"),
        // Texts.
        (r#""x" | reduce range(60) as $i (.; . + .)"#, "a text of"),
        (r#""x" * 1000000000000"#, "a text of"),
        (r#""\u0001" * 2000000 | tojson"#, "a text of"),
        ("reduce range(60) as $i ([1]; [., .]) | tojson", "a text of"),
        (r#"0 | strftime("%c" * 1000000)"#, "a text of"),
        // Memory.
        (r#""x" * 1000000 | explode"#, "of memory"),
        (r#""x" * 8000000 | [., ., ., ., ., ., ., ., ., .] | map(. + "y")"#, "of memory"),
        ("reduce range(1000000) as $i (0; ., .)", "of memory"),
        ("reduce range(5000000) as $i ((0, 0); .)", "of memory"),
        ("[range(300000)] | sort_by(range(100))", "of memory"),
        ("reduce range(60) as $i ([1]; [., .]) | [paths] | length", "of memory"),
        // Steps and time.
        ("[range(0; 1; 0)]", "for one event"),
        ("last(repeat(1))", "for one event"),
        ("[range(100000)] | .[range(100000):range(100000)] |= .", "for one event"),
        (
            "reduce range(60) as $i ([1]; [., .]) | . == (reduce range(60) as $i ([1]; [., .]))",
            "for one event",
        ),
        (r#""ab" * 1000000 | indices("ab" * 100000)"#, "for one event"),
        (r#""x" * 8000000 | [splits("")]"#, "for one event"),
        ("[range(2000)] | . as $x | map(. as $y | $x | contains([$y, -1]))", "for one event"),
    ] {
        let failure = harmless(program).unwrap_or_else(|| panic!("{program} went through"));
        assert_eq!(failure.code, "OC0125", "{program}: {failure}");
        // Where the machine or the build is slow, steps or time can be spent first.
        let spent = ["steps", "processor time"].iter().any(|first| failure.reason().contains(first));
        assert!(failure.reason().contains(reason) || spent, "{program}: {failure}");
    }
    #[cfg(target_os = "linux")]
    assert!(peak_memory() < 512 << 20, "{} bytes", peak_memory());
}

/// The largest that this process has been.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_text_that_is_too_deep_or_too_long_is_refused_at_the_start() {
    let around = |open: &str, inner: &str, close: &str, times| open.repeat(times) + inner + &close.repeat(times);
    for (program, code) in [
        (around("[", ".", "]", 8_000), Some(PROGRAM_INVALID)),
        (around("-", "1", "", 16_000), Some(PROGRAM_INVALID)),
        (around(".|", ".", "", 8_000), Some(PROGRAM_INVALID)),
        (around("try ", ".", "", 4_000), Some(PROGRAM_INVALID)),
        (around("def f:", ".", ";.", 2_000), Some(PROGRAM_INVALID)),
        (around("1,", "1", "", 8_000), Some(PROGRAM_INVALID)),
        (around(".", ".a", "[0]", 5_000), Some(PROGRAM_INVALID)),
        (around("(", ".", "", 16_000), Some(PROGRAM_INVALID)),
        (around("[", "", "", 16_000), Some(PROGRAM_INVALID)),
        (around(" ", ".", "", 17_000), Some(PROGRAM_INVALID)),
        (around("(", ".", ")", 8_000), None),
        (around("map(", ".", ")", 300), None),
    ] {
        let compiled = Transforms::compile(&[TransformConfig::Filter(program.clone())], None);
        assert_eq!(compiled.err().map(|error| error.code), code, "{}", &program[..20]);
    }
}

/// Programs out of what can go wrong: definitions that call themselves and each other, loops, texts and lists that grow.
fn programs() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(".".to_owned()),
        Just("..".to_owned()),
        Just("f".to_owned()),
        Just("$x".to_owned()),
        Just("empty".to_owned()),
        Just("null".to_owned()),
        Just("nan".to_owned()),
        Just(".data.list".to_owned()),
        Just(".[]?".to_owned()),
        (0..3_i64).prop_map(|n| n.to_string()),
        Just("1000000".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("\"text\"".to_owned()),
    ];
    let inner = leaf.prop_recursive(7, 48, 3, |inner| {
        let (a, b, c) = (inner.clone(), inner.clone(), inner.clone());
        let one = (a, 0..16_usize).prop_map(|(a, shape)| match shape {
            0 => format!("[{a}]"),
            1 => format!("{{a: {a}}}"),
            2 => format!("g({a})"),
            3 => format!("-({a})"),
            4 => format!("({a})?"),
            5 => format!("repeat({a})"),
            6 => format!("recurse({a})"),
            7 => format!("range({a})"),
            8 => format!("\"\\({a})\\({a})\""),
            9 => format!("(def f: {a}; f)"),
            10 => format!("(def g(h): {a}, h; g(f))"),
            11 => format!("walk({a})"),
            12 => format!("[limit(100000; {a})]"),
            13 => format!("({a} | tojson)"),
            14 => format!("[paths({a})]"),
            _ => format!("sort_by({a})"),
        });
        let two = (b, c, 0..14_usize).prop_map(|(a, b, shape)| match shape {
            0 => format!("({a} | {b})"),
            1 => format!("({a}, {b})"),
            2 => format!("({a} + {b})"),
            3 => format!("({a} * {b})"),
            4 => format!("({a} |= {b})"),
            5 => format!("reduce {a} as $x ({b}; ., $x)"),
            6 => format!("reduce range(1000000) as $x ({a}; {b})"),
            7 => format!("foreach {a} as $x ({b}; . + $x)"),
            8 => format!("({a} as $x | {b})"),
            9 => format!("({a} // {b})"),
            10 => format!("until({a}; {b})"),
            11 => format!("(try {a} catch {b})"),
            12 => format!("(if {a} then {b} else f end)"),
            _ => format!("({a} == {b})"),
        });
        prop_oneof![one, two]
    });
    (inner.clone(), inner.clone(), inner)
        .prop_map(|(f, g, main)| format!("1 as $x | def f: .; def g(h): h; def f: {f}; def g(h): {g}; {main}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn no_program_harms_more_than_its_event(program in programs()) {
        harmless(&program);
    }
}
