//! `CHANGELOG.md` of a connector: what is below `Unreleased` becomes a version.

use std::fs;

use cargo_metadata::camino::Utf8PathBuf;
use semver::Version;
use xtask::Result;

use xtask::connectors::Connector;
use xtask::git;

const UNRELEASED: &str = "## Unreleased\n";

pub(crate) struct Changelog {
    file: Utf8PathBuf,
    before: String,
    unreleased: String,
    after: String,
}

impl Changelog {
    /// Reads it; without anything below `Unreleased` there is nothing to release.
    pub(crate) fn read(connector: &Connector) -> Result<Self> {
        let file = connector.folder.join("CHANGELOG.md");
        let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        Self::of(file, &text)
    }

    fn of(file: Utf8PathBuf, text: &str) -> Result<Self> {
        let (before, rest) = text
            .split_once(UNRELEASED)
            .ok_or_else(|| format!("{file} has no section `Unreleased`"))?;
        let (unreleased, after) = rest.find("\n## ").map_or((rest, ""), |at| rest.split_at(at + 1));
        if !unreleased.lines().any(|line| line.starts_with("- ")) {
            return Err(format!("{file} has nothing below `Unreleased`: write what is new for users").into());
        }
        Ok(Self {
            before: before.to_owned(),
            unreleased: unreleased.trim().to_owned(),
            after: after.to_owned(),
            file,
        })
    }

    pub(crate) fn unreleased(&self) -> &str {
        &self.unreleased
    }

    /// Is there something new, beside what was mended?
    pub(crate) fn adds(&self) -> bool {
        self.unreleased.contains("### Added")
    }

    /// The section gets the version and the commit's day.
    pub(crate) fn release(&mut self, version: &Version) -> Result<()> {
        let day = git::read(&["log", "-1", "--format=%cs"])?;
        Ok(fs::write(&self.file, self.text(version, day.trim()))?)
    }

    fn text(&self, version: &Version, day: &str) -> String {
        let after = if self.after.is_empty() {
            String::new()
        } else {
            format!("\n{}", self.after)
        };
        format!("{}{UNRELEASED}\n## {version} - {day}\n\n{}\n{after}", self.before, self.unreleased)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_unreleased_becomes_a_version_and_an_empty_section_is_refused() {
        let text = "# A\n\n## Unreleased\n\n### Added\n\n- New.\n\n## 0.1.0 - 2024-01-01\n\n- Old.\n";
        let changelog = Changelog::of("a".into(), text).unwrap();
        assert!(changelog.adds());
        let released = changelog.text(&Version::new(0, 2, 0), "2024-02-01");
        assert_eq!(
            released,
            "# A\n\n## Unreleased\n\n## 0.2.0 - 2024-02-01\n\n### Added\n\n- New.\n\n## 0.1.0 - 2024-01-01\n\n- Old.\n"
        );
        assert!(Changelog::of("a".into(), &released).is_err());
    }
}
