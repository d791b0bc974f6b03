//! The container image as an OCI image layout (image-spec v1.1): one layer, from nothing, for a user that is not root.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use xtask::Result;

use crate::files::Files;
use crate::target::Target;
use crate::tree::{Tree, gzip, sha256};
use crate::{Release, tools};

/// As in other images without a distribution.
const USER: u64 = 65_532;
const STATE: &str = "var/lib/openconnect";

pub(crate) fn layout(release: &Release<'_>, images: &[(Target, Files)], folder: &Path) -> Result<()> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media: &str| -> Result<Value> {
        let sum = sha256(bytes);
        fs::write(blobs.join(&sum), bytes)?;
        Ok(json!({ "mediaType": media, "digest": format!("sha256:{sum}"), "size": bytes.len() }))
    };
    let mut manifests = Vec::new();
    for (target, files) in images {
        let tar = layer(release, files)?.tar("", release.epoch)?;
        let layer = put(&gzip(&tar)?, "application/vnd.oci.image.layer.v1.tar+gzip")?;
        let config = config(release, *target, &sha256(&tar));
        let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json")?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
            "annotations": annotations(release),
        });
        let mut entry = put(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json")?;
        if let Value::Object(entry) = &mut entry {
            entry.insert("platform".into(), json!({ "os": "linux", "architecture": target.architecture() }));
        }
        manifests.push(entry);
    }
    // One name for all platforms.
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests });
    let mut named = put(index.to_string().as_bytes(), "application/vnd.oci.image.index.v1+json")?;
    if let Value::Object(named) = &mut named {
        named.insert(
            "annotations".into(),
            json!({ "org.opencontainers.image.ref.name": release.connector.version }),
        );
    }
    let top = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [named] });
    fs::write(folder.join("index.json"), top.to_string())?;
    fs::write(folder.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    println!("  {}: {} images", folder.display(), images.len());
    Ok(())
}

fn layer(release: &Release<'_>, files: &Files) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.add(format!("usr/bin/{}", release.connector.package), 0o755, files.binary.clone());
    tree.add("etc/ssl/certs/ca-certificates.crt", 0o644, tools::fetch()?.authorities()?);
    tree.add(
        "etc/passwd",
        0o644,
        format!("openconnect:x:{USER}:{USER}::/{STATE}:/sbin/nologin\n"),
    );
    tree.add("etc/group", 0o644, format!("openconnect:x:{USER}:\n"));
    tree.add("usr/share/doc/openconnect/LICENSE", 0o644, files.licence.clone());
    tree.folders.insert(STATE.to_owned(), (0o700, USER));
    tree.folders.insert("etc/openconnect".to_owned(), (0o755, 0));
    // SQLite and compression may need it.
    tree.folders.insert("tmp".to_owned(), (0o1777, 0));
    Ok(tree)
}

fn config(release: &Release<'_>, target: Target, layer: &str) -> Value {
    let created = created(release);
    json!({
        "created": created,
        "architecture": target.architecture(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [format!("/usr/bin/{}", release.connector.package)],
            "Cmd": ["run", "--config", "/etc/openconnect/openconnect.yaml"],
            "WorkingDir": format!("/{STATE}"),
            "Volumes": { format!("/{STATE}"): {} },
            "Env": ["SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "StopSignal": "SIGTERM",
            "Labels": annotations(release),
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": created, "created_by": "cargo xtask dist" }],
    })
}

fn annotations(release: &Release<'_>) -> Value {
    json!({
        "org.opencontainers.image.title": release.name(),
        "org.opencontainers.image.description": release.connector.description,
        "org.opencontainers.image.version": release.connector.version,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.created": created(release),
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.source": "https://github.com/apache/eventmesh",
    })
}

/// The commit's time.
fn created(release: &Release<'_>) -> String {
    crate::provenance::rfc3339(release.epoch)
}
