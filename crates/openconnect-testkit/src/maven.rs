//! Programs in Java, of which `ci/` has the sources: built by Maven, which fetches what they need.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// What is needed and not installed.
pub fn missing_tool() -> Option<&'static str> {
    let runs = |tool: &&str| {
        Command::new(tool)
            .arg("-version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    ["java", "mvn"].into_iter().find(|tool| !runs(tool))
}

/// Builds `ci/<project>` in `target/<project>`, and gives its class path.
pub fn build(project: &str) -> Result<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let output = workspace.join("target").join(project);
    let built = Command::new("mvn")
        .args(["-q", "-B", "package", "-f"])
        .arg(workspace.join("ci").join(project).join("pom.xml"))
        .arg(format!("-Doutput={}", output.display()))
        .status()?;
    if !built.success() {
        return Err(format!("Maven could not build ci/{project}").into());
    }
    Ok(format!("{}:{}/*", output.join("classes").display(), output.join("lib").display()))
}
