//! `import-eventmesh`: a configuration of a Java connector as one of ours.

use std::path::Path;

use super::{Cli, Connector};
use crate::codes;
use crate::config::ConnectorConfig;
use crate::config::Import;
use crate::error::{Error, Exit, Result};

/// A configuration is a page or two.
const LONGEST: u64 = 1 << 20;

pub(crate) fn import<C: Connector>(cli: &Cli, file: &Path) -> Result<Exit> {
    let unreadable = |reason: String| Error::config(codes::IMPORT_REFUSED, format!("{}: {reason}", file.display()));
    let size = std::fs::metadata(file).map_err(|e| unreadable(e.to_string()))?.len();
    if size > LONGEST {
        return Err(unreadable(format!("{size} bytes are no configuration")));
    }
    let text = std::fs::read_to_string(file).map_err(|e| unreadable(e.to_string()))?;
    let mut import = Import::new(&text, C::SECTION)?;
    C::Config::import(&mut import);
    cli.output.line(import.finish(&file.display().to_string()).trim_end());
    Ok(Exit::Clean)
}
