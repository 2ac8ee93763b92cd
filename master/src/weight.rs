//! About how many bytes a message takes while it waits for a peer that reads slowly, and how many may wait.
//!
//! What is shared with others, such as ids, counts as little; what grows with what somebody wrote counts in full.

use proffer_master_core::effect::StateChange;
use proffer_model::link::ToAgent;
use proffer_model::operation::OperationResult;
use proffer_model::resources::Amount;
use proffer_model::session::{Answer, Event};
use proffer_model::{CheckKind, Command, Discovery, Offer, Problem, Resources, TaskSpec};

use crate::inbox::{Numbered, Watched};
use crate::limits::{
    LINK_OUTBOX_BYTES_MAX, LINKS_OUTBOX_BYTES_MAX, SESSION_OUTBOX_BYTES_MAX,
    SESSIONS_OUTBOX_BYTES_MAX, WATCH_OUTBOX_BYTES_MAX, WATCHES_OUTBOX_BYTES_MAX,
};

/// An entry of a small map or list besides its bytes.
const ENTRY: usize = 64;

/// What waits to be sent to a peer.
pub(crate) trait Weighed {
    /// Bytes that may wait for one peer.
    const PEER_BYTES_MAX: usize;
    /// Bytes that may wait for all peers of the kind together.
    const ALL_BYTES_MAX: usize;
    /// Bytes that it takes, about.
    fn weight(&self) -> usize;
    /// Whether it may be lost, since it comes at most once: then it is let go when half of what may wait for the peer does.
    fn may_be_lost(&self) -> bool {
        false
    }
}

impl Weighed for ToAgent {
    const PEER_BYTES_MAX: usize = LINK_OUTBOX_BYTES_MAX;
    const ALL_BYTES_MAX: usize = LINKS_OUTBOX_BYTES_MAX;

    fn weight(&self) -> usize {
        let besides = match self {
            Self::Launch { spec, .. } => of_spec(spec),
            Self::LaunchGroup { tasks, .. } => tasks.iter().map(|(_, spec)| of_spec(spec)).sum(),
            Self::UpdateTask { labels, .. } => labels.iter().flatten().map(of_pair).sum(),
            Self::Message { data, .. } => data.len(),
            Self::Volumes { volumes, .. } => volumes.len() * ENTRY,
            Self::Refused(problem) => of_problem(problem),
            Self::Welcome { .. }
            | Self::Kill { .. }
            | Self::Acknowledge { .. }
            | Self::Heartbeat { .. }
            | Self::ShutdownExecutor { .. } => 0,
        };
        size_of::<Self>() + besides
    }

    fn may_be_lost(&self) -> bool {
        matches!(self, Self::Message { .. })
    }
}

impl Weighed for Numbered {
    const PEER_BYTES_MAX: usize = SESSION_OUTBOX_BYTES_MAX;
    const ALL_BYTES_MAX: usize = SESSIONS_OUTBOX_BYTES_MAX;

    fn weight(&self) -> usize {
        let besides = match &self.1 {
            Event::Answered { answer, .. } => of_answer(answer),
            Event::Offered(offers) => offers.iter().map(of_offer).sum(),
            Event::Rescinded(offers) => offers.len() * ENTRY,
            Event::Reclaim { tasks, .. } => tasks.len() * ENTRY,
            Event::Updated(status) => {
                status.message.len() + status.data.len() + status.checks.len() * ENTRY
            }
            Event::Message { data, .. } => data.len(),
            Event::ExecutorEnded { message, .. } => message.len(),
            Event::Closed(problem) => of_problem(problem),
            Event::Subscribed { .. }
            | Event::StandingBy { .. }
            | Event::SnapshotEnded
            | Event::AgentSettled(_)
            | Event::Heartbeat => 0,
        };
        size_of::<Self>() + besides
    }
}

impl Weighed for Watched {
    const PEER_BYTES_MAX: usize = WATCH_OUTBOX_BYTES_MAX;
    const ALL_BYTES_MAX: usize = WATCHES_OUTBOX_BYTES_MAX;

    fn weight(&self) -> usize {
        let besides = match &self.what {
            Ok(StateChange::Put { value, .. }) => value.len(),
            Ok(StateChange::Deleted { .. } | StateChange::UpToDate) => 0,
            Err(problem) => of_problem(problem),
        };
        size_of::<Self>() + besides
    }
}

/// Its executor is shared with other tasks.
fn of_spec(spec: &TaskSpec) -> usize {
    let texts = |texts: &[String]| texts.iter().map(|text| ENTRY + text.len()).sum::<usize>();
    let command = match &spec.command {
        Command::Shell(line) => line.len(),
        Command::Exec(words) | Command::Image(words) => texts(words),
        Command::Named { program, arguments } => program.len() + texts(arguments),
        Command::Data(data) => data.len(),
    };
    let environment = spec.environment.iter();
    let environment =
        environment.map(|(name, value)| 2 * ENTRY + name.len() + value.expose().len());
    let checks = spec.checks.iter().map(|check| match &check.kind {
        CheckKind::Http { path, .. } => path.len(),
        CheckKind::Tcp { .. } => 0,
        CheckKind::Command { shell } => shell.len(),
    });
    let fetch = spec.fetch.iter();
    let fetch = fetch.map(|fetch| fetch.uri.len() + fetch.output.as_ref().map_or(0, String::len));
    let labels = spec.labels.iter().map(of_pair);
    let ports = spec.ports.iter().map(|port| port.name.len());
    let volumes = spec.volumes.iter().map(|volume| volume.path.len());
    let image = spec
        .container
        .as_ref()
        .map_or(0, |container| container.image.as_str().len());
    let few = spec.checks.len() + spec.fetch.len() + spec.ports.len() + spec.volumes.len();
    size_of::<TaskSpec>()
        + command
        + of_resources(&spec.resources)
        + spec.name.len()
        + spec.user.as_ref().map_or(0, String::len)
        + image
        + spec.discovery.as_deref().map_or(0, of_discovery)
        + environment
            .chain(checks)
            .chain(fetch)
            .chain(labels)
            .chain(ports)
            .chain(volumes)
            .sum::<usize>()
        + few * 2 * ENTRY
}

fn of_discovery(discovery: &Discovery) -> usize {
    let ports = discovery.ports.iter().map(|port| {
        let labels = port.labels.iter().map(of_pair).sum::<usize>();
        2 * ENTRY + port.name.len() + port.protocol.len() + labels
    });
    let labels = discovery.labels.iter().map(of_pair);
    size_of::<Discovery>()
        + discovery.name.len()
        + discovery.environment.len()
        + discovery.location.len()
        + discovery.version.len()
        + ports.chain(labels).sum::<usize>()
}

fn of_pair((name, value): (&String, &String)) -> usize {
    2 * ENTRY + name.len() + value.len()
}

fn of_answer(answer: &Answer) -> usize {
    match answer {
        Answer::Done => 0,
        Answer::Accepted(results) => results.iter().map(of_result).sum(),
        Answer::Refused(problem) => of_problem(problem),
    }
}

fn of_result(result: &OperationResult) -> usize {
    let launches = result.launches().iter();
    let launches = launches.map(|launch| match &launch.outcome {
        Ok(_) => ENTRY,
        Err(problem) => ENTRY + of_problem(problem),
    });
    let refused = match result {
        OperationResult::Refused(problem) => of_problem(problem),
        _ => 0,
    };
    size_of::<OperationResult>() + refused + launches.sum::<usize>()
}

fn of_problem(problem: &Problem) -> usize {
    size_of::<Problem>() + problem.field.len() + problem.message.len() + problem.hint.len()
}

fn of_offer(offer: &Offer) -> usize {
    let texts = offer.host.len() + offer.address.len();
    let attributes = offer.attributes.iter().count() * 2 * ENTRY;
    let resources = of_resources(&offer.resources);
    size_of::<Offer>() + texts + attributes + resources + offer.fits.len() * ENTRY
}

fn of_resources(resources: &Resources) -> usize {
    let ordinary = resources.ordinary().map(|(_, amount)| amount);
    let special = resources.special().map(|(_, amount)| amount);
    let amounts = ordinary.chain(special).map(|amount| match amount {
        Amount::Scalar(_) => 0,
        Amount::Ranges(set) => set.ranges().len() * 16,
        Amount::Set(set) => set.iter().map(|item| ENTRY + item.len()).sum(),
        Amount::Whole(_) => ENTRY,
    });
    amounts.map(|bytes| 2 * ENTRY + bytes).sum()
}

#[cfg(test)]
impl Weighed for u32 {
    const PEER_BYTES_MAX: usize = usize::MAX;
    const ALL_BYTES_MAX: usize = usize::MAX;

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_counts_in_full() {
        let message = |len| -> Numbered {
            let event = Event::Message {
                agent: "a".parse().expect("id"),
                executor: "e".parse().expect("id"),
                data: vec![0; len],
            };
            (1, event)
        };
        assert_eq!(message(1_000).weight() - message(0).weight(), 1_000);
        let refused = |len: usize| -> Numbered {
            let problem = Problem::new(proffer_model::code::INTERNAL, "x".repeat(len));
            let answer = Answer::Refused(problem);
            (1, Event::Answered { request: 1, answer })
        };
        assert_eq!(refused(1_000).weight() - refused(0).weight(), 1_000);
        let value = |len| Watched {
            what: Ok(StateChange::Put {
                key: "k".parse().expect("key"),
                value: vec![0; len].into(),
                version: 1,
            }),
            asks_on: false,
        };
        assert_eq!(value(1_000).weight() - value(0).weight(), 1_000);
    }

    #[test]
    fn what_an_agent_is_to_launch_counts_in_full_and_one_that_does_not_read_is_cut_off() {
        let launch = |change: &dyn Fn(&mut TaskSpec)| {
            let resources = proffer_model::Resources::new();
            let command = Command::Shell(String::new());
            let mut spec = TaskSpec::new("t".parse().expect("id"), command, resources);
            change(&mut spec);
            ToAgent::Launch {
                epoch: proffer_model::Epoch(1),
                framework: "f".parse().expect("id"),
                incarnation: proffer_model::Incarnation(1),
                spec: Box::new(spec),
                payer: None,
            }
        };
        let none = launch(&|_| {}).weight();
        let text = "x".repeat(1_000_000);
        let label = launch(&|spec| drop(spec.labels.insert("l".into(), text.clone())));
        let command = launch(&|spec| spec.command = Command::Exec(vec![text.clone()]));
        let secret = launch(&|spec| {
            let value = proffer_model::Secret::new(text.clone());
            spec.environment.insert("e".into(), value);
        });
        let told = launch(&|spec| {
            let mut discovery = Discovery::default();
            discovery.labels.insert("l".into(), text.clone());
            spec.discovery = Some(discovery.into());
        });
        let user = launch(&|spec| spec.user = Some(text.clone()));
        let image = launch(&|spec| {
            let image = proffer_model::Image::Archive(text.clone());
            let rules = proffer_model::ImageRules::Docker;
            spec.container = Some(proffer_model::Container { image, rules });
        });
        let mount = launch(&|spec| {
            let mount = proffer_model::VolumeMount {
                volume: "v".parse().expect("id"),
                path: text.clone(),
                is_read_only: false,
            };
            spec.volumes.push(mount);
        });
        let port = launch(&|spec| {
            let port = proffer_model::Port {
                name: text.clone(),
                number: 1,
                protocol: proffer_model::Protocol::Tcp,
            };
            spec.ports.push(port);
        });
        for launch in [
            &label, &command, &secret, &told, &user, &image, &mount, &port,
        ] {
            assert!((1_000_000..1_000_500).contains(&(launch.weight() - none)));
        }
        let zones: Resources = "zones:{a,b};ports:[1-2,4-5]".parse().expect("good");
        let zones = launch(&|spec| spec.resources.clone_from(&zones));
        assert!(zones.weight() > none + 2 * ENTRY);
        let mut peers = crate::outbox::Peers::new();
        let (outbox, _mail) = crate::outbox::outbox(1_000);
        peers.open('a', outbox);
        let mut sent = 0;
        let durable = proffer_master_core::event::Seq(0);
        while peers.flush(durable).is_empty() {
            sent += label.weight();
            assert!(sent < 2 * LINK_OUTBOX_BYTES_MAX, "it is cut off");
            let after = proffer_master_core::effect::After::Nothing;
            peers.send('a', label.clone(), after);
        }
        assert!(sent > LINK_OUTBOX_BYTES_MAX);
    }

    #[test]
    fn messages_that_come_at_most_once_fill_half_of_what_waits_for_an_agent_and_launches_get_through()
     {
        let durable = proffer_master_core::event::Seq(0);
        let after = proffer_master_core::effect::After::Nothing;
        let epoch = proffer_model::Epoch(1);
        let message = |len| ToAgent::Message {
            epoch,
            framework: "f".parse().expect("id"),
            executor: "e".parse().expect("id"),
            data: vec![0; len],
        };
        for (len, len_max) in [(1_024 * 1_024, 1_000), (0, 64)] {
            let mut peers = crate::outbox::Peers::new();
            let (outbox, mut mail) = crate::outbox::outbox(len_max);
            peers.open('a', outbox);
            for _ in 0..200 {
                peers.send('a', message(len), after);
                assert!(peers.flush(durable).is_empty(), "nobody is cut off");
            }
            peers.send('a', ToAgent::Heartbeat { epoch }, after);
            assert!(peers.flush(durable).is_empty());
            let mut came = Vec::new();
            while let Some(crate::outbox::Arrival::Message(message)) = mail.take() {
                came.push(message);
            }
            let last = came.pop();
            assert_eq!(last, Some(ToAgent::Heartbeat { epoch }));
            let half = (LINK_OUTBOX_BYTES_MAX / 2 / (1_024 * 1_024)).min(len_max / 2);
            assert!((half - 1..=half).contains(&came.len()), "{}", came.len());
            peers.send('a', message(len), after);
            peers.flush(durable);
            assert!(mail.take().is_some(), "there is room again");
        }
    }
}
