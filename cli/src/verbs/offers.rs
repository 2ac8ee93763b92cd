//! `proffer offers` and `proffer executors`: what frameworks have been offered and not answered, and what of their own lives on
//! agents.

use proffer_proto::v1;
use serde_json::{Value, json};

use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::master_client::MasterClient;
use crate::output::{Column, OutputArgs, Rows};
use crate::units::{format_age, resources_json, resources_text, wall_ms};
use crate::verbs::operate::{agent_id, framework_id, if_possible};
use crate::verbs::watch::{self, WatchArgs};

/// `proffer offers`.
#[derive(Debug, clap::Args)]
pub(crate) struct OffersArgs {
    /// Only those to this framework, by id or name.
    #[arg(long)]
    framework: Option<String>,
    /// Only those of this agent, by id or host.
    #[arg(long)]
    agent: Option<String>,
    /// Only those in this role or one beneath it.
    #[arg(long, conflicts_with = "watch")]
    role: Option<String>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer executors`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecutorsArgs {
    /// Only those of this framework, by id or name.
    #[arg(long)]
    framework: Option<String>,
    /// Only those on this agent, by id or host.
    #[arg(long)]
    agent: Option<String>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Lists offers, those that run out first at the top.
pub(crate) async fn offers(args: OffersArgs) -> Outcome {
    let mut master = MasterClient::connect(&args.client).await?;
    let framework_id = framework_id(&mut master, args.framework.as_deref()).await;
    let agent_id = agent_id(&mut master, args.agent.as_deref()).await?;
    if args.watch.is_on() {
        let asked = args
            .watch
            .request(v1::WatchKind::Offers, framework_id?, agent_id);
        return watch::run(&args.client, asked, args.output.output, watch::Ended::Told).await;
    }
    let filters = [&args.framework, &args.agent, &args.role];
    let is_filtered = filters.iter().any(|filter| filter.is_some());
    let mut offers = Vec::new();
    if let Some(framework_id) = if_possible(framework_id)? {
        let asked = v1::ListOffersRequest {
            framework_id,
            agent_id,
            role: args.role.unwrap_or_default(),
            ..v1::ListOffersRequest::default()
        };
        offers = master.offers_like(asked).await?;
    }
    offers.sort_by(|a, b| (a.expires_wall_ms, &a.id).cmp(&(b.expires_wall_ms, &b.id)));
    let values: Vec<Value> = offers.iter().map(offer_json).collect();
    let rows = || offer_rows(&offers).when_none_matches(is_filtered, "no offer matches");
    args.output.output.show(&values, rows)
}

fn offer_rows(offers: &[v1::StandingOffer]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Id("OFFER"),
        Column::Id("FRAMEWORK"),
        Column::Text("ROLE"),
        Column::Id("AGENT"),
        Column::Text("FOR"),
        Column::Text("SINCE"),
        Column::Text("LEFT"),
        Column::Message("RESOURCES"),
    ])
    .when_empty("no offers stand");
    let now = wall_ms();
    for offer in offers {
        let fits = offer.fits.iter();
        let fits: Vec<String> = fits
            .map(|fit| format!("{}*{}", fit.demand_id, fit.count))
            .collect();
        rows.push([
            offer.id.clone(),
            offer.framework_id.clone(),
            offer.role.clone(),
            offer.agent_id.clone(),
            fits.join(","),
            format_age(now, offer.made_wall_ms),
            format_age(offer.expires_wall_ms.max(now), now),
            resources_text(offer.resources.as_ref()),
        ]);
    }
    rows
}

/// An offer for programs.
pub(crate) fn offer_json(offer: &v1::StandingOffer) -> Value {
    json!({
        "id": offer.id,
        "framework_id": offer.framework_id,
        "role": offer.role,
        "agent_id": offer.agent_id,
        "resources": resources_json(offer.resources.as_ref()),
        "fits": offer.fits.iter()
            .map(|fit| json!({ "demand_id": fit.demand_id, "count": fit.count }))
            .collect::<Value>(),
        "made_wall_ms": offer.made_wall_ms,
        "expires_wall_ms": offer.expires_wall_ms,
    })
}

/// Lists executors.
pub(crate) async fn executors(args: ExecutorsArgs) -> Outcome {
    let mut master = MasterClient::connect(&args.client).await?;
    let framework_id = framework_id(&mut master, args.framework.as_deref()).await;
    let agent_id = agent_id(&mut master, args.agent.as_deref()).await?;
    if args.watch.is_on() {
        let kind = v1::WatchKind::Executors;
        let asked = args.watch.request(kind, framework_id?, agent_id);
        return watch::run(&args.client, asked, args.output.output, watch::Ended::Told).await;
    }
    let is_filtered = args.framework.is_some() || args.agent.is_some();
    let mut executors = Vec::new();
    if let Some(framework_id) = if_possible(framework_id)? {
        let asked = v1::ListExecutorsRequest {
            framework_id,
            agent_id,
            ..v1::ListExecutorsRequest::default()
        };
        executors = master.executors_like(asked).await?;
    }
    let values: Vec<Value> = executors.iter().map(executor_json).collect();
    let rows = || executor_rows(&executors).when_none_matches(is_filtered, "no executor matches");
    args.output.output.show(&values, rows)
}

fn executor_rows(executors: &[v1::LiveExecutor]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Text("EXECUTOR"),
        Column::Id("FRAMEWORK"),
        Column::Text("ROLE"),
        Column::Id("AGENT"),
        Column::Text("STATE"),
        Column::Message("RESOURCES"),
    ])
    .when_empty("there are no executors of frameworks' own");
    for executor in executors {
        rows.push([
            executor.id.clone(),
            executor.framework_id.clone(),
            executor.role.clone(),
            executor.agent_id.clone(),
            executor_state(executor).to_owned(),
            resources_text(executor.resources.as_ref()),
        ]);
    }
    rows
}

/// How it stands.
pub(crate) fn executor_state(executor: &v1::LiveExecutor) -> &'static str {
    match executor.ending {
        true => "ending",
        false => "live",
    }
}

/// An executor for programs.
pub(crate) fn executor_json(executor: &v1::LiveExecutor) -> Value {
    json!({
        "id": executor.id,
        "framework_id": executor.framework_id,
        "agent_id": executor.agent_id,
        "role": executor.role,
        "state": executor_state(executor),
        "resources": resources_json(executor.resources.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_say_what_to_whom_and_for_how_long() {
        let now = wall_ms();
        let offer = v1::StandingOffer {
            id: "o".to_owned(),
            framework_id: "f".to_owned(),
            role: "eng".to_owned(),
            agent_id: "a".to_owned(),
            resources: Some(v1::Resources {
                scalars: vec![v1::Scalar {
                    name: "cpus".to_owned(),
                    milli: 1_500,
                }],
                ..v1::Resources::default()
            }),
            fits: vec![v1::Fit {
                demand_id: "web".to_owned(),
                count: 3,
            }],
            made_wall_ms: now - 2_500,
            expires_wall_ms: now + 60_000,
        };
        let text = offer_rows(std::slice::from_ref(&offer)).render(None);
        let row = text.lines().nth(1).unwrap();
        for part in ["o  ", "f  ", "eng", "web*3", "2s", "cpus:1.5"] {
            assert!(row.contains(part), "{text}");
        }
        assert_eq!(offer_json(&offer)["fits"][0]["count"], 3);
    }
}
