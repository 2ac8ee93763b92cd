//! `proffer masters`: which masters there are, and which of them leads.

use futures::future::join_all;
use proffer_leader::{Finder, Seen, Standing};
use proffer_model::{Problem, code};
use proffer_server::client::HttpClient;
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
            .hint("see that ZooKeeper or the masters run, and that this is where they stand: their --store")
            .into());
    }
    let asking = seen
        .into_iter()
        .map(|seen| ask(&args.client, &finder, seen));
    let seen = join_all(asking).await;
    let values: Vec<Value> = seen.iter().map(master_json).collect();
    args.output.output.show(&values, || master_rows(&seen))
}

/// A master, and what is wrong with it.
struct Told {
    seen: Seen,
    message: String,
}

/// The same with what the master itself says: of its version, which only leaders tell without being asked, and of what
/// keeps it from leading.
async fn ask(client: &ClientArgs, finder: &Finder, mut seen: Seen) -> Told {
    if let Some(channel) = finder.channel(&seen.address)
        && seen.version.is_empty()
        && let Ok(channel) = client.authorized(channel)
        && let Ok(version) = MasterClient::new(channel).version().await
    {
        seen.version = version;
    }
    let message = match &seen.standing {
        Standing::Unknown(why) | Standing::Unreachable(why) => why.clone(),
        Standing::Leading(_) => String::new(),
        Standing::StandingBy => trouble(client, &seen.address).await.unwrap_or_default(),
    };
    Told { seen, message }
}

/// What the health page of a master that stands by says is wrong with the election or its store.
async fn trouble(client: &ClientArgs, address: &str) -> Option<String> {
    let http = HttpClient::new()
        .request_timeout(CONNECT_TIMEOUT)
        .insecure_allow_plaintext(client.insecure_allow_plaintext);
    let answer = http.get(&format!("http://{address}/health")).await.ok()?;
    let health: Value = serde_json::from_slice(&answer.body).ok()?;
    let message = health.pointer("/troubles/0/message")?.as_str()?;
    Some(message.to_owned())
}

fn master_rows(masters: &[Told]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Text("MASTER"),
        Column::Text("STATE"),
        Column::Number("TERM"),
        Column::Text("VERSION"),
        Column::Message("MESSAGE"),
    ]);
    for Told {
        seen: master,
        message,
    } in masters
    {
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
            message.clone(),
        ]);
    }
    rows
}

fn master_json(told: &Told) -> Value {
    let master = &told.seen;
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
        "message": told.message,
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

#[cfg(test)]
mod tests {
    use proffer_leader::Term;
    use proffer_model::{ClusterId, Epoch};

    use super::*;

    #[test]
    fn every_master_is_shown_with_how_it_stands() {
        let seen = |address: &str, standing, version: &str, message: &str| Told {
            seen: Seen {
                address: address.to_owned(),
                standing,
                version: version.to_owned(),
            },
            message: message.to_owned(),
        };
        let leading = Standing::Leading(Term {
            cluster: ClusterId::new("c").unwrap(),
            epoch: Epoch(7),
        });
        let masters = [
            seen("10.0.0.1:5050", Standing::StandingBy, "0.1.0", "denied"),
            seen("10.0.0.2:5050", leading, "0.1.0", ""),
            seen(
                "10.0.0.3:5050",
                Standing::Unreachable("connection refused".into()),
                "",
                "connection refused",
            ),
        ];
        assert_eq!(
            master_rows(&masters).render(None),
            "MASTER         STATE        TERM  VERSION  MESSAGE\n\
             10.0.0.1:5050  standing by     -  0.1.0    denied\n\
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
