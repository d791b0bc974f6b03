//! `import-eventmesh`: a configuration of a Java connector as one of ours.

use std::path::Path;

use super::{Cli, Connector};
use crate::codes;
use crate::config::ConnectorConfig;
use crate::config::Import;
use crate::error::{BoxError, Error, Exit, Result};

/// A configuration is a page or two.
const LONGEST: u64 = 1 << 20;

pub(crate) fn import<C: Connector>(cli: &Cli, file: &Path) -> Result<Exit> {
    let refused = |why: BoxError| Error::config(codes::IMPORT_REFUSED, format!("{} can't be imported", file.display())).because(why);
    let size = std::fs::metadata(file).map_err(|e| refused(e.into()))?.len();
    if size > LONGEST {
        return Err(refused(format!("{size} bytes are no configuration").into()));
    }
    let text = std::fs::read_to_string(file).map_err(|e| refused(e.into()))?;
    let mut import = Import::new(&text, C::SECTION)?;
    C::Config::import(&mut import);
    cli.output.line(import.finish(&file.display().to_string()).trim_end());
    Ok(Exit::Clean)
}
