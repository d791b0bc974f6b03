//! Configurations of the Java connectors, as EventMesh ships them, through `import-eventmesh` and then `check`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};

use openconnect_testkit::binary;

const SECRET: &str = "c4n4ry-51d2";

fn run(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary::path(name).unwrap());
    command.args(arguments).envs(environment.iter().copied());
    command.output().unwrap()
}

/// Imports, checks that the result is fit to run, and gives it.
fn imported(name: &str, folder: &Path, java: &str) -> String {
    let file = folder.join("java.yml");
    std::fs::write(&file, java).unwrap();
    let output = run(name, &["import-eventmesh", file.to_str().unwrap()], &[]);
    let ours = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!ours.contains(SECRET), "{ours}");
    let result = folder.join("ours.yaml");
    std::fs::write(&result, &ours).unwrap();
    let secrets = ["MESH_PASSWORD", "DATABASE_PASSWORD", "GITHUB_WEBHOOK_SECRET"].map(|name| (name, "secret"));
    let check = run(name, &["check", "--config", result.to_str().unwrap()], &secrets);
    assert!(
        check.status.success(),
        "{ours}\n{}{}",
        String::from_utf8_lossy(&check.stdout),
        String::from_utf8_lossy(&check.stderr)
    );
    ours
}

fn shared(subject: &str) -> String {
    format!(
        "pubSubConfig:\n  meshAddress: 10.0.0.5:10000\n  subject: {subject}\n  idc: FT\n  env: PRD\n  group: httpSink\n  appId: 5031\n  userName: sinkUser\n  passWord: {SECRET}\n"
    )
}

#[test]
fn the_http_sink() {
    let folder = tempfile::tempdir().unwrap();
    let java = shared("TopicTest")
        + "connectorConfig:\n  connectorName: http Sink\n  urls:\n    - http://127.0.0.1:8987/test\n    - http://127.0.0.1:8988/test\n  keepAlive: true\n  idleTimeout: 5000\n  \
           retryConfig:\n    maxRetries: 2\n    interval: 1000\n  surprise: 1\n";
    let ours = imported("openconnect-http-sink", folder.path(), &java);
    for line in [
        "name: \"http-Sink\"",
        "  url: \"tcp://10.0.0.5:10000\"",
        "  topic: \"TopicTest\"",
        "  group: \"httpSink\"",
        "  password: \"${env:MESH_PASSWORD}\"",
        "  url: \"http://127.0.0.1:8987/test\"",
        "  timeout: \"5000ms\"",
        "    initial: \"1000ms\"",
        "# - connectorConfig.surprise has no counterpart",
    ] {
        assert!(ours.lines().any(|found| found == line), "{line}\n{ours}");
    }
    assert!(
        ours.contains("the first of several URLs") && ours.contains("pubSubConfig.idc has no counterpart"),
        "{ours}"
    );
}

/// The file that EventMesh ships has the parts of the URL.
#[test]
fn the_http_sink_as_it_is_shipped() {
    let folder = tempfile::tempdir().unwrap();
    for (parts, url) in [
        (
            "host: 127.0.0.1\n  port: 8987\n  path: /test\n  ssl: false",
            "http://127.0.0.1:8987/test",
        ),
        ("host: \"::1\"\n  port: 443\n  path: test\n  ssl: true", "https://[::1]:443/test"),
        ("host: target.example.org", "http://target.example.org/"),
    ] {
        let java = shared("TopicTest") + &format!("connectorConfig:\n  connectorName: httpSink\n  {parts}\n  idleTimeout: 5000\n");
        let ours = imported("openconnect-http-sink", folder.path(), &java);
        assert!(ours.lines().any(|line| line == format!("  url: \"{url}\"")), "{ours}");
        assert!(!ours.contains("connectorConfig.host has no counterpart"), "{ours}");
    }
}

#[test]
fn the_http_source_with_githubs_webhooks() {
    let folder = tempfile::tempdir().unwrap();
    let java = shared("hooks")
        + &format!(
            "connectorConfig:\n  connectorName: httpSource\n  path: /hooks\n  port: 3755\n  protocol: GitHub\n  extraConfig:\n    secret: {SECRET}\n"
        );
    let ours = imported("openconnect-http-source", folder.path(), &java);
    for part in [
        "listen: \"0.0.0.0:3755\"",
        "path: \"/hooks\"",
        "type: \"github\"",
        "preset: \"github\"",
    ] {
        assert!(ours.contains(part), "{part}\n{ours}");
    }
}

#[test]
fn the_jdbc_source_is_our_cdc_source_and_the_sink_takes_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let source = shared("changes")
        + &format!(
            "sourceConnectorConfig:\n  connectorName: jdbcSource\n  databaseType: mysql\n  databaseIncludeList: [shop]\n  tableIncludeList: [shop.orders]\n  maxTask: 2\n  \
             jdbcConfig:\n    hostname: db.example.org\n    port: 3307\n    databaseName: shop\n    user: cdc\n    password: {SECRET}\n"
        );
    let ours = imported("openconnect-mysql-cdc-source", folder.path(), &source);
    for part in [
        "url: \"mysql://db.example.org:3307/shop\"",
        "tables: [\"orders\"]",
        "user: \"cdc\"",
        "snapshot: \"initial\"",
    ] {
        assert!(ours.contains(part), "{part}\n{ours}");
    }
    let sink = shared("changes")
        + &format!(
            "sinkConnectorConfig:\n  connectorName: jdbcSink\n  jdbcConfig:\n    url: jdbc:mysql://db2:3306/copy?useSSL=false\n    user: root\n    password: {SECRET}\n"
        );
    let ours = imported("openconnect-jdbc-sink", folder.path(), &sink);
    assert!(
        ours.contains("url: \"mysql://db2:3306/copy\"") && ours.contains("format: \"change\""),
        "{ours}"
    );
}

#[test]
fn what_is_no_configuration_of_a_connector_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server-config.yml");
    for (text, reason) in [("sourceEnable: true\nsinkEnable: false\n", "server-config.yml"), ("a: [", "line ")] {
        std::fs::write(&file, text).unwrap();
        let output = run("openconnect-http-sink", &["import-eventmesh", file.to_str().unwrap()], &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(told.contains("OC0110") && told.contains(reason), "{told}");
    }
}
