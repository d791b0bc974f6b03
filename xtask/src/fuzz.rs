//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, each for a while. They need cargo-fuzz and a nightly toolchain.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use xtask::cargo::workspace;

/// The longest input that is tried, in bytes.
const LONGEST: u32 = 8192;

/// Runs the target, or all of them, for `seconds` each.
pub(crate) fn run(target: Option<&str>, seconds: u64) -> ExitCode {
    if let Err(missing) = tools() {
        eprintln!("{missing}");
        return ExitCode::from(69);
    }
    let fuzz = workspace().join("fuzz");
    let known = match targets(&fuzz) {
        Ok(known) => known,
        Err(error) => {
            eprintln!("{}: {error}", fuzz.display());
            return ExitCode::FAILURE;
        }
    };
    let chosen: Vec<&String> = known.iter().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if chosen.is_empty() {
        eprintln!("there is no such target; there are: {}", known.join(", "));
        return ExitCode::from(78);
    }
    let mut broken = Vec::new();
    for name in chosen {
        println!("== {name}: {seconds} s");
        if let Err(error) = fuzz_one(&fuzz, name, seconds) {
            println!(
                "== {name}: FAILED ({error}); the input is in {}",
                fuzz.join("artifacts").join(name).display()
            );
            broken.push(name.as_str());
        }
    }
    if broken.is_empty() {
        println!("nothing was broken");
        return ExitCode::SUCCESS;
    }
    println!("broken: {}; make an ordinary test of each input", broken.join(", "));
    ExitCode::FAILURE
}

/// What is missing on this machine, and how to get it.
fn tools() -> Result<(), &'static str> {
    let answers = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !answers(&["+nightly", "--version"]) {
        return Err("fuzzing needs a nightly toolchain: rustup toolchain install nightly --profile minimal");
    }
    if !answers(&["+nightly", "fuzz", "--version"]) {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    Ok(())
}

/// A target is a file in `fuzz/targets`.
fn targets(fuzz: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(fuzz.join("targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn fuzz_one(fuzz: &Path, name: &str, seconds: u64) -> Result<(), String> {
    let found = workspace().join("target/fuzz").join(name);
    fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
    let status = Command::new("cargo")
        // A cargo that runs this program must not choose the toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .args(["+nightly", "fuzz", "run", "--fuzz-dir"])
        .arg(fuzz)
        .arg(name)
        .arg(&found)
        .arg(fuzz.join("seeds").join(name))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0"])
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}
