//! The Debian package: an `ar` of `debian-binary`, `control.tar.gz` and `data.tar.gz` (deb(5)).

use xtask::Result;

use crate::Release;
use crate::files::Files;
use crate::target::{GLIBC, Target};
use crate::tree::{Tree, gzip};

pub(crate) fn name(release: &Release<'_>, target: Target) -> String {
    format!("{}_{}_{}.deb", release.name(), release.connector.version, target.architecture())
}

pub(crate) fn package(release: &Release<'_>, target: Target, files: &Files) -> Result<Vec<u8>> {
    let data = files.installed()?;
    let mut control = Tree::default();
    control.add("control", 0o644, fields(release, target, &data));
    control.add("postinst", 0o755, script("daemon-reload"));
    control.add("postrm", 0o755, script("daemon-reload"));
    let mut ar = ar::Builder::new(Vec::new());
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", gzip(&control.tar("./", release.epoch)?)?),
        ("data.tar.gz", gzip(&data.tar("./", release.epoch)?)?),
    ];
    for (name, bytes) in parts {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(release.epoch);
        ar.append(&header, bytes.as_slice())?;
    }
    Ok(ar.into_inner()?)
}

fn fields(release: &Release<'_>, target: Target, data: &Tree) -> String {
    let connector = release.connector;
    // The same program in the same place: one of them can be installed.
    let replaces = release.variant.map_or_else(String::new, |_| {
        let whole = &connector.package;
        format!("Provides: {whole}\nConflicts: {whole}\nReplaces: {whole}\n")
    });
    let kib = data.files.values().map(|file| file.bytes.len()).sum::<usize>().div_ceil(1024);
    format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Apache EventMesh <dev@eventmesh.apache.org>\nInstalled-Size: {kib}\n\
         Depends: libc6 (>= {GLIBC})\nRecommends: ca-certificates\n{replaces}Section: net\nPriority: optional\n\
         Homepage: https://eventmesh.apache.org\nDescription: {}\n It guarantees: {}.\n",
        release.name(),
        connector.version,
        target.architecture(),
        connector.description,
        connector.guarantee,
    )
}

/// Services are neither started nor restarted: which of them run is the user's decision.
fn script(command: &str) -> String {
    format!("#!/bin/sh\nset -e\nif [ -d /run/systemd/system ]; then systemctl {command} || true; fi\n")
}
