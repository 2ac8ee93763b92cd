//! `proffer why APP`: why an app does not have all its instances, in the services' and the master's own words.
//!
//! Decides nothing: the reasons are made where the decisions are. Here they become sentences.

use serde::Deserialize;
use serde_json::Value;

use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::Outcome;
use crate::output::OutputArgs;
use crate::services_client::ServicesClient;
use crate::units;

/// `proffer why`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// The app, such as /web or web.
    app: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// What the services answer; what is not there counts as nothing to say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Explanation {
    app: String,
    wanted: u64,
    running: u64,
    healthy: u64,
    reasons: Vec<Reason>,
    /// What the master says of the agents, for instances that wait for an offer.
    agents: Vec<Obstacle>,
}

/// Why some instances are missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
    message: String,
    instances: u64,
}

/// Why some agents do not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Obstacle {
    message: String,
}

/// Explains.
pub(crate) async fn run(args: WhyArgs) -> Outcome {
    let answer = ServicesClient::new(&args.client)?.why(&args.app).await?;
    args.output.output.show_text(&answer, || in_words(&answer))
}

/// The reason that matters most, for the progress line of a command that waits.
pub(crate) fn in_one_line(answer: &Value) -> Option<String> {
    let explanation = read(answer);
    let first = explanation.reasons.into_iter().next()?.message;
    match explanation.agents.into_iter().next() {
        Some(obstacle) => Some(format!("{first}: {}", obstacle.message)),
        None => Some(first),
    }
}

fn read(answer: &Value) -> Explanation {
    Explanation::deserialize(answer).unwrap_or_default()
}

fn in_words(answer: &Value) -> String {
    let explanation = read(answer);
    let Explanation {
        app,
        wanted,
        running,
        healthy,
        ..
    } = &explanation;
    let mut lines = vec![format!(
        "{app}: {wanted} wanted, {running} running, {healthy} healthy"
    )];
    if explanation.reasons.is_empty() {
        lines.push("nothing is missing".to_owned());
    }
    for reason in &explanation.reasons {
        lines.push(format!(
            "- {}: {}",
            units::count_of(reason.instances, "instance"),
            reason.message
        ));
        if reason.reason == "offers" {
            lines.extend(
                explanation
                    .agents
                    .iter()
                    .map(|obstacle| format!("  - {}", obstacle.message)),
            );
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| escape::line(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reasons_become_sentences() {
        let answer = json!({
            "app": "/huge", "wanted": 2, "running": 0, "healthy": 0,
            "reasons": [{"reason": "offers", "message": "no offer yet", "instances": 2}],
            "agents": [{"reason": "insufficient_cpus", "message": "1 agent has less than 64 cpus free", "agents": 1}],
        });
        let expected = "\
/huge: 2 wanted, 0 running, 0 healthy
- 2 instances: no offer yet
  - 1 agent has less than 64 cpus free";
        assert_eq!(in_words(&answer), expected);
        assert_eq!(
            in_one_line(&answer).as_deref(),
            Some("no offer yet: 1 agent has less than 64 cpus free")
        );
    }

    #[test]
    fn nothing_missing_and_nonsense_are_no_trouble() {
        let fine = json!({"app": "/a", "wanted": 1, "running": 1, "healthy": 1, "reasons": []});
        assert!(in_words(&fine).ends_with("nothing is missing"));
        for odd in [json!(null), json!([1]), json!({"reasons": "x"})] {
            assert_eq!(in_one_line(&odd), None);
        }
    }
}
