//! Sources and sinks under one face, so that each command is written once.

use std::future::Future;
use std::marker::PhantomData;

use super::args::OffsetsCommand;
use super::{Cli, offsets};
use crate::codes;
use crate::config::{ConnectorConfig, Section};
use crate::engine::check::{CheckReport, check_sink, check_source, check_staging_sink};
use crate::engine::{App, run_sink, run_source, run_staging_sink};
use crate::error::{Error, Exit, Result};
use crate::sink::Sink;
use crate::source::Source;
use crate::staging::StagingSink;

/// A connector, whichever its kind.
pub(crate) trait Connector: 'static {
    const NAME: &'static str;
    const SECTION: Section;
    type Config: ConnectorConfig;

    fn run(app: App<Self::Config>) -> impl Future<Output = Result<Exit>> + Send;
    fn check(app: App<Self::Config>, connect: bool) -> impl Future<Output = Result<CheckReport>>;

    /// `offsets …`, which is for sources.
    fn offsets(_: &Cli, _: &OffsetsCommand) -> Result<Exit> {
        Err(Error::config(
            codes::SINK_HAS_NO_OFFSETS,
            "a sink has no offsets: the mesh knows where its consumer group is",
        )
        .hint("`dead-letters list` shows what this sink could not deliver"))
    }
}

/// A source as a connector.
pub(crate) struct AsSource<S>(PhantomData<S>);

impl<S: Source> Connector for AsSource<S> {
    const NAME: &'static str = S::NAME;
    const SECTION: Section = Section::Source;
    type Config = S::Config;

    fn run(app: App<Self::Config>) -> impl Future<Output = Result<Exit>> + Send {
        run_source::<S>(app)
    }

    fn check(app: App<Self::Config>, connect: bool) -> impl Future<Output = Result<CheckReport>> {
        check_source::<S>(app, connect)
    }

    fn offsets(cli: &Cli, command: &OffsetsCommand) -> Result<Exit> {
        offsets::offsets::<S>(cli, command, cli.load::<Self>()?)
    }
}

/// A sink as a connector.
pub(crate) struct AsSink<S>(PhantomData<S>);

impl<S: Sink> Connector for AsSink<S> {
    const NAME: &'static str = S::NAME;
    const SECTION: Section = Section::Sink;
    type Config = S::Config;

    fn run(app: App<Self::Config>) -> impl Future<Output = Result<Exit>> + Send {
        run_sink::<S>(app)
    }

    fn check(app: App<Self::Config>, connect: bool) -> impl Future<Output = Result<CheckReport>> {
        check_sink::<S>(app, connect)
    }
}

/// A staging sink as a connector.
pub(crate) struct AsStagingSink<S>(PhantomData<S>);

impl<S: StagingSink> Connector for AsStagingSink<S> {
    const NAME: &'static str = S::NAME;
    const SECTION: Section = Section::Sink;
    type Config = S::Config;

    fn run(app: App<Self::Config>) -> impl Future<Output = Result<Exit>> + Send {
        run_staging_sink::<S>(app)
    }

    fn check(app: App<Self::Config>, connect: bool) -> impl Future<Output = Result<CheckReport>> {
        check_staging_sink::<S>(app, connect)
    }
}
