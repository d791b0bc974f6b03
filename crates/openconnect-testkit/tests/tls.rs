//! Encrypted all the way: HTTPS with client certificates into the source and out of the sink, TLS to the mesh over both
//! transports.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openconnect_testkit::connector::{Connector, merge};
use openconnect_testkit::http::Client;
use openconnect_testkit::kit::{Kit, free_address};
use openconnect_testkit::mesh::Mesh;
use openconnect_testkit::receiver::Receiver;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Duration = Duration::from_secs(20);

/// An authority, and files of what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    ca: PathBuf,
}

impl Authority {
    fn new(kit: &Kit) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let ca = kit.file("ca.pem");
        std::fs::write(&ca, issuer.pem()).unwrap();
        Self { issuer, ca }
    }

    fn sign(&self, kit: &Kit, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = (kit.file(&format!("{name}.pem")), kit.file(&format!("{name}.key")));
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

/// POSTs over TLS, with or without a client certificate; the answer, or why there is none.
async fn post(address: std::net::SocketAddr, ca: &PathBuf, client: Option<&(PathBuf, PathBuf)>) -> Result<String, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let exchange = async {
        let tcp = tokio::net::TcpStream::connect(address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
        let body = r#"{"secure":true}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match tokio::time::timeout(LONG, exchange).await.unwrap() {
        Ok(answer) if answer.is_empty() => Err("closed".to_owned()),
        answer => answer.map_err(|e| e.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_asked_for_and_checked() {
    let kit = Kit::new("tls").unwrap();
    let (ours, theirs) = (Authority::new(&kit), KeyPair::generate().unwrap());
    let server = ours.sign(&kit, "server");
    let client = ours.sign(&kit, "client");
    // Signed by nobody that the server trusts.
    let stranger = (kit.file("stranger.pem"), kit.file("stranger.key"));
    let own = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&theirs)
        .unwrap();
    std::fs::write(&stranger.0, own.pem()).unwrap();
    std::fs::write(&stranger.1, theirs.serialize_pem()).unwrap();

    let mesh = Mesh::start(&kit, json!({ "tls": { "cert_file": server.0, "key_file": server.1 } }))
        .await
        .unwrap();
    let receiver = Receiver::start().await.unwrap();
    let address = free_address().unwrap();
    let tcps = mesh.url().replace("tcp://127.0.0.1", "tcps://localhost");
    let grpcs = mesh.grpc_url().replace("grpc://127.0.0.1", "grpcs://localhost");
    let to_mesh = |url: &str| json!({ "url": url, "topic": "orders", "reconnect_max": "200ms", "tls": { "ca_file": ours.ca } });
    let source = json!({
        "mesh": to_mesh(&grpcs),
        "source": { "listen": address, "tls": { "cert_file": server.0, "key_file": server.1, "client_ca_file": ours.ca } },
    });
    let sink = json!({ "mesh": to_mesh(&tcps), "sink": { "url": receiver.url() } });
    let _hook = Connector::start(&kit, "openconnect-http-source", "hook", source).await.unwrap();
    let _out = Connector::start(&kit, "openconnect-http-sink", "out", sink.clone()).await.unwrap();
    let answer = post(address, &ours.ca, Some(&client)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    receiver.wait_for(1, LONG).await.unwrap();
    for (who, certificate) in [("nobody", None), ("a stranger", Some(&stranger))] {
        let refused = post(address, &ours.ca, certificate).await;
        assert!(refused.is_err(), "{who} was let in: {refused:?}");
    }
    assert_eq!(receiver.different(), 1);

    // An HTTP sink whose target asks for a certificate: the source of above.
    let plain = free_address().unwrap();
    let mut first = json!({ "mesh": to_mesh(&tcps), "source": { "listen": plain } });
    merge(&mut first, json!({ "mesh": { "topic": "first" } }));
    let _first = Connector::start(&kit, "openconnect-http-source", "first", first).await.unwrap();
    let mut forward = json!({
        "mesh": to_mesh(&tcps),
        "sink": {
            "url": format!("https://localhost:{}/", address.port()),
            "tls": { "ca_file": ours.ca, "cert_file": client.0, "key_file": client.1 },
        },
    });
    merge(&mut forward, json!({ "mesh": { "topic": "first" } }));
    let _forward = Connector::start(&kit, "openconnect-http-sink", "forward", forward.clone())
        .await
        .unwrap();
    let mut sender = Client::new(plain, LONG);
    let answer = sender.post("/", "application/json", "{\"forwarded\":true}").await.unwrap();
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.text());
    receiver.wait_for(2, LONG).await.unwrap();
    merge(
        &mut forward,
        json!({ "sink": { "tls": { "cert_file": stranger.0, "key_file": stranger.1 } } }),
    );
    let strange = Connector::prepare(&kit, "openconnect-http-sink", "strange", forward).unwrap();
    let checked = strange.command(&["check", "--connect"]).await.unwrap();
    assert_ne!(checked.code, Some(0), "{}", checked.text());

    // A mesh whose certificate nobody vouches for is not spoken to.
    let mut distrusting = sink;
    merge(
        &mut distrusting,
        json!({ "mesh": { "tls": { "ca_file": stranger.0 }, "request_timeout": "1s" } }),
    );
    let checked = Connector::prepare(&kit, "openconnect-http-sink", "other", distrusting).unwrap();
    let checked = checked.command(&["check", "--connect"]).await.unwrap();
    assert_ne!(checked.code, Some(0), "{}", checked.text());
    assert!(
        checked.text().contains("OC0304") || checked.text().contains("certificate"),
        "{}",
        checked.text()
    );
}
