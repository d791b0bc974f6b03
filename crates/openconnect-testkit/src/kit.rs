//! One test's temporary folder, seed and random numbers.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::Result;
pub use crate::ports::free_address;

/// One test's surroundings. Its folder goes when it is dropped.
#[derive(Debug)]
pub struct Kit {
    dir: TempDir,
    binaries: Option<PathBuf>,
    seed: u64,
    /// Random numbers that follow from the seed.
    pub rng: StdRng,
}

impl Kit {
    /// A fresh folder, and the seed from `OPENCONNECT_SEED` or a new one, printed.
    pub fn new(test: &str) -> Result<Self> {
        let seed = match std::env::var("OPENCONNECT_SEED") {
            Ok(text) => text.trim().parse().map_err(|e| format!("OPENCONNECT_SEED={text}: {e}"))?,
            Err(_) => rand::random(),
        };
        println!("{test}: OPENCONNECT_SEED={seed}");
        Self::seeded(seed, None)
    }

    /// A fresh folder, for what is not random, with the binaries of a folder.
    pub fn quiet(binaries: &Path) -> Result<Self> {
        Self::seeded(0, Some(binaries.to_owned()))
    }

    /// A fresh folder for the plan of a seed.
    pub fn for_plan(seed: u64) -> Result<Self> {
        Self::seeded(seed, None)
    }

    fn seeded(seed: u64, binaries: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            dir: tempfile::Builder::new().prefix("openconnect-").tempdir()?,
            binaries,
            seed,
            rng: StdRng::seed_from_u64(seed),
        })
    }

    /// The path of a built binary.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        match &self.binaries {
            Some(folder) => Ok(folder.join(name)),
            None => crate::binary::path(name),
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A random number in the range.
    pub fn pick(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.random_range(range)
    }
}
