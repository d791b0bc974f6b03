//! The platforms, and the build.

use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;
use xtask::Result;

use crate::{Place, Release, tools};

/// A platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// For distributions with glibc 2.28 or newer.
    #[value(name = "x86_64-unknown-linux-gnu")]
    X86Gnu,
    /// Static: for container images, and for everything else.
    #[value(name = "x86_64-unknown-linux-musl")]
    X86Musl,
    /// For distributions with glibc 2.28 or newer.
    #[value(name = "aarch64-unknown-linux-gnu")]
    ArmGnu,
    /// Static: for container images, and for everything else.
    #[value(name = "aarch64-unknown-linux-musl")]
    ArmMusl,
}

/// The C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Libc {
    Gnu,
    Musl,
}

/// The oldest glibc that is linked against: Debian 10, RHEL 8, Ubuntu 18.10.
pub(crate) const GLIBC: &str = "2.28";

impl Target {
    pub(crate) fn of_this_machine() -> Result<Vec<Self>> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(vec![Self::X86Gnu, Self::X86Musl]),
            "aarch64" => Ok(vec![Self::ArmGnu, Self::ArmMusl]),
            other => Err(format!("no release is made on {other}").into()),
        }
    }

    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86Gnu => "x86_64-unknown-linux-gnu",
            Self::X86Musl => "x86_64-unknown-linux-musl",
            Self::ArmGnu => "aarch64-unknown-linux-gnu",
            Self::ArmMusl => "aarch64-unknown-linux-musl",
        }
    }

    pub(crate) fn libc(self) -> Libc {
        match self {
            Self::X86Gnu | Self::ArmGnu => Libc::Gnu,
            Self::X86Musl | Self::ArmMusl => Libc::Musl,
        }
    }

    /// As Debian and OCI call the processor.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::X86Gnu | Self::X86Musl => "amd64",
            Self::ArmGnu | Self::ArmMusl => "arm64",
        }
    }
}

/// Builds the connector from the checkout at `place`, and says where the binary is. Paths of the machine are replaced, so that
/// the bytes do not depend on them; the list of all crates in it is embedded (`cargo audit bin` reads it).
pub(crate) fn build(release: &Release<'_>, target: Target, place: &Place) -> Result<PathBuf> {
    println!("building {} for {}", release.name(), target.triple());
    let tools = tools::fetch()?;
    tools::rust_std(target.triple())?;
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let places = [
        (place.checkout.as_path(), "/build"),
        // Code that is made while building lies there.
        (place.output.as_path(), "/out"),
        (cargo_home.as_path(), "/cargo"),
    ];
    let flags = places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let zig_target = match target.libc() {
        Libc::Gnu => format!("{}.{GLIBC}", target.triple()),
        Libc::Musl => target.triple().to_owned(),
    };
    let mut cargo: Command = xtask::cargo::command();
    cargo
        .args([
            "auditable",
            "zigbuild",
            "--release",
            "--locked",
            "--package",
            &release.connector.package,
            "--target",
            &zig_target,
        ])
        .args(release.features())
        .env("CARGO_TARGET_DIR", &place.output)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .env("PATH", tools.path()?)
        .current_dir(&place.checkout);
    if !cargo.status()?.success() {
        return Err(format!("{} could not be built for {}", release.name(), target.triple()).into());
    }
    Ok(place.binary(release, target))
}
