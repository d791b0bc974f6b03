//! What deny.toml bans is not in Cargo.lock, which names the dependencies of all features and all platforms.
//! `cargo deny` says more; this needs no tool and no time.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn nothing_banned_is_locked() {
    let (deny, lock) = (read("deny.toml"), read("Cargo.lock"));
    assert!(names(&deny).contains(&"openssl"), "the bans were not found in deny.toml");
    let found = banned(&deny, &lock);
    assert!(found.is_empty(), "deny.toml bans {found:?}; `cargo tree -i` says how they came");
}

#[test]
fn a_banned_crate_is_found() {
    let deny = "deny = [\n  { name = \"openssl\", reason = \"r\" },\n  { name = \"native-tls\" },\n]";
    let lock = "[[package]]\nname = \"ring\"\n\n[[package]]\nname = \"openssl\"\nversion = \"1.0.0\"";
    assert_eq!(banned(deny, lock), BTreeSet::from(["openssl"]));
}

/// Two of one would double what is linked, and a client of one could not be given the settings of the other.
#[test]
fn one_tls_stack_is_locked() {
    let lock = read("Cargo.lock");
    for name in ["rustls", "rustls-webpki", "tokio-rustls", "ring"] {
        let versions = names(&lock).into_iter().filter(|locked| *locked == name).count();
        assert_eq!(versions, 1, "versions of {name} in Cargo.lock");
    }
}

fn banned<'t>(deny: &'t str, lock: &'t str) -> BTreeSet<&'t str> {
    let (banned, locked) = (BTreeSet::from_iter(names(deny)), BTreeSet::from_iter(names(lock)));
    banned.intersection(&locked).copied().collect()
}

/// The crates that a file names, one a line: a package in Cargo.lock, a ban in deny.toml.
fn names(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.trim_start().trim_start_matches("{ ").strip_prefix("name = \""))
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    std::fs::read_to_string(path).expect("a file of the workspace")
}
