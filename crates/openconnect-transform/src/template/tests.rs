#![allow(clippy::unwrap_used)]
use super::*;
use cloudevents::{EventBuilder, EventBuilderV10};

#[test]
fn attributes_extensions_and_data_are_there_and_what_is_missing_is_named() {
    let event = EventBuilderV10::new()
        .id("1")
        .source("/s")
        .ty("t")
        .extension("partitionkey", "a/b")
        .data("application/json", "{\"order\":{\"id\":12345678901234567}}".to_owned())
        .build()
        .unwrap();
    let render = |text: &str| Template::compile(text).unwrap().render(&event);
    assert_eq!(
        render("/{{ type }}/{{ partitionkey | urlencode }}/{{ data.order.id }}").unwrap(),
        "/t/a%2Fb/12345678901234567"
    );
    assert_eq!(render("{{ subject | default('none') }}").unwrap(), "none");
    let failure = render("x {{ data.order.name }}").unwrap_err();
    assert!(failure.reason().contains("order.name"), "{failure}");
    assert!(Template::compile("{{ data.").is_err());
    assert!(Template::compile("plain").unwrap().is_constant());
}

#[test]
fn a_template_that_could_take_long_or_make_much_is_refused_or_stopped() {
    let long = "\"<'\\\\".repeat(60_000);
    let data = serde_json::json!({ "text": long, "list": [long, long], "short": "ab" }).to_string();
    let event = EventBuilderV10::new().id("1").source("/s").ty("t");
    let event = event.data("application/json", data).build().unwrap();
    for refused in [
        "{% set x = data %}{{ x }}",
        "{%- with x = data %}{{ x }}{% endwith %}",
        "{% filter upper %}x{% endfilter %}",
        "{% macro f() %}{{ f() }}{% endmacro %}",
        "{{ 'x' * 100000000 }}",
        "{{ data.text ~ data.text }}",
        "{{ data.text + data.text }}",
        "{{ '}}' ~ data.text }}",
        "{# }} #}{{ 'a\\'' ~ data.text }}",
        "{{ range(3) }}",
        "{{ data.list | map('upper') }}",
        "{{ data.list | batch(1000000000) }}",
        "{{ data.text | indent(1000000000) }}",
        &format!("{{{{ {} }}}}", "(".repeat(3_000)),
        &format!("{{{{ id{} }}}}", " | upper".repeat(1_000)),
    ] {
        assert_eq!(Template::compile(refused).unwrap_err().code, "OC0121", "{refused}");
    }
    for stopped in [
        "{{ data.text }}",
        "{{ data.list | join(data.text) }}",
        "{{ data.text | replace('', data.text) }}",
        "{{ data.short | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson \
         | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | tojson | length }}",
        "{{ data.text | urlencode | length }}",
        &"{{ data.short | replace('a', id) | urlencode }}{{ data.text }}".repeat(50),
    ] {
        let failure = Template::compile(stopped).unwrap().render(&event).unwrap_err();
        assert!(
            [codes::TEMPLATE_FAILED, codes::TEXT_TOO_LONG].contains(&failure.code),
            "{stopped}: {failure}"
        );
        assert!(!failure.reason().contains("\"<'"), "{failure}");
    }
    for (fine, text) in [
        (
            "{% if data.short is defined and data.text %}{{ data.short }}{%- else -%}none{% endif %}",
            "ab",
        ),
        ("{{ data.short[:1] | upper }}~{{ data.list | length }}*+", "A~2*+"),
        ("{{ data.short | replace('a', '+~*') }}", "+~*b"),
        ("{{ data.short | tojson }}{{ [1, 'x'] | join('-') }}{# ~ #}", "\"ab\"1-x"),
    ] {
        assert_eq!(Template::compile(fine).unwrap().render(&event).unwrap(), text, "{fine}");
    }
}

fn json_event(id: &str, data: &serde_json::Value) -> Event {
    let event = EventBuilderV10::new().id(id).source("/s").ty("t");
    event.data("application/json", data.to_string()).build().unwrap()
}

#[test]
fn a_loop_goes_over_a_list_or_the_names_of_a_map() {
    let event = json_event(
        "1",
        &serde_json::json!({ "list": [{ "n": 1 }, { "n": 2 }, { "n": 3 }], "map": { "a": 1, "b": 2 }, "if": [7], "none": [] }),
    );
    for (text, rendered) in [
        ("{% for x in data.list %}{{ x.n }};{% endfor %}", "1;2;3;"),
        (
            "{%- for x in data.list[1:] -%} {{ loop.index }}/{{ loop.length }} {%- endfor -%} ",
            "1/22/2",
        ),
        (
            "{% for x in data.list %}{% if loop.first %}[{% endif %}{{ x.n }}{% if loop.last %}]{% endif %}{% endfor %}",
            "[123]",
        ),
        ("{% for k in data.map %}{{ k }}={{ data.map[k] }} {% endfor %}", "a=1 b=2 "),
        ("{% for x in(data.missing | default([])) %}x{% else %}none{% endfor %}", "none"),
        (
            "{% for x in data.none %}x{% endfor %}{% for y in data.if %}{{ y }}{% endfor %}",
            "7",
        ),
        ("{% for x in ['in', \"if' ~ %}\", '}}'] %}{{ x }} {% endfor %}", "in if' ~ %} }} "),
        ("{# {% for x in y %} #}{{ '{% for a in b %}' }}", "{% for a in b %}"),
        ("{{ {'a': {'b': '~'}}['a']['b'] }}", "~"),
    ] {
        assert_eq!(Template::compile(text).unwrap().render(&event).unwrap(), rendered, "{text}");
    }
}

#[test]
fn a_loop_that_is_not_bounded_is_refused() {
    for refused in [
        "{% for x in data %}{% for y in x %}{% endfor %}{% endfor %}",
        "{% for x in data %}{% if x %}{%- for y in x %}{% endfor %}{% endif %}{% endfor %}",
        "{% for x in data recursive %}{{ loop(x) }}{% endfor %}",
        "{% for x in data if x.a %}{% endfor %}",
        "{% for x in data if x.a else y %}{% endfor %}",
        "{% for k, v in data %}{% endfor %}",
        "{% for x in data) or (data %}{% endfor %}",
        "{% for x in data %}",
        "{% for x of data %}{% endfor %}",
        "{% for %}{% endfor %}",
        "{% for x in data %}{{ loop.cycle() }}{% endfor %}",
        "{% for x in data %}{{ [loop][0] . changed (x) }}{% endfor %}",
        "{% for x in data %}{% break %}{% endfor %}",
        "{{ {'a': {'b': 1}} ~ data.text }}",
        "{{ [1, ['}}', data.text ~ data.text]] }}",
    ] {
        assert_eq!(Template::compile(refused).unwrap_err().code, "OC0121", "{refused}");
    }
    let many: Vec<usize> = (0..1_001).collect();
    let event = json_event("1", &serde_json::json!({ "many": many, "text": "text", "number": 1 }));
    for stopped in ["data.many", "data.text", "data.number", "data.missing", "data.many | join('')"] {
        let template = Template::compile(&format!("{{% for x in {stopped} %}}{{% endfor %}}")).unwrap();
        assert_eq!(template.render(&event).unwrap_err().code, "OC0440", "{stopped}");
    }
    let fits = Template::compile("{% for x in data.many[:1000] %}{% if loop.last %}{{ loop.index }}{% endif %}{% endfor %}").unwrap();
    assert_eq!(fits.render(&event).unwrap(), "1000");
}

#[test]
fn a_group_is_one_text_of_many_events() {
    let events: Vec<Event> = (1..=3)
        .map(|n| json_event(&n.to_string(), &serde_json::json!({ "n": n })))
        .collect();
    let render = |text: &str| Template::compile(text).unwrap().render_group(&events);
    assert_eq!(
        render("{{ count }}:{% for e in events %} {{ e.id }}={{ e.data.n }}/{{ e.type }}{% endfor %}").unwrap(),
        "3: 1=1/t 2=2/t 3=3/t"
    );
    assert_eq!(render("{{ events[0].source }} to {{ (events | last).id }}").unwrap(), "/s to 3");
    assert_eq!(render("{{ id }}").unwrap_err().code, "OC0440");
    assert_eq!(render("same").unwrap(), "same");
}

/// A loop must not multiply what an event holds: not in the text, and not in what is read for it.
#[test]
fn a_loop_ends_with_its_budget() {
    let list: Vec<usize> = (0..1_000).collect();
    let event = json_event(
        "1",
        &serde_json::json!({ "list": list, "text": "x".repeat(512 << 10), "texts": vec!["y".repeat(512); 1_000] }),
    );
    for (text, code) in [
        ("{% for x in data.list %}{{ data.text }}{% endfor %}", "OC0441"),
        ("{% for x in data.texts %}{{ x }}{% endfor %}", "OC0441"),
        ("{% for x in data.list %}{{ data.text[1:] | length }}{% endfor %}", "OC0440"),
        ("{% for x in data.list %}{% if data == data %}{% endif %}{% endfor %}", "OC0440"),
        (
            "{% for x in data.list %}{{ 'ab' | replace('a', 'c' | replace('c', data.texts | first)) | upper | length }}{% endfor %}",
            "OC0440",
        ),
        (
            &format!(
                "{{% for x in data.texts %}}{}{{% endfor %}}",
                "{% if x == x %}{% endif %}".repeat(100)
            ),
            "OC0440",
        ),
    ] {
        let failure = Template::compile(text).unwrap().render(&event).unwrap_err();
        assert_eq!(failure.code, code, "{text}: {failure}");
    }
    let fits = "{% for x in data.texts %}{% if x == 'y' or x is startingwith('yy') %}{{ x[:3] | upper }}{% endif %}{% endfor %}";
    assert_eq!(Template::compile(fits).unwrap().render(&event).unwrap(), "YYY".repeat(1_000));
}

fn text_event(data: &str) -> Event {
    let event = EventBuilderV10::new().id("i").source("/s").ty("t").extension("flag", true);
    event.data("application/json", data.to_owned()).build().unwrap()
}

/// A number is the text that was sent, wherever it is written; what is compared or calculated with is a number.
#[test]
fn numbers_keep_their_digits() {
    for number in [
        "0",
        "-0",
        "-1",
        "0.1",
        "0.1000",
        "12.50",
        "1e5",
        "1E+5",
        "1e400",
        "-1e-400",
        "123456789012345678",
        "-9223372036854775809",
        "12345678901234567890123",
        "1234567890123456789012345678901234567890",
        "0.1234567890123456789012345678901234567890",
    ] {
        let event = text_event(&format!(
            "{{\"n\": {number} ,\"l\":[{number}, {number} ],\"o\":{{ \"n\" : {number} }}}}"
        ));
        for (template, text) in [
            ("{{ data.n }}", number.to_owned()),
            ("{{- data['n'] -}}", number.to_owned()),
            ("{{ data.n | default('x') }}", number.to_owned()),
            ("{{ data.n | urlencode }}", number.replace('+', "%2B")),
            ("{{ data.n | trim | upper }}", number.to_uppercase()),
            ("{{ data.l[-1] }}", number.to_owned()),
            ("{{ data.l | first }};{{ data.l | last }}", format!("{number};{number}")),
            ("{{ data.l | join('-') }}", format!("{number}-{number}")),
            ("{% for n in data.l %}{{ n }},{% endfor %}", format!("{number},{number},")),
            ("{{ data.o.n | tojson }}", number.to_owned()),
            ("{{ data.o }}", format!("{{\"n\":{number}}}")),
            ("{{ [data.n, 'a'] | tojson }}", format!("[{number},\"a\"]")),
            ("{% if data.n is number %}{{ data.n }}{% endif %}", number.to_owned()),
            ("{% if data.l == data.l %}{{ data.n }}{% endif %}", number.to_owned()),
        ] {
            if number.contains("400") && template.contains("==") {
                continue;
            }
            assert_eq!(
                Template::compile(template).unwrap().render(&event).unwrap(),
                text,
                "{template} of {number}"
            );
        }
    }
    let event = text_event(
        "{\"price\": 12.50, \"limit\": 100, \"list\": [1.50, 2], \"zero\": 0.00, \"map\": {\"a\": 1.0}, \"same\": {\"a\": 1.00}}",
    );
    for (template, text) in [
        ("{% if data.price > 100 %}more{% else %}less{% endif %}", "less"),
        ("{% if 13 > data.price %}more{% else %}less{% endif %}", "more"),
        (
            "{% if data['price'] | default(0) >= data.limit %}more{% else %}less{% endif %}",
            "less",
        ),
        ("{% if data.list | first == 1.5 %}equal{% endif %}", "equal"),
        ("{% if 1.5 in data.list and 2 in data.list %}in{% endif %}", "in"),
        ("{% if data.map == data.same %}equal{% endif %}", "equal"),
        ("{% if data.price != 12.5 %}other{% else %}equal{% endif %}", "equal"),
        ("{% for n in data.list %}{% if n < 2 %}{{ n }}{% endif %}{% endfor %}", "1.50"),
        (
            "{% for x in [data.price > 100, 13 > data.price, data.list[0] == 1.5] %}{{ x }} {% endfor %}",
            "false true true ",
        ),
        ("{% for x in [data.price, data.list[-1]] %}{{ x }} {% endfor %}", "12.50 2 "),
        ("{% if data.zero %}true{% else %}zero{% endif %}", "zero"),
        (
            "{{ data.price - 2 }} {{ data.limit / 8 }} {{ data.price | round }} {{ data.price | int }}",
            "10.5 12.5 13.0 12",
        ),
        ("{{ data.list[-1] }} {{ data.price if data.price is not string }}", "2 12.50"),
    ] {
        assert_eq!(Template::compile(template).unwrap().render(&event).unwrap(), text, "{template}");
    }
    let event = text_event("{\"n\": 1e400}");
    for template in ["{% if data.n > 1 %}{% endif %}", "{{ data.n | round }}"] {
        let failure = Template::compile(template).unwrap().render(&event).unwrap_err();
        assert!(failure.reason().contains("too large"), "{template}: {failure}");
    }
}

#[test]
fn null_is_absent_and_true_is_as_json_writes_it() {
    let event = text_event("{\"n\":null,\"t\":true,\"f\":false,\"l\":[null,true],\"o\":{\"n\":null}}");
    for (template, text) in [
        ("{{ data.t }}{{ data.f }}{{ flag }}", "truefalsetrue"),
        ("{{ data.n | default('none') }}", "none"),
        (
            "{% if data.n is none and data.n is not defined and data.x is none %}absent{% endif %}",
            "absent",
        ),
        ("{% if data.n %}x{% else %}absent{% endif %}", "absent"),
        ("{{ data.o }}{{ data.l | tojson }}", "{\"n\":null}[null,true]"),
        ("{{ data.t | upper }}", "TRUE"),
        ("{{ 'x' if data.f }}", ""),
    ] {
        match Template::compile(template).unwrap().render(&event) {
            Ok(rendered) => assert_eq!(rendered, text, "{template}"),
            Err(failure) => assert!(template.contains("if data.n %"), "{template}: {failure}"),
        }
    }
    for template in [
        "{{ data.n }}",
        "{{ data.n | upper }}",
        "{{ data.o.n.x }}",
        "{{ data.l | join }}",
        "{{ none }}",
    ] {
        assert_eq!(
            Template::compile(template).unwrap().render(&event).unwrap_err().code,
            "OC0440",
            "{template}"
        );
    }
}

/// What is not asked for may be anything that JSON allows. What is asked for and can't be read says why.
#[test]
fn one_odd_value_leaves_the_others_as_they_are() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for odd in ["1e400", "\"\\ud800\"", &deep, "{\"\\ud800\": 1}", "\"\\u0000\""] {
        let event = text_event(&format!(
            "{{ \"n\" : 1, \"odd\": {odd}, \"\\udfff\": 2, \"o\":{{\"odd\":{odd},\"m\":\"x\"}} }}"
        ));
        let template = Template::compile("{{ data.n }}{{ data.o.m }}").unwrap();
        assert_eq!(template.render(&event).unwrap(), "1x", "{odd:.20}");
    }
    let event = text_event(&format!("{{\"s\":[\"\\ud800\"],\"deep\":{deep},\"name\":{{\"\\ud800\":1}}}}"));
    for template in [
        "{{ data.s[0] }}",
        "{{ data.s | first | default('x') }}",
        "{% if 'x' in data.s %}{% endif %}",
        "{% if data.s == ['x'] %}{% endif %}",
        "{% for s in data.s %}{% endfor %}",
        "{% for s in data.name %}{% endfor %}",
        "{% if data.deep == [data.deep] %}{% endif %}",
        &format!("{{{{ data.deep{} }}}}", "[0]".repeat(200)),
    ] {
        let failure = Template::compile(template).unwrap().render(&event).unwrap_err();
        let reason = failure.reason();
        assert!(
            reason.contains("surrogate") || reason.contains("levels"),
            "{template:.60}: {reason}"
        );
    }
}

#[test]
fn what_a_template_calls_is_checked_before_the_first_event() {
    for (wrong, what) in [
        ("{{ id | sha256 }}", "there is no filter `sha256`"),
        ("{{ now() }}", "there are no functions"),
        ("{% if now() %}{% endif %}", "there are no functions"),
        ("{{ id.upper() }}", "values have no functions"),
        ("{{ id | replace('a') }}", "the filter `replace` takes arguments: 2, not 1"),
        ("{{ id | replace }}", "takes arguments: 2, not 0"),
        ("{{ id | upper('x', ['y', 'z']) }}", "the filter `upper` takes no arguments, not 2"),
        ("{% if id is integer %}{% endif %}", "there is no test `integer`"),
        ("{% if id is not divisibleby(3) %}{% endif %}", "there is no test `divisibleby`"),
        ("{% for x in data | sort %}{% endfor %}", "there is no filter `sort`"),
        ("{{ id | each(1) }}", "there is no filter `each`"),
        ("{{ id | calculable }}", "there is no filter `calculable`"),
        ("{{ time | date }}", "takes arguments: 1, not 0"),
        ("{{ time | date('%Q') }}", "`%Q` is not a format of dates"),
    ] {
        let error = Template::compile(wrong).unwrap_err();
        assert_eq!(error.code, "OC0121", "{wrong}");
        assert!(error.reason().contains(what), "{wrong}: {}", error.reason());
    }
    let event = text_event("{\"date\":{\"is\":\"2026-01-31T23:30:00+02:00\",\"not\":1}}");
    for (template, text) in [
        ("{{ data.date.is | date('%Y/%m/%d %H') }}", "2026/01/31 23"),
        (
            "{% if data.date.is is defined and data.date.not is number and not id is none %}yes{% endif %}",
            "yes",
        ),
        ("{{ id | replace('i', ',)') | replace(\"(\", ')') }}", ",)"),
        ("{{ (id) }}{{ id if (id) else (id) }}", "ii"),
    ] {
        assert_eq!(Template::compile(template).unwrap().render(&event).unwrap(), text, "{template}");
    }
    let failure = Template::compile("{{ id | date('%Y') }}").unwrap().render(&event).unwrap_err();
    assert!(failure.reason().contains("not a time"), "{failure}");
}

mod properties {
    use proptest::prelude::*;

    use super::super::text::OUTPUT;
    use super::super::work::{MAX_BYTES, Work};
    use super::super::{Template, variables};
    use super::json_event;

    /// Pieces that templates are made of, some of which fit together.
    fn template() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{% for x in data %}",
            "{%- for x in data.l -%}",
            "{% for e in events %}",
            "{% for x in [data, data] %}",
            "{% endfor %}",
            "{% else %}",
            "{% if x == data %}",
            "{% if 'a' in data %}",
            "{% endif %}",
            "{{ x }}",
            "{{ e.data }}",
            "{{ e.data.l | join(x) }}",
            "{{ loop.index }}",
            "{{ loop }}",
            "{{ data | tojson }}",
            "{{ data.t[1:] | upper }}",
            "{{ x | default('') | length }}",
            "{{ 'x' | replace('x', data.t) }}",
            "{#",
            "#}",
            "{{",
            "}}",
            "{%",
            "%}",
            "'",
            "\"",
            "\\",
            "(",
            ")",
            "[",
            "]",
            "for",
            " in ",
            "if ",
            " é ",
            "|",
            ".",
            "x",
            "data",
            "raw",
            "-",
        ]);
        let body =
            prop::collection::vec(piece.clone(), 0..8).prop_map(|body| format!("{{% for x in data.l %}}{}{{% endfor %}}", body.concat()));
        prop_oneof![prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat()), body]
    }

    fn data() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(Into::into),
            ".{0,200}".prop_map(Into::into),
            Just("z".repeat(10_000).into()),
        ];
        let value = leaf.prop_recursive(4, 64, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..12)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        });
        (value.clone(), value, 0..1_200_usize).prop_map(|(item, text, times)| {
            let times = times.min((256 << 10) / (item.to_string().len() + 1));
            serde_json::json!({ "l": vec![item; times], "t": text })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever a template and its events hold: no panic, no long text, and no more work than the bound and one read.
        #[test]
        fn a_rendering_ends_within_its_bounds(text in template(), data in data()) {
            let Ok(template) = Template::compile(&text) else { return Ok(()) };
            let event = json_event("1", &data);
            let mut work = std::sync::Arc::<Work>::default();
            let rendered = [
                template.render_for(|counted| {
                    work = counted.clone();
                    variables::event(&event, counted)
                }),
                template.render_group(std::iter::repeat_n(&event, 3)),
            ];
            for rendered in rendered {
                match rendered {
                    Ok(text) => prop_assert!(text.len() <= OUTPUT),
                    Err(failure) => prop_assert!([crate::codes::TEMPLATE_FAILED, crate::codes::TEXT_TOO_LONG].contains(&failure.code), "{failure}"),
                }
            }
            let longest_read = 2 * data.to_string().len() as u64 + OUTPUT as u64;
            prop_assert!(work.spent() <= MAX_BYTES + longest_read * 100, "{} bytes", work.spent());
        }

        /// A text without marks stays as it is, and any text compiles or is refused.
        #[test]
        fn any_text_compiles_or_is_refused(text in "([{}%#'\"a-z \\\\|()-]|\\{%|%\\}|for x in ){0,60}") {
            let _ = Template::compile(&text);
        }
    }
}
