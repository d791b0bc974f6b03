//! The client's side of every recorded conversation, told to a running mesh: its answers are EventMesh's, in command, code,
//! order and meaning, but for the differences that `docs/mesh-differences.md` lists.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unreachable_pub)]

#[path = "../../openconnect-protocol/tests/support/conversations.rs"]
mod conversations;
#[path = "conversations/grpc.rs"]
mod grpc;
#[path = "conversations/tcp.rs"]
mod tcp;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use conversations::{Conversation, Line};
use openconnect_mesh::{Config, Mesh, MeshHandle, Start};

/// How long the mesh may take for something that EventMesh did.
pub const WAIT: Duration = Duration::from_secs(20);

/// What was compared.
#[derive(Default)]
pub struct Compared {
    alike: usize,
    skipped: usize,
    /// By their name in the documentation.
    differences: BTreeMap<&'static str, usize>,
    unexpected: Vec<String>,
}

impl Compared {
    pub fn alike(&mut self) {
        self.alike += 1;
    }

    pub fn skipped(&mut self) {
        self.skipped += 1;
    }

    pub fn outcome(&mut self, outcome: Result<(), Option<&'static str>>, line: &Line, how: impl FnOnce() -> String) {
        match outcome {
            Ok(()) => self.alike(),
            Err(known) => self.differs(known, line, how),
        }
    }

    pub fn differs(&mut self, known: Option<&'static str>, line: &Line, how: impl FnOnce() -> String) {
        match known {
            Some(name) => *self.differences.entry(name).or_default() += 1,
            None => self.unexpected.push(format!("{} ({}): {}", line.place, line.step, how())),
        }
    }
}

/// A mesh that starts groups where EventMesh does, with what is published from then on.
pub async fn mesh(dir: &tempfile::TempDir) -> MeshHandle {
    let mut config = Config::embedded(dir.path());
    config.fsync = false;
    config.delivery.new_group = Start::Latest;
    Mesh::start(config).await.unwrap()
}

#[tokio::test]
async fn the_mesh_answers_as_eventmesh_did() {
    let mut compared = Compared::default();
    for Conversation { name, lines } in conversations::all() {
        let mut runs: Vec<&str> = lines.iter().map(|line| line.run.as_str()).collect();
        runs.dedup();
        for run in runs {
            let lines: Vec<&Line> = lines.iter().filter(|line| line.run == run).collect();
            if lines.iter().any(|line| !line.method.is_empty()) {
                grpc::replay(&lines, &mut compared).await;
            } else {
                tcp::replay(&lines, &mut compared).await;
            }
            println!("{name} {run}: {} alike so far", compared.alike);
        }
    }
    println!("{} alike, {} recorded in part only", compared.alike, compared.skipped);
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mesh-differences.md")).unwrap();
    for (name, count) in &compared.differences {
        println!("{count} times {name}");
        assert!(
            page.contains(&format!("| `{name}` |")),
            "`{name}` is not in docs/mesh-differences.md"
        );
    }
    assert!(compared.unexpected.is_empty(), "{}", compared.unexpected.join("\n"));
    assert!(compared.alike > 20);
}
