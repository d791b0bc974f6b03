//! What the demo sends: GitHub's webhook payloads from npm, or the CloudEvents of `examples/` when there is no npm.

use std::path::Path;
use std::process::{Command, Stdio};

use openconnect_protocol::{json, payload};
use openconnect_testkit::Result;
use openconnect_testkit::oracle::{Sent, hash};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::examples;

const PACKAGE: &str = "@octokit/webhooks-examples@7.6.1";

/// One request to the source.
pub(crate) struct Delivery {
    pub(crate) sent: Sent,
    /// GitHub's name of the event; none for a CloudEvent.
    pub(crate) event: Option<String>,
    pub(crate) body: String,
}

/// Deliveries by key: those of one key are sent one after the other.
pub(crate) struct Input {
    pub(crate) what: String,
    pub(crate) keys: Vec<Vec<Delivery>>,
}

/// Something that can be sent many times under other ids.
struct Template {
    key: Option<String>,
    event: Option<String>,
    body: String,
}

impl Input {
    /// So many deliveries, from npm's examples when they can be had.
    pub(crate) fn load(folder: &Path, count: usize) -> Result<Self> {
        let (what, templates) = match github(folder) {
            Ok(templates) => (format!("{} webhook payloads of npm's {PACKAGE}", templates.len()), templates),
            Err(reason) => {
                println!("no GitHub payloads ({reason}): sending the CloudEvents of examples/cloudevents.jsonl instead");
                let templates = cloudevents()?;
                (format!("{} CloudEvents of examples/cloudevents.jsonl", templates.len()), templates)
            }
        };
        let mut keys: Vec<(String, Vec<Delivery>)> = Vec::new();
        for (at, template) in templates.iter().cycle().take(count).enumerate() {
            let id = format!("delivery-{at:06}");
            // What has no key may overtake everything else: a key of its own for the oracle.
            let key = template.key.clone().unwrap_or_else(|| id.clone());
            let lane = template.key.clone().unwrap_or_else(|| "no key".to_owned());
            let place = keys.iter().position(|(name, _)| *name == lane).unwrap_or_else(|| {
                keys.push((lane, Vec::new()));
                keys.len() - 1
            });
            let deliveries = &mut keys[place].1;
            let (body, data) = template.filled(&id)?;
            let sent = Sent {
                id,
                number: if template.key.is_some() { deliveries.len() as u64 + 1 } else { 1 },
                key,
                hash: hash(&data),
            };
            deliveries.push(Delivery {
                sent,
                event: template.event.clone(),
                body,
            });
        }
        Ok(Self {
            what,
            keys: keys.into_iter().map(|(_, deliveries)| deliveries).collect(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.iter().map(Vec::len).sum()
    }
}

impl Template {
    /// The body under this id, and the data that must arrive.
    fn filled(&self, id: &str) -> Result<(String, Vec<u8>)> {
        if self.event.is_some() {
            return Ok((self.body.clone(), self.body.clone().into_bytes()));
        }
        let mut event = json::decode(self.body.as_bytes())?;
        cloudevents::AttributesWriter::set_id(&mut event, id);
        let data = payload::bytes(&event).unwrap_or_default().into_owned();
        Ok((String::from_utf8(json::encode(&event))?, data))
    }
}

#[derive(Deserialize)]
struct Group {
    name: String,
    examples: Vec<Box<RawValue>>,
}

#[derive(Deserialize, Default)]
struct Named {
    #[serde(default)]
    full_name: Option<String>,
    #[serde(default)]
    login: Option<String>,
}

#[derive(Deserialize)]
struct Keyed {
    #[serde(default)]
    repository: Option<Named>,
    #[serde(default)]
    organization: Option<Named>,
}

fn github(folder: &Path) -> Result<Vec<Template>> {
    let npm = Command::new("npm")
        .args([
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--fetch-retries=0",
            "--fetch-timeout=20000",
            "--prefix",
        ])
        .arg(folder)
        .arg(PACKAGE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|e| format!("npm: {e}"))?;
    if !npm.success() {
        return Err("npm could not fetch them".into());
    }
    let file = folder.join("node_modules/@octokit/webhooks-examples/api.github.com/index.json");
    let groups: Vec<Group> = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let mut templates = Vec::new();
    for group in groups {
        for example in group.examples {
            let keyed: Keyed = serde_json::from_str(example.get())?;
            let repository = keyed.repository.and_then(|repository| repository.full_name);
            templates.push(Template {
                key: repository.or(keyed.organization.and_then(|organization| organization.login)),
                event: Some(group.name.clone()),
                body: example.get().to_owned(),
            });
        }
    }
    Ok(templates)
}

fn cloudevents() -> Result<Vec<Template>> {
    let text = std::fs::read_to_string(examples().join("cloudevents.jsonl"))?;
    text.lines()
        .map(|line| {
            let event = json::decode(line.as_bytes())?;
            Ok(Template {
                key: event.extension("partitionkey").map(ToString::to_string),
                event: None,
                body: line.to_owned(),
            })
        })
        .collect()
}
