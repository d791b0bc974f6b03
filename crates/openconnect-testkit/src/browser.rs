//! A headless browser that looks at a page: Chromium, from Debian's packages where it is not installed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{Result, debian, skip};

/// How long scripts of the page may run, in ms of the page's own clock.
const BUDGET_MS: u32 = 5000;

/// The page's elements, after its scripts have run. `None` where there is no browser and none can be installed; with `CI=true`
/// that is an error.
pub fn look(url: &str, profile: &Path) -> Result<Option<String>> {
    let Some(browser) = browser() else {
        skip::skipped("the page in a browser", "no Chromium, and it can't be installed")?;
        return Ok(None);
    };
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--dump-dom",
        ])
        .arg(format!("--virtual-time-budget={BUDGET_MS}"))
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .stderr(Stdio::null())
        .output()?;
    Ok(Some(String::from_utf8(output.stdout)?))
}

fn browser() -> Option<&'static str> {
    let found = || {
        ["chromium", "google-chrome", "chromium-browser"].into_iter().find(|name| {
            let mut version = Command::new(name);
            version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        })
    };
    found().or_else(|| debian::install("chromium").then(found)?)
}
