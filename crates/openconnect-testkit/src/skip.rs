//! What could not be tested here is said in one form, which `cargo xtask test` collects, and is a failure in CI.

use crate::Result;

/// Prints `skipped: <what>: <why>`.
///
/// # Errors
/// With `CI=true`: there, everything must be there.
pub fn skipped(what: &str, why: &str) -> Result<()> {
    let why = why.trim().replace('\n', "; ");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        return Err(format!("{what} can't be tested: {why}").into());
    }
    println!("skipped: {what}: {why}");
    Ok(())
}
