//! `cargo xtask dist <connector>`: what users install, made so that a second build gives the same bytes.
//!
//! | file | what is in it |
//! |---|---|
//! | `target.rs` | the platforms, what each needs, and the build |
//! | `tools.rs` | programs that are fetched when they are needed |
//! | `tree.rs` | files with their places and modes; tar and gzip without anything of this machine |
//! | `files.rs` | what lies beside the binary: completions, manual page, schema, unit, manifests |
//! | `deb.rs`, `oci.rs` | the Debian package, the container image |
//! | `sbom.rs`, `provenance.rs` | what it is made of, and how |

mod deb;
mod files;
mod oci;
mod provenance;
mod sbom;
mod target;
mod tools;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use xtask::Result;

use target::{Libc, Target};
use tree::sha256;
use xtask::cargo::workspace;
use xtask::connectors::{self, Connector};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask dist")]
struct Arguments {
    /// Connectors, as `cargo xtask list` names them.
    #[arg(required = true)]
    connectors: Vec<String>,
    /// Platforms. Default: those of this machine's processor.
    #[arg(long = "target", value_enum)]
    targets: Vec<Target>,
    /// Build with this feature alone, which makes a smaller program: a driver of the SQL connectors, for example.
    #[arg(long)]
    variant: Option<String>,
    /// Build a second time elsewhere, and compare the bytes.
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let targets = match arguments.targets.as_slice() {
        [] => Target::of_this_machine()?,
        some => some.to_vec(),
    };
    for connector in connectors::named(&arguments.connectors)? {
        let release = Release::of(&connector, arguments.variant.as_deref())?;
        release.make(&targets)?;
        if arguments.verify {
            release.verify(&targets)?;
        }
    }
    Ok(())
}

/// One connector at one commit.
struct Release<'c> {
    connector: &'c Connector,
    /// The feature that it is built with, where not all of them are.
    variant: Option<&'c str>,
    commit: String,
    /// Seconds since 1970 of the commit: the time of everything that has one.
    epoch: u64,
    folder: PathBuf,
}

impl<'c> Release<'c> {
    fn of(connector: &'c Connector, variant: Option<&'c str>) -> Result<Self> {
        if let Some(variant) = variant.filter(|variant| !connector.variants.iter().any(|known| known == variant)) {
            let known = match connector.variants.as_slice() {
                [] => "it has none".to_owned(),
                known => format!("there are {}", known.join(", ")),
            };
            return Err(format!("{} has no variant `{variant}`; {known}", connector.name).into());
        }
        let commit = xtask::git::read(&["rev-parse", "HEAD"])?;
        let epoch = xtask::git::read(&["log", "-1", "--format=%ct"])?;
        let mut release = Self {
            connector,
            variant,
            commit: commit.trim().to_owned(),
            epoch: epoch.trim().parse()?,
            folder: PathBuf::new(),
        };
        release.folder = workspace().join("target/dist").join(release.stem());
        Ok(release)
    }

    /// The name of what is installed: `openconnect-http-sink`, `openconnect-jdbc-sink-postgres`. The program in it is always called as
    /// the connector.
    fn name(&self) -> String {
        let variant = self.variant.map_or_else(String::new, |variant| format!("-{variant}"));
        format!("{}{variant}", self.connector.package)
    }

    /// `openconnect-http-sink-0.1.0`
    fn stem(&self) -> String {
        format!("{}-{}", self.name(), self.connector.version)
    }

    /// Cargo's arguments for the features of the variant.
    fn features(&self) -> Vec<&str> {
        self.variant
            .map_or_else(Vec::new, |variant| vec!["--no-default-features", "--features", variant])
    }

    fn make(&self, targets: &[Target]) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        // What is committed, whatever else lies about.
        let source = Place::new("source", "build");
        xtask::git::checkout(&self.commit, &source.checkout)?;
        let mut images = Vec::new();
        // A binary of this machine says what it has: completions, manual page, example, schema.
        let speaker = target::build(self, Target::of_this_machine()?.first().copied().ok_or("no target")?, &source)?;
        for target in targets {
            let binary = target::build(self, *target, &source)?;
            let bytes = fs::read(&binary)?;
            println!("{}: {} bytes, sha256 {}", target.triple(), bytes.len(), sha256(&bytes));
            let files = files::of(self, &speaker, bytes)?;
            self.write(
                &format!("{}-{}.tar.gz", self.stem(), target.triple()),
                &tree::gzip(&files.archive(&self.stem(), self.epoch)?)?,
            )?;
            match target.libc() {
                Libc::Gnu => self.write(&deb::name(self, *target), &deb::package(self, *target, &files)?)?,
                Libc::Musl => images.push((*target, files)),
            }
        }
        xtask::git::remove_checkout(&source.checkout)?;
        if !images.is_empty() {
            oci::layout(self, &images, &self.folder.join(format!("{}-oci", self.stem())))?;
        }
        self.write(
            &format!("{}.kubernetes.yaml", self.stem()),
            files::kubernetes(self.connector, &files::example(&speaker)?).as_bytes(),
        )?;
        self.write(&format!("{}.cdx.json", self.stem()), sbom::cyclonedx(self)?.as_bytes())?;
        let mut sums = self.sums()?;
        let (name, statement) = (format!("{}.intoto.json", self.stem()), provenance::statement(self, targets, &sums)?);
        self.write(&name, statement.as_bytes())?;
        sums.insert(name, sha256(statement.as_bytes()));
        let lines: Vec<String> = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        self.write("SHA256SUMS", lines.concat().as_bytes())?;
        println!("{}", self.folder.display());
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        println!("  {name}: {} bytes", bytes.len());
        Ok(fs::write(self.folder.join(name), bytes)?)
    }

    /// Of every file that was made, by its name.
    fn sums(&self) -> Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        let mut open = vec![self.folder.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&self.folder)?.to_string_lossy().into_owned();
                    sums.insert(name, sha256(&fs::read(&path)?));
                }
            }
        }
        Ok(sums)
    }

    /// Builds again from a checkout in another place, with nothing of the first build, and compares with that.
    fn verify(&self, targets: &[Target]) -> Result<()> {
        let (first, again) = (Place::new("source", "build"), Place::new("again/a longer path", "again/build"));
        xtask::git::checkout(&self.commit, &again.checkout)?;
        for target in targets {
            let bytes = fs::read(first.binary(self, *target))?;
            if bytes != fs::read(target::build(self, *target, &again)?)? {
                return Err(format!("{}: a second build gives other bytes", target.triple()).into());
            }
            println!(
                "{}: a second build in another place gives the same {} bytes",
                target.triple(),
                bytes.len()
            );
        }
        xtask::git::remove_checkout(&again.checkout)
    }
}

/// Where a build is made.
struct Place {
    checkout: PathBuf,
    output: PathBuf,
}

impl Place {
    fn new(checkout: &str, output: &str) -> Self {
        let folder = workspace().join("target/dist");
        Self {
            checkout: folder.join(checkout),
            output: folder.join(output),
        }
    }

    fn binary(&self, release: &Release<'_>, target: Target) -> PathBuf {
        self.output.join(target.triple()).join("release").join(&release.connector.package)
    }
}

/// A file's text.
fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()).into())
}
