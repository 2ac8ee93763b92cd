//! `proffer roles`, `role show`, `quota show|set|rm`, `weight set|rm`: who may hold how much, and in which order they get it.
//!
//! The master judges and keeps all of it; after a change the role is shown as it stands then.

use std::collections::BTreeMap;

use clap::Subcommand;
use proffer_model::resources::{format_milli, parse_milli};
use proffer_model::{Limits, Problem, Quantities, Quota, Role, code};
use proffer_proto::{encode_quota, v1};
use serde_json::{Value, json};

use crate::change::Change;
use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::Outcome;
use crate::master_client::MasterClient;
use crate::output::{Column, Format, OutputArgs, Rows, terminal_width};
use crate::quantities::{
    format_quantities, format_share, parse_limits, parse_quantities, quantities_json, share_percent,
};
use crate::units::number_of_milli;

/// `proffer roles`.
#[derive(Debug, clap::Args)]
pub(crate) struct RolesArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// One role.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleVerb {
    /// Show one role and those beneath it.
    Show(RoleArgs),
}

/// What roles are guaranteed and limited to.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaVerb {
    /// List the quotas: all, or those that bound one role, its own, those above and those beneath.
    Show(ShowArgs),
    /// Set the quota of a role: of guarantee and limit, what is not named stays as it is.
    Set(SetArgs),
    /// Take the quota of a role away: nothing guaranteed, no limit.
    Rm(RoleArgs),
}

/// How much of the cluster roles get beside one another.
#[derive(Debug, Subcommand)]
pub(crate) enum WeightVerb {
    /// Set the weight of a role against the others beneath the same role.
    Set(WeightArgs),
    /// Take the weight of a role back to 1.
    Rm(RoleArgs),
}

/// Which role.
#[derive(Debug, clap::Args)]
pub(crate) struct RoleArgs {
    /// The role, such as eng or eng/web.
    role: Role,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which quotas.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The role, such as eng or eng/web [default: all]
    role: Option<Role>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which quota.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("quota").required(true).multiple(true))]
pub(crate) struct SetArgs {
    /// What is held back for the role and those beneath it while they have less, such as cpus:10,mem:8192; none: nothing
    /// any more.
    #[arg(long, value_name = "AMOUNTS", group = "quota", value_parser = parse_guarantee)]
    guarantee: Option<Quantities>,
    /// The most that they may hold together, such as cpus:20; what is not named is not bounded; none: nothing is.
    #[arg(long, value_name = "AMOUNTS", group = "quota", value_parser = parse_limit)]
    limit: Option<Limits>,
    /// Set it although more is guaranteed than the cluster has, the role holds more than the limit already, or some agents
    /// have what it names as ranges or a set.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    of: RoleArgs,
}

/// Which weight.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightArgs {
    /// The role, such as eng or eng/web.
    role: Role,
    /// The weight, such as 2.5; of two roles that want all they can get, one of weight 2 gets twice as much as one of
    /// weight 1.
    #[arg(value_parser = parse_weight, allow_negative_numbers = true)]
    weight: u32,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl RoleVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Show(args) => args.output.output,
        }
    }
}

impl QuotaVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Show(args) => args.output.output,
            Self::Set(args) => args.of.output.output,
            Self::Rm(args) => args.output.output,
        }
    }
}

impl WeightVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Set(args) => args.output.output,
            Self::Rm(args) => args.output.output,
        }
    }
}

/// Lists the tree of roles.
pub(crate) async fn roles(args: RolesArgs) -> Outcome {
    let tree = Tree::ask(&mut MasterClient::connect(&args.client).await?).await?;
    tree.show(args.output)
}

/// Shows one role.
pub(crate) async fn role(verb: RoleVerb) -> Outcome {
    let RoleVerb::Show(args) = verb;
    let tree = Tree::ask(&mut MasterClient::connect(&args.client).await?).await?;
    let beneath = tree.only(|role| holds(args.role.as_str(), role));
    let Some(role) = beneath.roles.iter().find(|r| r.role == args.role.as_str()) else {
        let message = format!(
            "no framework, weight, quota or reservation names role {}",
            args.role
        );
        return Err(Problem::new(code::ROLE_UNKNOWN, message)
            .field("role")
            .hint("`proffer roles` lists those that are known")
            .into());
    };
    let text = || beneath.describe(role, terminal_width());
    let value = beneath.role_json(role);
    args.output.output.show_text(&value, text)
}

/// Shows or changes quotas.
pub(crate) async fn quota(verb: QuotaVerb) -> Outcome {
    let (args, change) = match verb {
        QuotaVerb::Show(args) => return show_quotas(args).await,
        QuotaVerb::Set(args) => {
            let quota = encode_sides(args.guarantee, args.limit);
            let change = Change::SetQuota(v1::SetQuotaRequest {
                role: args.of.role.to_string(),
                quota: Some(quota),
                force: args.force,
            });
            (args.of, change)
        }
        QuotaVerb::Rm(args) => {
            let role = args.role.to_string();
            (args, Change::RemoveQuota(v1::RemoveQuotaRequest { role }))
        }
    };
    make(change, &args).await
}

/// The sides that are named; one that is not is not there.
fn encode_sides(guarantee: Option<Quantities>, limit: Option<Limits>) -> v1::Quota {
    let (guarantees, limits) = (guarantee.is_some(), limit.is_some());
    let both = encode_quota(&Quota {
        guarantees: guarantee.unwrap_or_default(),
        limits: limit.unwrap_or_default(),
    });
    v1::Quota {
        guarantees: guarantees.then(|| both.guarantees.unwrap_or_default()),
        limits: limits.then(|| both.limits.unwrap_or_default()),
    }
}

/// Amounts, or `none`.
fn parse_guarantee(text: &str) -> Result<Quantities, Problem> {
    match text {
        "none" => Ok(Quantities::default()),
        text => parse_quantities(text),
    }
}

/// Bounds, or `none`.
fn parse_limit(text: &str) -> Result<Limits, Problem> {
    match text {
        "none" => Ok(Limits::default()),
        text => parse_limits(text),
    }
}

/// Changes weights.
pub(crate) async fn weight(verb: WeightVerb) -> Outcome {
    let (args, change) = match verb {
        WeightVerb::Set(args) => {
            let change = Change::SetWeight(v1::SetWeightRequest {
                role: args.role.to_string(),
                weight_milli: args.weight,
            });
            let WeightArgs {
                role,
                output,
                client,
                ..
            } = args;
            let args = RoleArgs {
                role,
                output,
                client,
            };
            (args, change)
        }
        WeightVerb::Rm(args) => {
            let role = args.role.to_string();
            (args, Change::RemoveWeight(v1::RemoveWeightRequest { role }))
        }
    };
    make(change, &args).await
}

async fn show_quotas(args: ShowArgs) -> Outcome {
    let tree = Tree::ask(&mut MasterClient::connect(&args.client).await?).await?;
    let bounds = |role: &str| match &args.role {
        Some(asked) => holds(role, asked.as_str()) || holds(asked.as_str(), role),
        None => true,
    };
    let mut tree = tree.only(bounds);
    tree.roles.retain(|role| role.quota.is_some());
    tree.when_empty = match args.role {
        Some(_) => "no quota bounds this role",
        None => "there are no quotas; `proffer quota set` sets one",
    };
    tree.show(args.output)
}

/// Has the change made, and shows the role as it is then.
async fn make(change: Change, args: &RoleArgs) -> Outcome {
    let mut master = change.make(&args.client).await?;
    let tree = Tree::ask(&mut master).await?;
    let mut tree = tree.only(|role| role == args.role.as_str());
    if tree.roles.is_empty() {
        // Nothing is left of a role of which nothing is known.
        tree.roles.push(v1::Role {
            role: args.role.to_string(),
            weight_milli: 1_000,
            ..v1::Role::default()
        });
    }
    tree.show(args.output)
}

/// Whether a role is another or above it.
fn holds(role: &str, other: &str) -> bool {
    let rest = other.strip_prefix(role);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn parse_weight(text: &str) -> Result<u32, Problem> {
    let milli = parse_milli(text).ok();
    match milli.and_then(|milli| u32::try_from(milli).ok()) {
        Some(weight) if weight > 0 => Ok(weight),
        _ => {
            let most = format_milli(u64::from(u32::MAX));
            let message =
                format!("a weight is a number from 0.001 to {most}, of at most three decimals");
            Err(Problem::new(code::FIELD_INVALID, message).hint("1 is the common one"))
        }
    }
}

/// Roles as a tree, in its order, and the names of their frameworks.
struct Tree {
    roles: Vec<v1::Role>,
    names: BTreeMap<String, String>,
    /// What is said when there are none.
    when_empty: &'static str,
}

impl Tree {
    async fn ask(master: &mut MasterClient) -> Result<Self, Problem> {
        let roles = master.roles().await?;
        let frameworks = master.frameworks().await?;
        Ok(Self::new(roles, frameworks))
    }

    fn new(mut roles: Vec<v1::Role>, frameworks: Vec<v1::Framework>) -> Self {
        roles.sort_by(|a, b| a.role.split('/').cmp(b.role.split('/')));
        let names = frameworks.into_iter();
        let names = names.map(|framework| (framework.id, framework.name));
        let names = names.collect();
        Self {
            roles,
            names,
            when_empty: "there are no roles; one with a framework, a weight, a quota or a reservation is listed",
        }
    }

    fn only(mut self, is_it: impl Fn(&str) -> bool) -> Self {
        self.roles.retain(|role| is_it(&role.role));
        self
    }

    fn show(&self, output: OutputArgs) -> Outcome {
        let values: Vec<Value> = self.roles.iter().map(|role| self.role_json(role)).collect();
        output.output.show(&values, || self.rows())
    }

    /// Each role beneath the one that it belongs to, as far as that is among them.
    fn rows(&self) -> Rows {
        let mut rows = Rows::new(&[
            Column::Text("ROLE"),
            Column::Number("WEIGHT"),
            Column::Number("SHARE"),
            Column::Text("GUARANTEE"),
            Column::Text("LIMIT"),
            Column::Text("CONSUMED"),
            Column::Text("RESERVED"),
            Column::Message("FRAMEWORKS"),
        ])
        .when_empty(self.when_empty);
        for role in &self.roles {
            let above = self.roles.iter();
            let above = above.filter(|above| holds(&above.role, &role.role));
            let depth = above.count().saturating_sub(1);
            let quota = role.quota.as_ref();
            rows.push([
                format!("{}{}", "  ".repeat(depth), role.role),
                format_milli(role.weight_milli.into()),
                format_share(role.share_billionths),
                or_dash(quota.and_then(|quota| quota.guarantees.as_ref())),
                or_dash(quota.and_then(|quota| quota.limits.as_ref())),
                or_dash(role.consumed.as_ref()),
                or_dash(role.reserved.as_ref()),
                self.frameworks_of(role, ","),
            ]);
        }
        rows
    }

    fn describe(&self, role: &v1::Role, width: Option<usize>) -> String {
        let quota = role.quota.as_ref();
        let lines = [
            ("role", role.role.clone()),
            ("weight", format_milli(role.weight_milli.into())),
            (
                "share",
                format!("{} of the cluster", format_share(role.share_billionths)),
            ),
            (
                "guarantee",
                or_dash(quota.and_then(|quota| quota.guarantees.as_ref())),
            ),
            (
                "limit",
                or_dash(quota.and_then(|quota| quota.limits.as_ref())),
            ),
            ("consumed", or_dash(role.consumed.as_ref())),
            ("held", or_dash(role.held.as_ref())),
            ("reserved", or_dash(role.reserved.as_ref())),
            ("frameworks", self.frameworks_of(role, ", ")),
        ];
        let lines = lines.iter().filter(|(_, value)| !value.is_empty());
        let lines = lines.map(|(name, value)| format!("{name:<10} {}\n", escape::line(value)));
        let text: String = lines.collect();
        match self.roles.len() {
            0 | 1 => text.trim_end().to_owned(),
            _ => text + "\n" + &self.rows().render(width),
        }
    }

    /// Names, which people know; with the id where no name is known.
    fn frameworks_of(&self, role: &v1::Role, separator: &str) -> String {
        let ids = role.framework_ids.iter();
        let names = ids.map(|id| self.names.get(id).unwrap_or(id).as_str());
        names.collect::<Vec<_>>().join(separator)
    }

    fn role_json(&self, role: &v1::Role) -> Value {
        let quota = role.quota.as_ref().map(|quota| {
            json!({
                "guarantee": quantities_json(quota.guarantees.as_ref()),
                "limit": quantities_json(quota.limits.as_ref()),
            })
        });
        let frameworks = role.framework_ids.iter();
        let frameworks = frameworks.map(|id| json!({ "id": id, "name": self.names.get(id) }));
        json!({
            "role": role.role,
            "weight": number_of_milli(role.weight_milli.into()),
            "share_percent": share_percent(role.share_billionths),
            "quota": quota,
            "consumed": quantities_json(role.consumed.as_ref()),
            "held": quantities_json(role.held.as_ref()),
            "reserved": quantities_json(role.reserved.as_ref()),
            "frameworks": frameworks.collect::<Value>(),
        })
    }
}

fn or_dash(quantities: Option<&v1::Quantities>) -> String {
    match format_quantities(quantities) {
        text if text.is_empty() => "-".to_owned(),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::Cli;

    fn amounts(pairs: &[(&str, u64)]) -> Option<v1::Quantities> {
        let scalars = pairs.iter().map(|(name, milli)| v1::Scalar {
            name: (*name).to_owned(),
            milli: *milli,
        });
        let scalars = scalars.collect();
        Some(v1::Quantities { scalars })
    }

    fn tree() -> Tree {
        let role = |name: &str| v1::Role {
            role: name.to_owned(),
            weight_milli: 1_000,
            ..v1::Role::default()
        };
        let web = v1::Role {
            weight_milli: 2_500,
            share_billionths: 125_000_000,
            quota: Some(v1::Quota {
                guarantees: amounts(&[("cpus", 10_000), ("mem", 8_192_000)]),
                limits: amounts(&[("gpus", 0)]),
            }),
            consumed: amounts(&[("cpus", 500)]),
            framework_ids: vec!["f1".to_owned(), "f2".to_owned()],
            ..role("eng/web")
        };
        let services = v1::Framework {
            id: "f1".to_owned(),
            name: "services".to_owned(),
            ..v1::Framework::default()
        };
        let roles = vec![role("eng"), role("eng-x"), web, role("a/b")];
        Tree::new(roles, vec![services])
    }

    #[test]
    fn roles_stand_beneath_those_that_they_belong_to() {
        let expected = "\
ROLE       WEIGHT  SHARE  GUARANTEE          LIMIT   CONSUMED  RESERVED  FRAMEWORKS
a/b             1     0%  -                  -       -         -
eng             1     0%  -                  -       -         -
  eng/web     2.5  12.5%  cpus:10;mem:8192   gpus:0  cpus:0.5  -         services,f2
eng-x           1     0%  -                  -       -         -";
        let text = tree().rows().render(None);
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeezed(&text), squeezed(expected), "{text}");
        assert!(text.contains("\n  eng/web "), "{text}");
    }

    #[test]
    fn one_role_is_shown_with_those_beneath_it() {
        let tree = tree().only(|role| holds("eng", role));
        let text = tree.describe(&tree.roles[1], None);
        assert!(text.contains("guarantee  cpus:10;mem:8192\n"), "{text}");
        assert!(text.contains("share      12.5% of the cluster\n"), "{text}");
        assert!(
            text.contains("\nROLE ") && !text.contains("eng-x"),
            "{text}"
        );
        let value = tree.role_json(&tree.roles[1]);
        assert_eq!(value["quota"]["guarantee"]["mem_mib"].to_string(), "8192");
        assert_eq!(value["quota"]["limit"]["gpus"].to_string(), "0");
        assert_eq!(value["share_percent"].to_string(), "12.5");
        assert_eq!(value["weight"].to_string(), "2.5");
        assert_eq!(value["frameworks"][0]["name"], "services");
        assert_eq!(tree.role_json(&tree.roles[0])["quota"], Value::Null);
    }

    #[test]
    fn a_wrong_weight_is_told_of_weights() {
        for wrong in ["-1", "0", "4294967.296", "9999999999999", "0.0001", "much"] {
            let problem = parse_weight(wrong).unwrap_err();
            assert!(problem.message.contains("4294967.295"), "{problem}");
            assert_eq!(problem.hint, "1 is the common one");
        }
        assert_eq!(parse_weight("4294967.295").unwrap(), u32::MAX);
    }

    #[test]
    fn wrong_quotas_and_weights_are_refused_before_anything_is_asked() {
        for line in [
            "proffer quota set eng --limit cpus:1",
            "proffer quota set eng/web --guarantee cpus:1,mem:2 --limit cpus:0 --force",
            "proffer quota set eng --guarantee none --limit none",
            "proffer weight set eng 0.5",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "proffer quota set eng",
            "proffer quota set eng/ --limit cpus:1",
            "proffer quota set eng --limit cpus",
            "proffer quota set eng --limit cpus:1,cpus:2",
            "proffer weight set eng 0",
            "proffer weight set eng -1",
            "proffer weight set eng 4294968",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
