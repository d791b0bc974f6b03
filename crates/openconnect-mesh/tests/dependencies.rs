//! The mesh is small: it links no part that only connectors need.
#![allow(clippy::unwrap_used)]

use std::process::Command;

/// What programs on events, templates, a connector's offsets and its engine are made of.
const OF_CONNECTORS: [&str; 6] = [
    "jaq-core",
    "jaq-std",
    "minijinja",
    "redb",
    "eventmesh-openconnect-core",
    "eventmesh-openconnect-transform",
];

#[test]
fn nothing_that_only_connectors_need_is_linked() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "openconnect-mesh",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let linked: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(linked.contains(&"eventmesh-openconnect-config"), "not the mesh's tree: {text}");
    for name in OF_CONNECTORS {
        assert!(!linked.contains(&name), "the mesh links {name}");
    }
}
