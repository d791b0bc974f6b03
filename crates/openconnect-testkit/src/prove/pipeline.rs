//! The processes of one run: source, mesh, sink, the proxies between them, and the target; watched, and started again.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openconnect_fault::{Defect, Failpoint};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::fault::{Fault, Link, Part, Trouble, part_of};
use super::plan::Plan;
use super::proxy::{Mode, Proxy};
use super::subject::{Input, Output, Subject};
use super::timeline::Timeline;
use super::{clock, host};
use crate::Result;
use crate::connector::{Connector, merge};
use crate::kit::Kit;
use crate::mesh::Mesh;
use crate::oracle::Arrived;
use crate::process::{FileLimit, Process, Program};

/// How often everything is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How long a process may take to come to its failpoint.
const FAILPOINT: Duration = Duration::from_secs(2);
/// How long a process may take to end after SIGTERM: its own deadline is one second.
const STOP: Duration = Duration::from_secs(15);
/// A process that is younger than this may not listen to signals yet: SIGTERM then kills it.
const YOUNG: Duration = Duration::from_millis(500);
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(3600);
/// How soon a process that ended by itself is started again.
const RESTART: Duration = Duration::from_millis(100);

/// A pipeline under test.
pub(super) struct Pipeline {
    pub(super) kit: Kit,
    pub(super) mesh: Mesh,
    pub(super) source: Connector,
    pub(super) sink: Connector,
    pub(super) input: Box<dyn Input>,
    pub(super) output: Arc<dyn Output>,
    pub(super) timeline: Timeline,
    pub(super) violations: Vec<String>,
    pub(super) kills: usize,
    /// Process groups that there have been.
    pub(super) groups: Vec<u32>,
    to_source: Proxy,
    to_sink: Proxy,
    to_target: Option<Proxy>,
    plan: Plan,
    with_inbox: Part,
    /// Faults that are going on, and until when.
    active: Vec<(Instant, Fault)>,
    /// Who is to be started, and when; nobody in here is expected to run.
    down: HashMap<Part, Instant>,
    /// A change of the target's trouble that is under way. It may wait for a lock that a stopped process holds, or for a server's
    /// start: meanwhile everything else goes on.
    change: Option<AbortOnDropHandle<Result<()>>>,
}

impl Pipeline {
    /// Starts everything and waits until it is ready.
    pub(super) async fn start(subject: &Subject, plan: &Plan, defect: Option<Defect>) -> Result<Self> {
        let kit = Kit::for_plan(plan.seed)?;
        let user = plan
            .any(|fault| matches!(fault, Fault::ReadOnly { .. }))
            .then(host::unprivileged)
            .flatten();
        let state = kit.file("state");
        std::fs::create_dir(&state)?;
        for folder in [kit.path(), &state] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?;
        }
        let environment = |part| {
            let mut all: Vec<(String, String)> = defect.map(|d| ("OPENCONNECT_DEFECT".into(), d.name().into())).into_iter().collect();
            if plan.any(|fault| matches!(fault, Fault::Clock { part: whose, .. } if *whose == part)) {
                all.extend(clock::environment(&kit.file(&format!("clock-{}", Part::name(part)))));
            }
            all
        };
        let prepare = |program: &mut Program, part| {
            program.user = user;
            program.file_limit = Some(FileLimit::Later);
            program.environment = environment(part);
        };
        for part in Part::ALL {
            clock::set(&kit.file(&format!("clock-{}", part.name())), 0)?;
        }
        let mesh = Mesh::start_with(&kit, mesh_settings(), |program| prepare(program, Part::Mesh)).await?;
        let address = if subject.grpc { mesh.grpc } else { mesh.tcp };
        let (to_source, to_sink) = (Proxy::start(address).await?, Proxy::start(address).await?);
        let url = |proxy: &Proxy| format!("{}://{}", if subject.grpc { "grpc" } else { "tcp" }, proxy.address());
        let (mut input, output) = ((subject.input)(&kit).await?, (subject.output)(&kit).await?);
        let to_target = match output.address() {
            Some(address) => Some(Proxy::start(address).await?),
            None => None,
        };
        let mut settings = settings(&url(&to_source), (subject.source_settings)());
        merge(&mut settings, json!({ "source": input.section() }));
        let mut source = Connector::prepare(&kit, input.binary(), "in", settings)?;
        let mut settings = self::settings(&url(&to_sink), (subject.sink_settings)());
        merge(
            &mut settings,
            json!({ "sink": output.section(to_target.as_ref().map(Proxy::address)) }),
        );
        let mut sink = Connector::prepare(&kit, output.binary(), "out", settings)?;
        prepare(&mut source.program, Part::Source);
        prepare(&mut sink.program, Part::Sink);
        // The sink's group must be known before the first event, and both wait for nobody.
        sink.launch()?;
        source.launch()?;
        sink.ready().await?;
        source.ready().await?;
        input.start().await?;
        let mut this = Self {
            groups: vec![mesh.process.id()],
            kit,
            mesh,
            source,
            sink,
            input,
            output,
            timeline: Timeline::default(),
            violations: Vec::new(),
            kills: 0,
            to_source,
            to_sink,
            to_target,
            plan: plan.clone(),
            with_inbox: subject.with_inbox(),
            active: Vec::new(),
            down: HashMap::new(),
            change: None,
        };
        for part in [Part::Source, Part::Sink] {
            let id = this.process(part)?.id();
            this.groups.push(id);
        }
        this.timeline.note("kit", "everything runs");
        Ok(this)
    }

    /// The part's process.
    pub(super) fn process(&mut self, part: Part) -> Result<&mut Process> {
        match part {
            Part::Source => self.source.process(),
            Part::Mesh => Ok(&mut self.mesh.process),
            Part::Sink => self.sink.process(),
        }
    }

    fn program(&mut self, part: Part) -> &mut Program {
        match part {
            Part::Source => &mut self.source.program,
            Part::Mesh => &mut self.mesh.program,
            Part::Sink => &mut self.sink.program,
        }
    }

    fn launch(&mut self, part: Part) -> Result<()> {
        self.down.remove(&part);
        match part {
            Part::Source => self.source.launch()?,
            Part::Mesh => self.mesh.process = self.mesh.program.start()?,
            Part::Sink => self.sink.launch()?,
        }
        let full = self
            .active
            .iter()
            .any(|(_, f)| matches!(f, Fault::DiskFull { part: whose, .. } if *whose == part));
        if full {
            self.fill_disk(part)?;
        }
        let id = self.process(part)?.id();
        self.groups.push(id);
        self.timeline.note(part.name(), "started");
        Ok(())
    }

    /// Not every superuser may limit a process of another user, as which parts run where folders become read-only; and the
    /// process may be gone, about to be started again.
    fn fill_disk(&mut self, part: Part) -> Result<()> {
        if let Err(error) = self.process(part)?.limit_files(Some(0)) {
            self.timeline
                .note("kit", format!("the disk of the {} can't be made full now: {error}", part.name()));
        }
        Ok(())
    }

    /// Lets time pass; processes that end by themselves are noticed and started again, faults that are over are ended.
    pub(super) async fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.look().await?;
            if Instant::now() >= end {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        self.changed().await?;
        let changing = self.change.is_some();
        let over = |(end, fault): &(Instant, Fault)| *end <= now && !(changing && matches!(fault, Fault::Target { .. }));
        while let Some(at) = self.active.iter().position(over) {
            let (_, fault) = self.active.remove(at);
            self.end(&fault)?;
            if self.change.is_some() {
                // The target's troubles change one at a time; the rest has its turn at the next look.
                break;
            }
        }
        for part in Part::ALL {
            match self.down.get(&part) {
                Some(at) if *at <= now => self.launch(part)?,
                Some(_) => {}
                None => {
                    if let Some(code) = self.process(part)?.ended()? {
                        self.ended_by_itself(part, code);
                        self.down.insert(part, now + RESTART);
                    }
                }
            }
        }
        Ok(())
    }

    fn ended_by_itself(&mut self, part: Part, code: Option<i32>) {
        self.timeline.note(part.name(), format!("ended by itself with {code:?}"));
        let expected = self.plan.any(|fault| fault.may_end(part)) && matches!(code, Some(69 | 70));
        if !expected {
            let log = self.process(part).map(|process| process.tail()).unwrap_or_default();
            self.violations.push(format!(
                "the {} ended by itself with {code:?}; its log ends with\n{log}",
                part.name()
            ));
        }
    }

    /// Waits until the part ends, while everything else goes on; none when it does not.
    async fn until_ended(&mut self, part: Part, within: Duration) -> Result<Option<Option<i32>>> {
        let end = Instant::now() + within;
        // Whoever waits here starts it again, or does not.
        self.down.insert(part, end + NEVER);
        loop {
            if let Some(code) = self.process(part)?.ended()? {
                return Ok(Some(code));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.look().await?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Begins a fault; what lasts ends while time passes.
    pub(super) async fn begin(&mut self, fault: &Fault) -> Result<()> {
        let counts = self.counts().await;
        self.timeline.note("fault", format!("{fault}  ({counts})"));
        match fault {
            Fault::Kill { part } => {
                self.kill(*part).await?;
                self.launch(*part)?;
            }
            Fault::Failpoint { at, nth } => self.failpoint(*at, *nth).await?,
            Fault::Terminate { part } => {
                self.terminate(*part, &[0, 70]).await?;
                self.launch(*part)?;
            }
            // It may be gone, and about to be started again; so below.
            Fault::Pause { part, .. } => drop(self.process(*part)?.signal(Signal::STOP)),
            Fault::Cut { link } => self.proxy(*link).iter().for_each(|proxy| proxy.cut()),
            Fault::HalfOpen { link, .. } => self.proxy(*link).iter().for_each(|proxy| proxy.set(Mode::HalfOpen)),
            Fault::Slow { link, .. } => self.proxy(*link).iter().for_each(|proxy| proxy.set(Mode::Slow)),
            Fault::Target { trouble, .. } => self.trouble(Some(*trouble)).await?,
            Fault::Clock { part, seconds } => clock::set(&self.kit.file(&format!("clock-{}", part.name())), *seconds)?,
            Fault::DiskFull { part, .. } => self.fill_disk(*part)?,
            Fault::ReadOnly { part, .. } => self.writable(*part, false)?,
        }
        if let Some(lasts) = fault.lasts() {
            self.active.push((Instant::now() + lasts, fault.clone()));
        }
        Ok(())
    }

    fn end(&mut self, fault: &Fault) -> Result<()> {
        self.timeline.note("fault", format!("over: {fault}"));
        match fault {
            Fault::Pause { part, .. } => self.process(*part)?.signal(Signal::CONT).or(Ok(())),
            Fault::HalfOpen { link, .. } | Fault::Slow { link, .. } => {
                self.proxy(*link).iter().for_each(|proxy| proxy.set(Mode::Pass));
                Ok(())
            }
            Fault::Target { .. } => {
                self.change(None);
                Ok(())
            }
            Fault::DiskFull { part, .. } => self.process(*part)?.limit_files(None).or(Ok(())),
            Fault::ReadOnly { part, .. } => self.writable(*part, true),
            _ => Ok(()),
        }
    }

    /// Changes the target's trouble, while everything else goes on.
    async fn trouble(&mut self, trouble: Option<Trouble>) -> Result<()> {
        self.settled().await?;
        self.change(trouble);
        self.settled().await
    }

    fn change(&mut self, trouble: Option<Trouble>) {
        let output = Arc::clone(&self.output);
        let change = tokio::spawn(async move { output.trouble(trouble).await });
        self.change = Some(AbortOnDropHandle::new(change));
    }

    /// Takes the result of a change that has ended.
    async fn changed(&mut self) -> Result<()> {
        match self.change.take_if(|change| change.is_finished()) {
            Some(change) => change.await?,
            None => Ok(()),
        }
    }

    /// Waits until no change of the target's trouble is under way.
    async fn settled(&mut self) -> Result<()> {
        while self.change.is_some() {
            self.look().await?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// What is in the target; everything else goes on while it is read.
    pub(super) async fn arrived(&mut self) -> Result<Vec<Arrived>> {
        let output = Arc::clone(&self.output);
        let mut reading = AbortOnDropHandle::new(tokio::spawn(async move { output.arrived().await }));
        loop {
            tokio::select! {
                arrived = &mut reading => return arrived?,
                () = tokio::time::sleep(LOOK) => self.look().await?,
            }
        }
    }

    /// Waits until all faults are over and everything runs.
    pub(super) async fn calm(&mut self) -> Result<()> {
        while !self.active.is_empty() || !self.down.is_empty() || self.change.is_some() {
            self.pass(LOOK).await?;
        }
        Ok(())
    }

    /// Kills a part; what a source has saved is then compared with what the mesh has.
    async fn kill(&mut self, part: Part) -> Result<()> {
        let process = self.process(part)?;
        if process.ended()?.is_none() {
            process.kill().await?;
            self.kills += 1;
        }
        if part == Part::Source {
            self.offsets_are_behind().await?;
        }
        Ok(())
    }

    async fn failpoint(&mut self, at: Failpoint, nth: u32) -> Result<()> {
        let part = part_of(at, self.with_inbox);
        self.kill(part).await?;
        let armed = ("OPENCONNECT_FAILPOINT".to_owned(), format!("{}:{nth}", at.name()));
        self.program(part).environment.push(armed);
        self.launch(part)?;
        self.program(part).environment.pop();
        // It may die while the target's trouble is still being made: that is no end by itself.
        self.down.insert(part, Instant::now() + NEVER);
        if at == Failpoint::DeadLetter {
            // Without a refusal there is none.
            self.trouble(Some(Trouble::Poison)).await?;
        }
        let died = self.until_ended(part, FAILPOINT).await?;
        if at == Failpoint::DeadLetter {
            self.trouble(None).await?;
        }
        match died {
            Some(None) => {
                self.kills += 1;
                self.timeline.note(part.name(), format!("died at {}", at.name()));
                if part == Part::Source {
                    self.offsets_are_behind().await?;
                }
            }
            Some(code) => self.ended_by_itself(part, code),
            None => {
                self.timeline.note(part.name(), format!("never came to {}", at.name()));
                self.kill(part).await?;
            }
        }
        self.launch(part)
    }

    /// SIGTERM; the exit code must be one of these.
    pub(super) async fn terminate(&mut self, part: Part, codes: &[i32]) -> Result<()> {
        if self.down.contains_key(&part) {
            return Ok(());
        }
        self.process(part)?.signal(Signal::TERM)?;
        let young = self.process(part)?.started().elapsed() < YOUNG;
        let code = self.until_ended(part, STOP).await?;
        self.timeline.note(part.name(), format!("ended after SIGTERM: {code:?}"));
        match code {
            Some(Some(code)) if codes.contains(&code) => {}
            Some(None) if young => {}
            Some(Some(69)) if self.plan.any(|fault| fault.may_end(part)) => {}
            Some(code) => {
                let log = self.process(part)?.tail();
                let told = format!(
                    "the {} ended after SIGTERM with {code:?}, not one of {codes:?}; its log ends with\n{log}",
                    part.name()
                );
                self.violations.push(told);
            }
            None => {
                self.violations
                    .push(format!("the {} did not end within {STOP:?} of SIGTERM", part.name()));
                self.process(part)?.kill().await?;
            }
        }
        Ok(())
    }

    /// No saved offset may be ahead of what the mesh has.
    async fn offsets_are_behind(&mut self) -> Result<()> {
        if self.input.before(&json!({ "offsets": { "": u64::MAX } })).is_empty() {
            return Ok(());
        }
        let shown = self.source.command(&["offsets", "show", "--output", "json"]).await?;
        let Ok(offsets) = serde_json::from_str(&shown.out) else {
            if shown.code != Some(69) {
                self.violations
                    .push(format!("offsets can't be read after a kill: {}", shown.text()));
            }
            return Ok(());
        };
        let before = self.input.before(&offsets);
        let data = self.mesh.data.to_string_lossy().into_owned();
        let mut tail = self.mesh.program.clone();
        tail.arguments = ["tail", super::TOPIC, "--from", "1", "--data", &data].map(str::to_owned).to_vec();
        let log = tail.finish(Duration::from_secs(30)).await?.out;
        let in_mesh: std::collections::HashSet<&str> = log.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        let ahead: Vec<&String> = before.iter().filter(|id| !in_mesh.contains(id.as_str())).collect();
        let told = format!("offset saved: {} records, {} of them not in the mesh", before.len(), ahead.len());
        self.timeline.note("source", told);
        if let Some(first) = ahead.first() {
            let told = format!(
                "the saved offset is ahead of delivery: {} records before it are not in the mesh, {first} first",
                ahead.len()
            );
            self.violations.push(told);
        }
        Ok(())
    }

    fn proxy(&self, link: Link) -> Option<&Proxy> {
        match link {
            Link::Source => Some(&self.to_source),
            Link::Sink => Some(&self.to_sink),
            Link::Target => self.to_target.as_ref(),
        }
    }

    fn writable(&self, part: Part, writable: bool) -> Result<()> {
        let root = match part {
            Part::Source => &self.source.state,
            Part::Mesh => &self.mesh.data,
            Part::Sink => &self.sink.state,
        };
        let mode = if writable { 0o755 } else { 0o555 };
        for folder in folders(root) {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// How far it has come, for the timeline.
    pub(super) async fn counts(&mut self) -> String {
        let arrived = self.arrived().await.map_or(0, |arrived| arrived.len());
        format!("confirmed {}, delivered {arrived}", self.input.confirmed())
    }
}

/// A folder and those in it.
fn folders(root: &Path) -> Vec<PathBuf> {
    let inner = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let inner = inner.filter(|path| path.is_dir()).flat_map(|path| folders(&path));
    std::iter::once(root.to_owned()).chain(inner).filter(|path| path.is_dir()).collect()
}

fn mesh_settings() -> Value {
    json!({ "delivery": { "redeliver_after": "2s", "save_cursors_every": "100ms" }, "segment_bytes": "256KiB" })
}

/// What every connector of a run has: short waits, so that a run takes seconds.
fn settings(url: &str, over: Value) -> Value {
    let mut settings = json!({
        "mesh": { "url": url, "topic": super::TOPIC, "reconnect_max": "100ms", "heartbeat": "500ms", "request_timeout": "2s" },
        "state": { "flush_interval": "50ms" },
        "delivery": {
            "retry": { "initial": "20ms", "max": "200ms" },
            "shutdown_timeout": "1s",
            "circuit": { "dead_letters": 1_000_000, "window": 1_000_000 },
        },
    });
    merge(&mut settings, over);
    settings
}
