//! What the types of the core's settings cannot say.

use std::time::Duration;

use openconnect_protocol::names;

use super::{MeshSettings, Problems, Section, Settings, StateSettings};
use crate::mesh::url::MeshUrl;

const DATABASES: [&str; 5] = ["postgres", "postgresql", "mysql", "mariadb", "sqlite"];
/// Longest `state.table_prefix`: with a table's name it stays below what every database takes.
const MAX_PREFIX: usize = 40;
/// Shortest lease: a hiccup of the network must not be a change of hands.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// Longest name of an instance: it becomes a folder and a part of other names.
const MAX_NAME: usize = 64;

/// Checks all sections.
pub(crate) fn settings(settings: &Settings, section: Section, problems: &mut Problems) {
    if let Some(wrong) = name(&settings.name) {
        problems.add("name", wrong);
    }
    mesh(&settings.mesh, problems);
    input(settings, section, problems);
    delivery(settings, section, problems);
    let dead_letter = &settings.dead_letter;
    if dead_letter.topic.is_some() && dead_letter.file.is_some() {
        problems.add("dead_letter.file", "`topic` and `file` exclude each other; keep one");
    }
    if let Some(Err(wrong)) = dead_letter.topic.as_deref().map(names::check_topic) {
        problems.add("dead_letter.topic", wrong);
    }
    if section == Section::Sink && dead_letter.topic.as_deref() == Some(settings.mesh.topic.as_str()) {
        problems.add(
            "dead_letter.topic",
            "is the topic that this sink reads: dead letters would come back for ever",
        );
    }
    zero("dead_letter.rotate", Some(dead_letter.rotate.0), problems);
    if settings.state.dir.as_os_str().is_empty() {
        problems.add("state.dir", "is empty; write `.` for the current folder");
    }
    if settings.state.dir.starts_with("~") {
        problems.add(
            "state.dir",
            "begins with `~`, which only a shell replaces; write the whole path, or ${env:HOME}",
        );
    }
    offsets(&settings.state, section, problems);
    zero("state.inbox_max", Some(settings.state.inbox_max.0), problems);
    limits(settings, problems);
    if let Some(admin) = &settings.admin {
        listen("admin.listen", &admin.listen, problems);
    }
    if let Err(wrong) = openconnect_config::logs::parse_level(&settings.log.level) {
        problems.add("log.level", wrong);
    }
}

fn offsets(state: &StateSettings, section: Section, problems: &mut Problems) {
    let scheme = state.offsets.as_ref().map(|url| url.expose().split(':').next().unwrap_or_default());
    if scheme.is_some_and(|scheme| !DATABASES.contains(&scheme)) {
        problems.add(
            "state.offsets",
            "is no URL of a database; one of postgres://, mysql://, mariadb://, sqlite://",
        );
    }
    if section == Section::Sink && scheme.is_some() {
        problems.add("state.offsets", "is for sources only; the mesh knows where a sink's group is");
    }
    let prefix = &state.table_prefix;
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if prefix.len() > MAX_PREFIX || !prefix.chars().all(letter) || prefix.starts_with(|c: char| c.is_ascii_digit()) {
        problems.add(
            "state.table_prefix",
            "may have letters, digits and `_` only, no digit at its begin, and 40 characters at the most",
        );
    }
    if state.lease_ttl.0 < MIN_LEASE {
        problems.add("state.lease_ttl", "must be at least 1s");
    }
}

fn name(name: &str) -> Option<&'static str> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() {
        Some("is empty; it names the offsets, the consumer group and the metrics")
    } else if name.len() > MAX_NAME {
        Some("is longer than 64 characters")
    } else if !name.chars().all(fine) {
        Some("may have letters, digits, `-` and `_` only")
    } else {
        None
    }
}

fn mesh(mesh: &MeshSettings, problems: &mut Problems) {
    if let Err(reason) = MeshUrl::parse(&mesh.url) {
        problems.add("mesh.url", reason);
    }
    if let Err(wrong) = names::check_topic(&mesh.topic) {
        problems.add("mesh.topic", wrong);
    }
    if mesh.group.as_deref().is_some_and(|group| group.trim().is_empty()) {
        problems.add("mesh.group", "is empty; leave it out to use the instance's name");
    } else if let Some(Err(wrong)) = mesh.group.as_deref().map(names::check_group) {
        problems.add("mesh.group", wrong);
    }
    zero("mesh.connections", Some(mesh.connections), problems);
    zero("mesh.window", mesh.window, problems);
    for (path, duration) in [
        ("mesh.request_timeout", mesh.request_timeout),
        ("mesh.heartbeat", mesh.heartbeat),
        ("mesh.reconnect_max", mesh.reconnect_max),
    ] {
        if duration.0.is_zero() {
            problems.add(path, "must be more than 0");
        }
    }
    if mesh.tls.cert_file.is_some() != mesh.tls.key_file.is_some() {
        problems.add("mesh.tls", "`cert_file` and `key_file` belong together");
    }
}

fn input(settings: &Settings, section: Section, problems: &mut Problems) {
    let Some(input) = &settings.input else { return };
    if section == Section::Sink {
        problems.add("input", "is for sources only; a sink reads `mesh.topic`");
        return;
    }
    let topic = input.topic.as_str();
    if topic.trim().is_empty() {
        problems.add("input.topic", "is empty");
    }
    if topic == settings.mesh.topic {
        problems.add(
            "input.topic",
            "is the topic that the source publishes to, `mesh.topic`: it would answer itself for ever",
        );
    }
    if settings.dead_letter.topic.as_deref() == Some(topic) {
        problems.add(
            "dead_letter.topic",
            "is the topic that the source reads, `input.topic`: dead letters would come back for ever",
        );
    }
    if input.group.as_deref().is_some_and(|group| group.trim().is_empty()) {
        problems.add("input.group", "is empty; leave it out to use the instance's name");
    }
    zero("input.in_flight", input.in_flight, problems);
}

fn delivery(settings: &Settings, section: Section, problems: &mut Problems) {
    let delivery = &settings.delivery;
    zero("delivery.in_flight", delivery.in_flight, problems);
    for limit in delivery.rate_limit.iter().flat_map(super::RateLimitSetting::limits) {
        if limit.per.0 < Duration::from_millis(100) {
            problems.add("delivery.rate_limit", "`per` must be at least 100ms");
        }
    }
    zero("delivery.batch.max_events", delivery.batch.max_events, problems);
    zero("delivery.batch.max_bytes", delivery.batch.max_bytes.map(|size| size.0), problems);
    zero("delivery.retry.max_attempts", delivery.retry.max_attempts, problems);
    zero("delivery.circuit.window", Some(delivery.circuit.window), problems);
    let retry = &delivery.retry;
    if retry.initial.0.is_zero() {
        problems.add("delivery.retry.initial", "must be more than 0");
    }
    if retry.max.0 < retry.initial.0 {
        problems.add("delivery.retry.max", "is less than `delivery.retry.initial`");
    }
    if delivery.circuit.dead_letters > delivery.circuit.window {
        problems.add(
            "delivery.circuit.dead_letters",
            "is more than `delivery.circuit.window`: the circuit would never open",
        );
    }
    if section == Section::Source {
        for (path, set) in [
            (
                "delivery.batch",
                delivery.batch.max_events.is_some() || delivery.batch.max_bytes.is_some() || delivery.batch.max_age.is_some(),
            ),
            ("delivery.in_flight", delivery.in_flight.is_some()),
            ("delivery.rate_limit", delivery.rate_limit.is_some()),
        ] {
            if set {
                problems.add(path, "is for sinks only; a source has `mesh.window`");
            }
        }
    }
}

fn limits(settings: &Settings, problems: &mut Problems) {
    let limits = &settings.limits;
    zero("limits.max_event_bytes", Some(limits.max_event_bytes.0), problems);
    if limits
        .memory
        .is_some_and(|memory| memory.0 < limits.max_event_bytes.0.saturating_mul(2))
    {
        problems.add(
            "limits.memory",
            "is less than twice `limits.max_event_bytes`: one event would fill it",
        );
    }
}

fn listen(path: &str, address: &str, problems: &mut Problems) {
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        problems.add(path, "is not host:port; write for instance 127.0.0.1:9090");
    }
}

fn zero<N: Default + PartialEq>(path: &str, value: Option<N>, problems: &mut Problems) {
    if value.is_some_and(|value| value == N::default()) {
        problems.add(path, "must be more than 0");
    }
}
