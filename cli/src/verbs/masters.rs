//! `proffer masters`: which masters there are, and which of them leads.

use futures::future::join_all;
use proffer_leader::{Finder, Seen, Standing};
use proffer_model::{Problem, code};
use serde_json::{Value, json};

use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::limits::CONNECT_TIMEOUT;
use crate::master_client::MasterClient;
use crate::output::{Column, OutputArgs, Rows};

/// `proffer masters`.
#[derive(Debug, clap::Args)]
pub(crate) struct MastersArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Lists masters: those that are given, or that ZooKeeper knows, and the leader that they name.
pub(crate) async fn run(args: MastersArgs) -> Outcome {
    let masters = args.client.masters()?;
    let finder = args.client.finder(masters)?;
    let seen = finder.survey(CONNECT_TIMEOUT).await;
    if seen.is_empty() {
        let why = finder.trouble().unwrap_or_default();
        return Err(Problem::new(code::PEER_UNREACHABLE, why)
            .hint("is this where the masters stand? see their --store")
            .into());
    }
    let asking = seen
        .into_iter()
        .map(|seen| ask(&args.client, &finder, seen));
    let seen = join_all(asking).await;
    let values: Vec<Value> = seen.iter().map(master_json).collect();
    args.output.output.show(&values, || master_rows(&seen))
}

/// The same with what the master itself says of its version, which only leaders tell without being asked.
async fn ask(client: &ClientArgs, finder: &Finder, mut seen: Seen) -> Seen {
    if let Some(channel) = finder.channel(&seen.address)
        && seen.version.is_empty()
        && let Ok(channel) = client.authorized(channel)
        && let Ok(version) = MasterClient::new(channel).version().await
    {
        seen.version = version;
    }
    seen
}

fn master_rows(masters: &[Seen]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Text("MASTER"),
        Column::Text("STATE"),
        Column::Number("TERM"),
        Column::Text("VERSION"),
        Column::Message("MESSAGE"),
    ]);
    for master in masters {
        let term = term(master).map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let version = match master.version.is_empty() {
            true => "-".to_owned(),
            false => master.version.clone(),
        };
        rows.push([
            master.address.clone(),
            state_word(master).replace('_', " "),
            term,
            version,
            message(master).to_owned(),
        ]);
    }
    rows
}

fn master_json(master: &Seen) -> Value {
    let cluster = match &master.standing {
        Standing::Leading(term) => Some(term.cluster.as_str()),
        Standing::StandingBy | Standing::Unknown(_) | Standing::Unreachable(_) => None,
    };
    json!({
        "address": master.address,
        "state": state_word(master),
        "epoch": term(master),
        "cluster_id": cluster,
        "version": (!master.version.is_empty()).then_some(&master.version),
        "message": message(master),
    })
}

fn state_word(master: &Seen) -> &'static str {
    match &master.standing {
        Standing::Leading(_) => "leading",
        Standing::StandingBy => "standing_by",
        Standing::Unknown(_) => "unknown",
        Standing::Unreachable(_) => "unreachable",
    }
}

fn term(master: &Seen) -> Option<u64> {
    match &master.standing {
        Standing::Leading(term) => Some(term.epoch.0),
        Standing::StandingBy | Standing::Unknown(_) | Standing::Unreachable(_) => None,
    }
}

fn message(master: &Seen) -> &str {
    match &master.standing {
        Standing::Unknown(why) | Standing::Unreachable(why) => why,
        Standing::Leading(_) | Standing::StandingBy => "",
    }
}

#[cfg(test)]
mod tests {
    use proffer_leader::Term;
    use proffer_model::{ClusterId, Epoch};

    use super::*;

    #[test]
    fn every_master_is_shown_with_how_it_stands() {
        let seen = |address: &str, standing, version: &str| Seen {
            address: address.to_owned(),
            standing,
            version: version.to_owned(),
        };
        let leading = Standing::Leading(Term {
            cluster: ClusterId::new("c").unwrap(),
            epoch: Epoch(7),
        });
        let masters = [
            seen("10.0.0.1:5050", Standing::StandingBy, "0.1.0"),
            seen("10.0.0.2:5050", leading, "0.1.0"),
            seen(
                "10.0.0.3:5050",
                Standing::Unreachable("connection refused".into()),
                "",
            ),
        ];
        assert_eq!(
            master_rows(&masters).render(None),
            "MASTER         STATE        TERM  VERSION  MESSAGE\n\
             10.0.0.1:5050  standing by     -  0.1.0\n\
             10.0.0.2:5050  leading         7  0.1.0\n\
             10.0.0.3:5050  unreachable     -  -        connection refused"
        );
        let values: Vec<Value> = masters.iter().map(master_json).collect();
        assert_eq!(values[0]["state"], "standing_by");
        assert_eq!(values[1]["epoch"], 7);
        assert_eq!(values[1]["cluster_id"], "c");
        assert_eq!(values[2]["version"], Value::Null);
        assert_eq!(values[2]["message"], "connection refused");
    }
}
