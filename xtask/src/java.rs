//! The published Java SDK against `openconnect-mesh`: `ci/java-sdk`, built by Maven, run on a mesh of its own.

use std::process::Command;
use std::time::Duration;

use openconnect_testkit::Result;
use openconnect_testkit::kit::Kit;
use openconnect_testkit::mesh::Mesh;
use serde_json::json;

use crate::release::workspace;

/// The whole run takes seconds; the SDK's own threads may hang.
const LIMIT: Duration = Duration::from_secs(120);

/// What came of it.
pub(crate) enum Outcome {
    /// So many checks passed and failed.
    Ran(usize, usize),
    /// Java or Maven is missing.
    Skipped(String),
}

pub(crate) fn run() -> Result<Outcome> {
    for tool in ["java", "mvn"] {
        let found = Command::new(tool)
            .arg("-version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !found {
            return Ok(Outcome::Skipped(format!("{tool} is not installed")));
        }
    }
    let output = workspace().join("target/java-sdk");
    let built = Command::new("mvn")
        .args(["-q", "-B", "package"])
        .arg("-f")
        .arg(workspace().join("ci/java-sdk/pom.xml"))
        .arg(format!("-Doutput={}", output.display()))
        .status()?;
    if !built.success() {
        return Err("Maven could not build ci/java-sdk".into());
    }
    let classpath = format!("{}:{}/*", output.join("classes").display(), output.join("lib").display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let kit = Kit::new("java sdk")?;
        // Ends with this function, however it ends.
        let mesh = Mesh::start(&kit, json!({})).await?;
        let mut java = tokio::process::Command::new("java");
        java.args(["-cp", &classpath, "org.openconnect.sdktest.Main"])
            .args([mesh.tcp.port().to_string(), mesh.grpc.port().to_string()])
            .current_dir(kit.path())
            .kill_on_drop(true);
        let finished = tokio::time::timeout(LIMIT, java.output()).await;
        let finished = finished.map_err(|_| format!("the SDK's program still ran after {LIMIT:?}"))??;
        let text = String::from_utf8_lossy(&finished.stdout);
        let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        let (passed, failed) = (count("ok "), count("FAILED "));
        print!("{text}");
        if passed == 0 || (!finished.status.success() && failed == 0) {
            return Err(format!("the SDK's program broke: {}", String::from_utf8_lossy(&finished.stderr)).into());
        }
        Ok(Outcome::Ran(passed, failed))
    })
}
