//! `dead-letters list|show|replay`.

use std::fmt::Write;

use cloudevents::AttributesReader;
use openconnect_protocol::json as events;
use serde_json::{Value, json};

use super::args::DeadLettersCommand;
use super::{Cli, Connector};
use crate::codes;
use crate::config::{Section, Settings};
use crate::dead_letter::archive::{Letter, Replayed, Which, list, replay};
use crate::error::{Error, Exit, Result};

pub(crate) fn dead_letters<C: Connector>(cli: &Cli, command: &DeadLettersCommand) -> Result<Exit> {
    let settings = cli.load::<C>()?.settings;
    cli.logs(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::unavailable(codes::NO_RUNTIME, "no runtime can be started").because(e))?;
    runtime.block_on(async {
        match command {
            DeadLettersCommand::List { limit } => print_list(cli, &list(&settings).await?, *limit),
            DeadLettersCommand::Show { which } => print_one(cli, &list(&settings).await?, which)?,
            DeadLettersCommand::Replay { which, all } => {
                let which = if *all { Which::All } else { Which::These(which.clone()) };
                print_replayed(cli, &settings, C::SECTION == Section::Sink, &which).await?;
            }
        }
        Ok(Exit::Clean)
    })
}

fn row(letter: &Letter) -> Value {
    json!({
        "number": letter.number,
        "id": letter.event.id(),
        "source": letter.event.source(),
        "type": letter.event.ty(),
        "time": letter.about("dlqtime"),
        "code": letter.about("dlqcode"),
        "reason": letter.about("dlqreason"),
        "attempts": letter.about("dlqattempts"),
        "input": letter.input(),
        "replayed": letter.replayed,
    })
}

fn print_list(cli: &Cli, letters: &[Letter], limit: usize) {
    let shown = &letters[letters.len().saturating_sub(limit)..];
    let rows: Vec<Value> = shown.iter().map(row).collect();
    cli.output.result(&json!({ "dead_letters": rows, "total": letters.len() }), || {
        let mut text = String::new();
        for letter in shown {
            let mark = if letter.replayed { " (replayed)" } else { "" };
            let _ = writeln!(
                text,
                "{:>5}  {}  {}  {}{mark}\n       {}",
                letter.number,
                letter.about("dlqtime"),
                letter.about("dlqcode"),
                letter.event.id(),
                letter.about("dlqreason"),
            );
        }
        let _ = write!(text, "{} of {} dead letters", shown.len(), letters.len());
        text
    });
}

fn print_one(cli: &Cli, letters: &[Letter], which: &str) -> Result<()> {
    let letter = letters
        .iter()
        .find(|letter| which == letter.number.to_string() || which == letter.event.id())
        .ok_or_else(|| {
            Error::config(codes::NO_SUCH_DEAD_LETTER, format!("no dead letter has the number or id `{which}`"))
                .hint("Look with `dead-letters list`.")
        })?;
    cli.output.line(&String::from_utf8_lossy(&events::encode(&letter.event)));
    Ok(())
}

async fn print_replayed(cli: &Cli, settings: &Settings, sink: bool, which: &Which) -> Result<()> {
    let Replayed { handed_back, published } = replay(settings, sink, which).await?;
    let to = if sink { "sink" } else { "input of the source" };
    let back = format!("{handed_back} handed back to the {to}; it takes them when it runs");
    let out = format!("{published} published to `{}`", settings.mesh.topic);
    cli.output
        .result(&json!({ "replayed": handed_back + published }), || match (handed_back, published) {
            (0, 0) => "nothing to replay".to_owned(),
            (_, 0) => back,
            (0, _) => out,
            _ => format!("{back}\n{out}"),
        });
    Ok(())
}
