//! `proffer reserve`, `unreserve`, `volume create|grow|shrink|rm`: what operators do to what is free on an agent.
//!
//! People say how much of what; here it is found in what the agent has, because the master wants it exactly
//! ([`crate::inventory`]). Whether it may be is the master's to say.

use std::collections::BTreeMap;

use clap::Subcommand;
use proffer_model::resources::parse_milli;
use proffer_model::{DiskSource, Problem, Resources, Role, VolumeId, code};
use proffer_proto::{encode_resources, v1};

use crate::change::Change;
use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::inventory::Inventory;
use crate::output::{Format, OutputArgs};
use crate::verbs::agent::{find, show_after};
use crate::verbs::run::parse_pair;

/// Where, for whom, and how the result is written.
#[derive(Debug, clap::Args)]
pub(crate) struct ReserveArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    /// What, such as 'cpus:2;mem:1024;ports:[31000-31010]'; of what is reserved already, 'cpus(eng):2'.
    resources: Resources,
    /// For which role; beneath the one that it is reserved for already.
    #[arg(long)]
    role: Role,
    /// What to remember with the reservation; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// The same the other way round.
#[derive(Debug, clap::Args)]
pub(crate) struct UnreserveArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    /// What, such as 'cpus:2;mem:1024'.
    resources: Resources,
    /// For which role it is reserved.
    #[arg(long)]
    role: Role,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Persistent volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeVerb {
    /// Make a volume of disk that is reserved for a role; what tasks write there stays when they have ended.
    Create(CreateArgs),
    /// Make a volume larger that no task uses, of free disk of the same reservation.
    Grow(ResizeArgs),
    /// Make a volume smaller that no task uses; what it was larger is free disk of the same reservation.
    Shrink(ResizeArgs),
    /// Destroy a volume that no task uses, with all that is in it.
    Rm(RemoveArgs),
}

/// Which volume to make.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    /// Whose reserved disk it is made of.
    #[arg(long)]
    role: Role,
    /// The volume's id, of which a role has one on an agent.
    #[arg(long)]
    id: VolumeId,
    /// How large it is, in MiB.
    #[arg(long, value_name = "MIB", value_parser = parse_size, allow_negative_numbers = true)]
    size: u64,
    /// On which disk, such as PATH:/ssd or MOUNT:/mnt/a [default: the agent's own]
    #[arg(long, value_name = "DISK", value_parser = parse_source)]
    disk: Option<DiskSource>,
    /// Let several tasks use it at once. It keeps its size.
    #[arg(long)]
    shared: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which volume is to have another size.
#[derive(Debug, clap::Args)]
pub(crate) struct ResizeArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    /// The volume's id.
    #[arg(long)]
    id: VolumeId,
    /// Whose it is, where several roles have one of this id.
    #[arg(long)]
    role: Option<Role>,
    /// By how much, in MiB.
    #[arg(long, value_name = "MIB", value_parser = parse_size, allow_negative_numbers = true)]
    by: u64,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which volume to destroy.
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    /// The volume's id.
    #[arg(long)]
    id: VolumeId,
    /// Whose it is, where several roles have one of this id.
    #[arg(long)]
    role: Option<Role>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl VolumeVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Create(args) => args.output.output,
            Self::Grow(args) | Self::Shrink(args) => args.output.output,
            Self::Rm(args) => args.output.output,
        }
    }
}

/// Reserves.
pub(crate) async fn reserve(args: ReserveArgs) -> Outcome {
    let labels = labels_once(args.labels)?;
    let what = |inventory: &Inventory| {
        let resources = given(&args.resources)?;
        inventory.to_reserve(resources, &args.role, &labels)
    };
    let change = |agent_id, resources| {
        Change::Reserve(v1::ReserveRequest {
            agent_id,
            resources,
        })
    };
    convert(&args.client, &args.agent, args.output, what, change).await
}

/// Takes reservations away.
pub(crate) async fn unreserve(args: UnreserveArgs) -> Outcome {
    let what = |inventory: &Inventory| {
        let resources = given(&args.resources)?;
        inventory.to_unreserve(resources, &args.role)
    };
    let change = |agent_id, resources| {
        Change::Unreserve(v1::UnreserveRequest {
            agent_id,
            resources,
        })
    };
    convert(&args.client, &args.agent, args.output, what, change).await
}

/// Makes, resizes or destroys a volume.
pub(crate) async fn volume(verb: VolumeVerb) -> Outcome {
    match verb {
        VolumeVerb::Create(args) => {
            let what = |inventory: &Inventory| {
                let disk = args.disk.as_ref();
                let size = args.size;
                inventory.to_create(&args.role, &args.id, size, disk, args.shared)
            };
            let change = |agent_id, volumes| {
                Change::CreateVolumes(v1::CreateVolumesRequest { agent_id, volumes })
            };
            convert(&args.client, &args.agent, args.output, what, change).await
        }
        VolumeVerb::Grow(args) => {
            let change = |agent_id, role, volume_id, milli| {
                Change::GrowVolume(v1::GrowVolumeRequest {
                    agent_id,
                    role,
                    volume_id,
                    milli,
                })
            };
            resize(args, change).await
        }
        VolumeVerb::Shrink(args) => {
            let change = |agent_id, role, volume_id, milli| {
                Change::ShrinkVolume(v1::ShrinkVolumeRequest {
                    agent_id,
                    role,
                    volume_id,
                    milli,
                })
            };
            resize(args, change).await
        }
        VolumeVerb::Rm(args) => {
            let what = |inventory: &Inventory| inventory.volume(&args.id, args.role.as_ref());
            let change = |agent_id, volumes| {
                Change::DestroyVolumes(v1::DestroyVolumesRequest { agent_id, volumes })
            };
            convert(&args.client, &args.agent, args.output, what, change).await
        }
    }
}

/// Finds whose volume is meant, has the master change it, and shows the agent as it is then.
async fn resize(
    args: ResizeArgs,
    change: impl FnOnce(String, String, String, u64) -> Change,
) -> Outcome {
    let agent = find(&args.client, &args.agent).await?;
    let volume = Inventory::of(&agent)?.volume(&args.id, args.role.as_ref())?;
    let mut kinds = volume.special().map(|(kind, _)| kind);
    let role = kinds.next().and_then(|kind| kind.reserved_to());
    let role = role.map(ToString::to_string).unwrap_or_default();
    let change = change(agent.id.clone(), role, args.id.to_string(), args.by);
    let made = change.make(&args.client).await;
    let master = made.map_err(|problem| with_flag(with_own_hint(problem)))?;
    show_after(master, &agent.id, args.output).await
}

/// Finds what is meant on the agent, has the master change it, and shows the agent as it is then.
async fn convert(
    client: &ClientArgs,
    agent: &str,
    output: OutputArgs,
    what: impl FnOnce(&Inventory) -> Result<Resources, Problem>,
    change: impl FnOnce(String, Option<v1::Resources>) -> Change,
) -> Outcome {
    let agent = find(client, agent).await?;
    let resources = what(&Inventory::of(&agent)?)?;
    let change = change(agent.id.clone(), Some(encode_resources(&resources)));
    let master = change.make(client).await.map_err(with_own_hint)?;
    show_after(master, &agent.id, output).await
}

/// Of a label that is given twice one would be lost.
fn labels_once(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Problem> {
    let mut labels = BTreeMap::new();
    for (name, value) in given {
        if labels.contains_key(&name) {
            let message = format!("{name} is given twice");
            return Err(Problem::new(code::FIELD_INVALID, message)
                .field("--label")
                .hint("give each label once"));
        }
        labels.insert(name, value);
    }
    Ok(labels)
}

/// The master says what is not free; where to look is the command line's to say.
fn with_own_hint(problem: Problem) -> Problem {
    if problem.is(code::RESOURCES_NOT_FREE) {
        return problem
            .hint("`proffer agent show AGENT` lists what it has, for whom, and what tasks use");
    }
    problem
}

/// What the master calls `milli` was typed behind a flag.
fn with_flag(problem: Problem) -> Problem {
    match problem.field.as_str() {
        "milli" => problem.field("--by"),
        _ => problem,
    }
}

fn given(resources: &Resources) -> Result<&Resources, Problem> {
    match resources.is_empty() {
        false => Ok(resources),
        true => Err(Problem::new(code::FIELD_MISSING, "no resources are given")
            .field("resources")
            .hint("write 'cpus:2;mem:1024'")),
    }
}

/// So many MiB, in thousandths.
fn parse_size(text: &str) -> Result<u64, Problem> {
    match parse_milli(text)? {
        0 => Err(Problem::new(code::FIELD_MISSING, "0 MiB are nothing")
            .hint("give more than 0 MiB, such as 64")),
        milli => Ok(milli),
    }
}

/// A disk of its own, as it stands in the text form of resources.
fn parse_source(text: &str) -> Result<DiskSource, Problem> {
    let resources: Resources = format!("disk@{text}:1").parse()?;
    let mut kinds = resources.iter().map(|(kind, _)| kind);
    let source = kinds.next().and_then(|kind| kind.disk.clone()?.source);
    match (source, kinds.next()) {
        (Some(source), None) => Ok(source),
        _ => Err(
            Problem::new(code::RESOURCES_INVALID, format!("{text:?} is no disk"))
                .hint("write PATH:/dir or MOUNT:/dir"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::{Cli, Command};

    #[test]
    fn disks_are_named_as_in_resources() {
        let path = |root: &str| DiskSource::Path {
            root: root.to_owned(),
        };
        assert_eq!(parse_source("PATH:/ssd").unwrap(), path("/ssd"));
        for wrong in ["", "ssd", "PATH:/a:1;cpus"] {
            parse_source(wrong).unwrap_err();
        }
    }

    #[test]
    fn sizes_are_named_by_their_flags() {
        let problem = parse_size("0").unwrap_err();
        assert!(problem.is(code::FIELD_MISSING) && !problem.hint.is_empty());
        let all = Problem::new(code::VOLUME_INVALID, "the volume has 64").field("milli");
        assert_eq!(with_flag(all).field, "--by");
        let other = Problem::new(code::AGENT_UNKNOWN, "none").field("agent_id");
        assert_eq!(with_flag(other).field, "agent_id");
    }

    #[test]
    fn a_label_is_given_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = labels_once(vec![pair("x", "1"), pair("y", "1")]).unwrap();
        assert_eq!(labels.len(), 2);
        for again in ["1", "2"] {
            let problem = labels_once(vec![pair("x", "1"), pair("x", again)]).unwrap_err();
            assert_eq!(problem.field, "--label");
            assert!(!problem.hint.is_empty(), "{problem}");
        }
    }

    #[test]
    fn wrong_reservations_are_refused_before_anything_is_asked() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let line = "proffer reserve a cpus:2;mem:64 --role eng --label why=test --label k=v";
        match Cli::try_parse_from(words(line)).unwrap().command {
            Command::Reserve(args) => assert_eq!(args.labels.len(), 2),
            other => panic!("{other:?}"),
        }
        for line in [
            "proffer reserve a cpus:2",
            "proffer reserve a cpus:-2 --role eng",
            "proffer reserve a cpus:2 --role eng/",
            "proffer reserve a cpus:2 --role eng --label why",
            "proffer unreserve a --role eng",
            "proffer volume create a --role eng --id v",
            "proffer volume create a --role eng --id a/b --size 5",
            "proffer volume create a --role eng --id v --size 5g",
            "proffer volume create a --role eng --id v --size 0",
            "proffer volume shrink a --id v --by 0",
            "proffer volume rm a",
            "proffer volume grow a --id v",
            "proffer volume grow a --by 5",
            "proffer volume grow a --id v --by -5",
            "proffer volume shrink a --id v --by much",
        ] {
            assert!(Cli::try_parse_from(words(line)).is_err(), "{line}");
        }
    }
}
