//! An empty database of each kind, for tests of what is the same on all of them.

use tempfile::TempDir;

use crate::Result;
use crate::server::{Database, System, database};

/// An empty database. It goes with this.
#[derive(Debug)]
pub struct EmptyDatabase {
    /// Which kind it is.
    pub name: &'static str,
    /// Where it is, with the password.
    pub url: String,
    _keep: Keep,
}

#[derive(Debug)]
enum Keep {
    Folder(#[allow(dead_code)] TempDir),
    Server(#[allow(dead_code)] Database),
}

impl EmptyDatabase {
    /// An SQLite file in a folder of its own; it is made at the first use.
    fn sqlite() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self {
            name: "sqlite",
            url: format!("sqlite://{}", folder.path().join("t.db").display()),
            _keep: Keep::Folder(folder),
        })
    }

    async fn on(system: System) -> Result<Option<Self>> {
        let database = database(system).await?;
        Ok(database.map(|database| Self {
            name: system.name(),
            url: database.url.clone(),
            _keep: Keep::Server(database),
        }))
    }

    /// One of each kind that can be had.
    ///
    /// # Errors
    /// As with [`database`].
    pub async fn of_each_kind() -> Result<Vec<Self>> {
        let mut all = vec![Self::sqlite()?];
        for system in System::ALL {
            all.extend(Self::on(system).await?);
        }
        Ok(all)
    }
}
