//! What `check` finds out without delivering anything.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::sink::resolve_profile;
use super::source::{fits, input};
use super::{App, group, guarantee};
use crate::admin::AdminServer;
use crate::codes;
use crate::config::{Acknowledge, ConnectorConfig as _, Guarantee, Settings};
use crate::error::{Error, Result};
use crate::mesh::{Capabilities, Publisher, Subscriber};
use crate::offsets::{self, SharedOffsets};
use crate::sink::Sink;
use crate::source::{Accept, OffsetKeeper, Source};
use crate::staging::StagingSink;
use crate::state::{StateDir, input_folder, volatile};
use crate::transform::{KeyExpression, Transforms};

/// How one line of a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// Works, but worth a look.
    Warning,
    /// Does not work.
    Failed,
    /// Not tried (`--connect` was not given, or something before it failed).
    Skipped,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// The guarantee that the connector would run with.
    pub guarantee: Guarantee,
    /// What was looked at, how it went, and a text for people.
    pub lines: Vec<(String, CheckState, String)>,
}

struct Lines(Vec<(String, CheckState, String)>);

impl Lines {
    fn add(&mut self, what: &str, state: CheckState, text: impl Into<String>) {
        self.0.push((what.to_owned(), state, text.into()));
    }

    /// Notes a result; gives the value when it is one.
    fn result<T>(&mut self, what: &str, good: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.add(what, CheckState::Ok, good);
                Some(value)
            }
            Err(error) => {
                let hint = error.hint.as_deref().map(|hint| format!(" {hint}")).unwrap_or_default();
                self.add(what, CheckState::Failed, format!("{error:#}.{hint}"));
                None
            }
        }
    }

    /// What a run prepares before it reaches out.
    fn prepared(&mut self, settings: &Settings, connector: &str) {
        self.result("state.dir", "can be used", StateDir::check(settings, connector));
        self.result("transforms", "compile", Transforms::compile(&settings.transforms, None).map(|_| ()));
        self.result(
            "delivery.key",
            "compiles",
            KeyExpression::compile(Some(&settings.delivery.key)).map(|_| ()),
        );
    }

    fn guarantee(&mut self, computed: &guarantee::Computed, settings: &Settings) {
        let text = format!("{}: {}", computed.guarantee.as_str(), computed.because);
        self.result("guarantee", &text, guarantee::enforce(computed, settings.delivery.require));
    }
}

/// Checks a source; with `connect` also that mesh and source can be reached. Takes no offsets; a port that the source opens is opened and closed.
pub async fn check_source<S: Source>(app: App<S::Config>, connect: bool) -> Result<CheckReport> {
    let mut lines = Lines(Vec::new());
    lines.prepared(&app.settings, S::NAME);
    let profile = S::profile(&app.config);
    let fit = input::fits(S::NAME, S::Config::TAKES_INPUT, &profile, &app.settings);
    if app.settings.input.is_some() || fit.is_err() {
        lines.result("input", "fits", fit);
    }
    let capabilities = if connect { mesh(&app.settings, &mut lines).await } else { None };
    let capabilities = capabilities.unwrap_or_else(|| Subscriber::assumed_capabilities(&app.settings.mesh));
    let mut computed = guarantee::of_source(profile.replay, profile.accept);
    if let Some(set) = &app.settings.input {
        lines.result("input.transforms", "compile", input::transforms(set).map(|_| ()));
        if !connect {
            lines.add(
                "input",
                CheckState::Skipped,
                "the mesh was not asked: the guarantee supposes EventMesh 1.x; use --connect",
            );
        }
        let acknowledge = guarantee::acknowledge(set.acknowledge, &capabilities);
        computed = guarantee::with_input(computed, acknowledge, &capabilities);
        if acknowledge == Acknowledge::Inbox {
            let folder = input_folder(&instance(&app.settings));
            inbox(&folder, "input.acknowledge", &capabilities, &mut lines);
        }
    }
    lines.guarantee(&computed, &app.settings);
    if profile.accept == Accept::Spool {
        spool(&app.settings, &mut lines);
        lines.result("source.accept", "the source has no positions", fits(S::NAME, &profile));
    }
    match profile.offsets {
        OffsetKeeper::Core => positions::<S>(&app.settings, app.shared_offsets, connect, &mut lines).await,
        OffsetKeeper::Upstream => lines.add("offsets", CheckState::Ok, "kept by the system that is read"),
        OffsetKeeper::Nobody => lines.add("offsets", CheckState::Ok, "there are none: this source has no positions"),
    }
    if connect {
        admin(&app.settings, &mut lines).await;
        lines.result("source", "passed its check", S::check(app.config).await);
    } else {
        lines.add("mesh", CheckState::Skipped, "not tried; use --connect");
        lines.add("source", CheckState::Skipped, "not tried; use --connect");
    }
    Ok(CheckReport {
        guarantee: computed.guarantee,
        lines: lines.0,
    })
}

/// Checks a sink; with `connect` also that mesh and target can be reached. The mesh is asked as a publisher, so that no event
/// is taken from the group.
pub async fn check_sink<S: Sink>(app: App<S::Config>, connect: bool) -> Result<CheckReport> {
    let App { settings, config, .. } = app;
    let mut lines = Lines(Vec::new());
    lines.prepared(&settings, S::NAME);
    let profile = lines.result("delivery.ordering", "fits", resolve_profile::<S>(&settings, &config));
    let profile = profile.unwrap_or_else(|| S::profile(&config));
    let capabilities = if connect { mesh(&settings, &mut lines).await } else { None };
    if !connect {
        lines.add(
            "mesh",
            CheckState::Skipped,
            "not tried; use --connect. The guarantee below supposes EventMesh 1.x",
        );
    }
    let capabilities = capabilities.unwrap_or_else(|| Subscriber::assumed_capabilities(&settings.mesh));
    let acknowledge = guarantee::acknowledge(settings.delivery.acknowledge, &capabilities);
    let computed = guarantee::of_sink(acknowledge, &capabilities, profile.idempotent);
    lines.guarantee(&computed, &settings);
    if acknowledge == Acknowledge::Inbox {
        inbox(&instance(&settings), "delivery.acknowledge", &capabilities, &mut lines);
    }
    if connect {
        admin(&settings, &mut lines).await;
        lines.result("target", "passed its check", S::check(config).await);
    } else {
        lines.add("target", CheckState::Skipped, "not tried; use --connect");
    }
    Ok(CheckReport {
        guarantee: computed.guarantee,
        lines: lines.0,
    })
}

/// Checks a staging sink; with `connect` also that mesh and target can be reached. Takes no event, and touches no state.
pub async fn check_staging_sink<S: StagingSink>(app: App<S::Config>, connect: bool) -> Result<CheckReport> {
    let App { settings, config, .. } = app;
    let mut lines = Lines(Vec::new());
    lines.prepared(&settings, S::NAME);
    let profile = S::profile(&config);
    let capabilities = if connect { mesh(&settings, &mut lines).await } else { None };
    if !connect {
        lines.add("mesh", CheckState::Skipped, "not tried; use --connect");
    }
    let capabilities = capabilities.unwrap_or_else(|| Subscriber::assumed_capabilities(&settings.mesh));
    let computed = guarantee::of_staging_sink(&capabilities, profile.repeats);
    lines.guarantee(&computed, &settings);
    inbox(&instance(&settings), "delivery.acknowledge", &capabilities, &mut lines);
    if connect {
        admin(&settings, &mut lines).await;
        lines.result("target", "passed its check", S::check(config).await);
    } else {
        lines.add("target", CheckState::Skipped, "not tried; use --connect");
    }
    Ok(CheckReport {
        guarantee: computed.guarantee,
        lines: lines.0,
    })
}

/// Where the offsets are, and what becomes of them.
async fn positions<S: Source>(settings: &Settings, shared: Option<&'static dyn SharedOffsets>, connect: bool, lines: &mut Lines) {
    let state = &settings.state;
    let folder = instance(settings);
    if state.offsets.is_none() {
        let text = format!(
            "in {}, for one process; lost with it, the source starts from its beginning",
            folder.display()
        );
        match volatile(&folder) {
            Some(kind) => lines.add(
                "offsets",
                CheckState::Warning,
                format!("{text}. {kind}: put state.dir on a persistent volume"),
            ),
            None => lines.add("offsets", CheckState::Ok, text),
        }
        return;
    }
    let (prefix, ttl) = (&state.table_prefix, state.lease_ttl.0);
    let text = format!(
        "in a database, tables {prefix}offsets, {prefix}leases and {prefix}store: of several processes named {} one is active, another takes over when \
         it is silent for {ttl:?}",
        settings.name
    );
    // Without a way to share them this fails before it connects.
    if connect || shared.is_none() {
        lines.result("offsets", &text, offsets::open(settings, S::NAME, &folder, shared).await);
    } else {
        lines.add("offsets", CheckState::Skipped, format!("{text}; not tried, use --connect"));
    }
}

/// The instance's folder.
fn instance(settings: &Settings) -> PathBuf {
    StateDir::path_of(&settings.state, &settings.name)
}

/// Where acknowledged events wait until they are delivered, and what is lost with that place. `acknowledge` is the setting that says so.
fn inbox(folder: &Path, acknowledge: &str, mesh: &Capabilities, lines: &mut Lines) {
    let folder = folder.join("inbox");
    let text = format!(
        "events that the mesh counts as consumed wait in {} until they are delivered; with that folder those are lost",
        folder.display()
    );
    let Some(kind) = volatile(&folder) else {
        lines.add("inbox", CheckState::Ok, text);
        return;
    };
    let or = if mesh.redelivers {
        format!("or leave {acknowledge} at auto: this mesh keeps events until they are delivered")
    } else {
        format!("{acknowledge}: write is no way out with this server, which forgets what is not acknowledged within 3 to 8 seconds")
    };
    lines.add(
        "inbox",
        CheckState::Warning,
        format!("{text}. {kind}: put state.dir on a persistent volume; {or}"),
    );
}

/// Where events wait for the mesh whose senders were told that they are safe, and what is lost with that place.
fn spool(settings: &Settings, lines: &mut Lines) {
    let folder = instance(settings).join("inbox");
    let text = format!(
        "events that count as delivered for their senders wait in {} until the mesh has them, {} at the most; with that folder those are lost",
        folder.display(),
        settings.state.inbox_max
    );
    match volatile(&folder) {
        None => lines.add("spool", CheckState::Ok, text),
        Some(kind) => lines.add(
            "spool",
            CheckState::Warning,
            format!("{text}. {kind}: put state.dir on a persistent volume, or set source.accept to mesh"),
        ),
    }
}

/// Can the address of the admin server be listened on?
async fn admin(settings: &Settings, lines: &mut Lines) {
    if let Some(admin) = &settings.admin {
        lines.result("admin.listen", "is free", AdminServer::try_listen(&admin.listen).await);
    }
}

async fn mesh(settings: &Settings, lines: &mut Lines) -> Option<Capabilities> {
    let limit = settings.mesh.request_timeout.0;
    let ends = CancellationToken::new();
    // The client waits for its mesh as long as it takes; a check has an end.
    let _stop = ends.clone().drop_guard();
    let connected = tokio::time::timeout(limit, Publisher::connect(&settings.mesh, group(settings), ends.clone()))
        .await
        .unwrap_or_else(|_| {
            Err(Error::unavailable(
                codes::MESH_UNREACHABLE,
                format!("no server of mesh.url gave a session within {limit:?}"),
            )
            .hint("The log has the reason of each attempt."))
        });
    let publisher = lines.result("mesh", "can be reached", connected)?;
    let capabilities = publisher.capabilities();
    publisher.close().await;
    lines.add("mesh server", CheckState::Ok, capabilities.server.clone());
    Some(capabilities)
}
