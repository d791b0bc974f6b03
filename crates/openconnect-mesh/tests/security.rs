#![allow(clippy::unwrap_used, missing_docs)]
//! Who gets in, over both transports, and what they may do there.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openconnect_core::budget::Budget;
use openconnect_core::config::MeshSettings;
use openconnect_core::mesh::{Publisher, Subscriber};
use openconnect_mesh::{Config, Mesh, MeshError, MeshHandle, Rights, Secret, TlsServerSettings};
use openconnect_protocol::frame::{self, Command, Header};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// An authority, and files of what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
    ca: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = dir.join(format!("{name}.pem"));
        std::fs::write(&ca, issuer.pem()).unwrap();
        Self {
            issuer,
            dir: dir.to_owned(),
            ca,
        }
    }

    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

fn tls_of(ca: &Path, client: Option<&(PathBuf, PathBuf)>) -> openconnect_core::tls::TlsSettings {
    openconnect_core::tls::TlsSettings {
        ca_file: Some(ca.to_owned()),
        cert_file: client.map(|c| c.0.clone()),
        key_file: client.map(|c| c.1.clone()),
        server_name: None,
    }
}

/// Says the first words of the transport over TLS; whether the server says anything.
async fn answers(address: SocketAddr, tls: &openconnect_core::tls::TlsSettings, grpc: bool) -> Result<bool, String> {
    let (mut config, first) = ((*tls.client().unwrap()).clone(), if grpc { PREFACE.to_vec() } else { hello() });
    if grpc {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let talk = async {
        let tcp = TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
        stream.write_all(&first).await?;
        let mut byte = [0];
        Ok::<_, std::io::Error>(stream.read(&mut byte).await? > 0)
    };
    tokio::time::timeout(WAIT, talk)
        .await
        .expect("no answer in time")
        .map_err(|e| e.to_string())
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn hello() -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    let body = agent("g", "pub").to_string();
    frame::encode(&Header::new(Command::HelloRequest, "1"), body.as_bytes(), &mut out).unwrap();
    out.to_vec()
}

fn settings(url: String, more: Value) -> MeshSettings {
    let mut settings = json!({ "url": url, "topic": "orders", "request_timeout": "5s", "reconnect_max": "100ms" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn urls(mesh: &MeshHandle, tls: bool) -> [String; 2] {
    let s = if tls { "s" } else { "" };
    [
        format!("tcp{s}://localhost:{}", mesh.tcp_addr().port()),
        format!("grpc{s}://localhost:{}", mesh.grpc_addr().unwrap().port()),
    ]
}

fn sample(id: &str) -> cloudevents::Event {
    use cloudevents::EventBuilder as _;
    cloudevents::EventBuilderV10::new()
        .id(id)
        .source("/s")
        .ty("t")
        .data("application/json", json!({"n":1}))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_certificates_are_asked_for_on_both_transports() {
    let dir = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(files.path(), "ours"), Authority::new(files.path(), "theirs"));
    let (server, client, stranger) = (ours.sign("server"), ours.sign("client"), theirs.sign("stranger"));
    let mesh = mesh(&dir, |c| {
        c.tls = Some(TlsServerSettings {
            cert_file: server.0.clone(),
            key_file: server.1.clone(),
            client_ca_file: Some(ours.ca.clone()),
        });
    })
    .await;
    for (grpc, address) in [(false, mesh.tcp_addr()), (true, mesh.grpc_addr().unwrap())] {
        assert_eq!(answers(address, &tls_of(&ours.ca, Some(&client)), grpc).await, Ok(true));
        for (who, tls) in [
            ("nobody", tls_of(&ours.ca, None)),
            ("a stranger", tls_of(&ours.ca, Some(&stranger))),
            ("one who does not trust the server", tls_of(&theirs.ca, Some(&client))),
        ] {
            let got = answers(address, &tls, grpc).await;
            assert!(!matches!(got, Ok(true)), "gRPC {grpc}: {who} was let in");
        }
        // Without TLS there is nothing to talk about.
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(if grpc { PREFACE } else { b"EventMesh0000" }).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(WAIT, plain.read_to_end(&mut rest)).await.expect("still open");
        assert!(!rest.starts_with(b"EventMesh"));
    }
    // The connectors' client shows its certificate.
    for (n, url) in urls(&mesh, true).into_iter().enumerate() {
        let tls = json!({"tls": {"ca_file": ours.ca, "cert_file": client.0, "key_file": client.1}});
        let settings = settings(url, tls);
        let ends = CancellationToken::new();
        let id = format!("over-{n}");
        let mut subscriber = Subscriber::connect(&settings, &id, Budget::with_bytes(1 << 20), ends.clone())
            .await
            .unwrap();
        let publisher = Publisher::connect(&settings, "p", ends.clone()).await.unwrap();
        publisher.send("orders", None, &sample(&id)).await.await.unwrap();
        let mut got = Vec::new();
        while !got
            .iter()
            .any(|d: &openconnect_core::mesh::Delivery| String::from_utf8_lossy(&d.raw).contains(&id))
        {
            tokio::time::timeout(WAIT, subscriber.recv(&mut got, 10)).await.unwrap().unwrap();
        }
        ends.cancel();
    }
    mesh.shutdown().await;
}

fn with_users(config: &mut Config) {
    config.users.insert("u".to_owned(), Secret::new("p").unwrap());
    config.users.insert("reader".to_owned(), Secret::new("r").unwrap());
    config.tokens.insert("robot".to_owned(), Secret::new("t0ken").unwrap());
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let u = Rights {
        publish: list(&["orders", "eu.*"]),
        subscribe: list(&["orders"]),
        groups: list(&["u-*"]),
    };
    let reader = Rights {
        publish: list(&[]),
        ..u.clone()
    };
    config.rights = [("u".to_owned(), u), ("reader".to_owned(), reader)].into();
}

#[tokio::test]
async fn rights_hold_over_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, with_users).await;
    let mut publisher = Client::publisher(mesh.tcp_addr()).await;
    publisher.publish_ids("orders", ids(0..2)).await;
    publisher.publish_ids("eu.sales", ids(0..1)).await;
    for command in [
        Command::AsyncMessageToServer,
        Command::BroadcastMessageToServer,
        Command::RequestToServer,
    ] {
        publisher.send_event(command, "no", &event("secret", "x")).await;
        let answer = publisher.next().await;
        assert_ne!(answer.header.code, 0, "{command:?}");
        assert_eq!(
            answer.header.desc.as_deref(),
            Some("AclException: user `u` has no auth to publish to topic `secret`")
        );
    }
    // A refusal for want of rights holds nothing else up, and makes no topic.
    publisher.publish_ids("orders", ids(2..3)).await;
    assert!(!dir.path().join("topics/secret").exists());

    for (group, topic, text) in [
        ("u-1", "eu.sales", "no auth to subscribe to topic `eu.sales`"),
        ("other", "orders", "no auth to subscribe in group `other`"),
    ] {
        let mut client = Client::hello(mesh.tcp_addr(), group, "sub").await;
        let body = json!({"topicList":[{"topic":topic,"mode":"BROADCASTING","type":"ASYNC"}]});
        let answer = client.call(Command::SubscribeRequest, &body).await;
        assert!(answer.header.desc.unwrap().contains(text));
    }
    let mut subscriber = Client::subscriber(mesh.tcp_addr(), "u-1", "orders").await;
    assert_eq!(subscriber.take_and_ack(3).await, ids(0..3));

    // Known by a token, but without rights.
    let mut robot = agent("g", "pub");
    robot["password"] = "x".into();
    robot["token"] = "t0ken".into();
    let (mut robot, answer) = Client::hello_as(mesh.tcp_addr(), robot, &[]).await;
    assert_eq!(answer.header.code, 0);
    let ack = robot.publish(&event("orders", "x")).await;
    assert!(ack.header.desc.unwrap().contains("user `robot` has no auth"));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_lasting_refusals_to_the_client_over_both_transports() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = mesh(&dir, with_users).await;
    for url in urls(&mesh, false) {
        let ends = CancellationToken::new();
        let as_user = |name: &str, password: &str| settings(url.clone(), json!({"username": name, "password": password}));
        let publisher = Publisher::connect(&as_user("u", "p"), "p", ends.clone()).await.unwrap();
        publisher.send("orders", None, &sample("1")).await.await.unwrap();
        let refused = publisher.send("secret", None, &sample("2")).await;
        let refused = tokio::time::timeout(WAIT, refused).await.expect("not told for good").unwrap_err();
        assert!(!refused.is_retryable(), "{url}: {refused}");
        assert!(
            refused.to_string().contains("no auth to publish to topic `secret`"),
            "{url}: {refused}"
        );

        for (group, name, password, text) in [
            ("u-1", "u", "wrong", "wrong password"),
            ("other", "u", "p", "no auth to subscribe in group `other`"),
        ] {
            let settings = as_user(name, password);
            let connecting = Subscriber::connect(&settings, group, Budget::with_bytes(1 << 20), ends.clone());
            let refused = tokio::time::timeout(WAIT, connecting).await.expect("not told for good");
            let refused = refused.err().unwrap_or_else(|| panic!("{url}: {group} was let in"));
            assert!(refused.reason().contains(text), "{url}: {refused:#}");
        }
        Subscriber::connect(&as_user("reader", "r"), "u-2", Budget::with_bytes(1 << 20), ends.clone())
            .await
            .unwrap();
        ends.cancel();
    }
    mesh.shutdown().await;
}

#[tokio::test]
async fn it_listens_beyond_loopback_only_when_told_how() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new(files.path(), "ca");
    let server = authority.sign("server");
    type Change = Box<dyn Fn(&mut Config)>;
    let open: Change = Box::new(|_| {});
    let ways: [(&str, bool, Change); 5] = [
        ("nothing", false, open),
        (
            "encryption alone",
            false,
            Box::new({
                let server = server.clone();
                move |c| c.tls = Some(tls_server(&server, None))
            }),
        ),
        ("anonymous", true, Box::new(|c| c.allow_anonymous = true)),
        ("users", true, Box::new(with_users)),
        (
            "certificates",
            true,
            Box::new(move |c| c.tls = Some(tls_server(&server, Some(&authority.ca)))),
        ),
    ];
    for (how, allowed, change) in ways {
        for grpc_only in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let mut config = Config::embedded(dir.path());
            let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
            if grpc_only {
                config.grpc = Some(anywhere);
            } else {
                config.tcp = anywhere;
            }
            change(&mut config);
            match Mesh::start(config).await {
                Ok(mesh) => {
                    assert!(allowed, "{how}");
                    mesh.shutdown().await;
                }
                Err(error) => {
                    assert!(!allowed, "{how}: {error}");
                    assert!(matches!(error, MeshError::Exposed(_)) && error.to_string().contains("allow_anonymous"));
                }
            }
        }
    }
}

fn tls_server(files: &(PathBuf, PathBuf), client_ca: Option<&PathBuf>) -> TlsServerSettings {
    TlsServerSettings {
        cert_file: files.0.clone(),
        key_file: files.1.clone(),
        client_ca_file: client_ca.cloned(),
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (file, secret) = (dir.path().join("mesh.yaml"), dir.path().join("secret"));
    std::fs::write(&secret, "s3cret\n").unwrap();
    let wrong = format!(
        "fsnyc: true\nlimits:\n  session_timeout: soon\n  max_conections: 3\nusers:\n  ann: ${{file:{}}}\n  bob: ${{env:NOT_SET_ANYWHERE}}\nrights:\n  eve: {{ publish: [\"a*b\"] }}\n",
        secret.display()
    );
    std::fs::write(&file, wrong).unwrap();
    let error = Config::load(&file).unwrap_err().to_string();
    for text in [
        "mesh.yaml:1:1 fsnyc",
        "`fsync`",
        "mesh.yaml:3:",
        "is not a duration",
        "`max_connections`",
        "NOT_SET_ANYWHERE is not set",
        "rights.eve",
        "is no user",
    ] {
        assert!(error.contains(text), "no {text} in {error}");
    }
    assert!(!error.contains("s3cret"));
    let right = format!(
        "users:\n  ann: ${{file:{}}}\nlimits: {{ memory: 32MiB, session_timeout: 1m }}\n",
        secret.display()
    );
    std::fs::write(&file, right).unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.users["ann"].expose(), "s3cret");
    assert_eq!(config.limits.memory, 32 << 20);
    assert_eq!(config.limits.session_timeout, Duration::from_secs(60));
    assert!(!format!("{config:?}").contains("s3cret"));
}
