//! Ports of an app, and the service ports that balancers bind: numbers that no two apps share.
//!
//! A port definition's number is its service port. With `requirePorts` it is the host port too; otherwise host ports come
//! out of offers. 0 means: assign one; it is kept by position when the app changes.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{Problem, Protocol, code};

use crate::id::AppId;

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `tcp`.
    Tcp,
    /// `udp`.
    Udp,
    /// `udp,tcp`: both on one number.
    Both,
}

impl Transport {
    /// Reads Marathon's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "udp,tcp" | "tcp,udp" => Self::Both,
            _ => return None,
        })
    }

    /// Marathon's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "udp,tcp",
        }
    }

    /// The protocols of it.
    pub(crate) fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::Tcp => &[Protocol::Tcp],
            Self::Udp => &[Protocol::Udp],
            Self::Both => &[Protocol::Udp, Protocol::Tcp],
        }
    }
}

/// A port that an app listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortDefinition {
    /// The service port; 0 only before one is assigned.
    pub number: u16,
    /// Its name, may be empty.
    pub name: String,
    /// What it speaks.
    pub transport: Transport,
    /// For discovery and people.
    pub labels: BTreeMap<String, String>,
}

impl PortDefinition {
    /// The port of an app that says nothing about ports.
    pub fn default_one() -> Self {
        Self {
            number: 0,
            name: "default".to_owned(),
            transport: Transport::Tcp,
            labels: BTreeMap::new(),
        }
    }
}

/// The numbers that are assigned to ports 0, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServicePortRange {
    /// The first.
    pub begin: u16,
    /// The last.
    pub end: u16,
}

/// Gives each port 0 a number: the one that the app had at this position, else the lowest that is free.
/// An explicit number of another app is refused.
pub fn assign(
    ports: &mut [PortDefinition],
    before: &[PortDefinition],
    taken: &BTreeMap<u16, AppId>,
    range: ServicePortRange,
) -> Result<(), Problem> {
    let mut own: BTreeSet<u16> = BTreeSet::new();
    for (i, port) in ports
        .iter()
        .enumerate()
        .filter(|(_, port)| port.number != 0)
    {
        if let Some(other) = taken.get(&port.number) {
            let message = format!(
                "the service port {} belongs to the app {other}",
                port.number
            );
            return Err(Problem::new(code::APP_PORT_TAKEN, message)
                .field(format!("portDefinitions[{i}].port"))
                .hint("give another number, or 0 to be assigned one"));
        }
        own.insert(port.number);
    }
    for (i, port) in ports.iter_mut().enumerate() {
        if port.number != 0 {
            continue;
        }
        let free = |number: &u16| !taken.contains_key(number) && !own.contains(number);
        let kept = before.get(i).map(|port| port.number).filter(free);
        let number = kept
            .or_else(|| (range.begin..=range.end).find(free))
            .ok_or_else(|| {
                Problem::new(
                    code::APP_PORT_TAKEN,
                    format!(
                        "no service port from {} to {} is free",
                        range.begin, range.end
                    ),
                )
                .field(format!("portDefinitions[{i}].port"))
                .hint("widen local_port_min and local_port_max, or remove apps")
            })?;
        port.number = number;
        own.insert(number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(numbers: &[u16]) -> Vec<PortDefinition> {
        numbers
            .iter()
            .map(|number| PortDefinition {
                number: *number,
                ..PortDefinition::default_one()
            })
            .collect()
    }

    #[test]
    fn ports_are_kept_by_position_and_else_the_lowest_free_one() {
        let other = AppId::new("/other").expect("good");
        let taken: BTreeMap<u16, AppId> = [(10000, other.clone()), (10002, other)].into();
        let range = ServicePortRange {
            begin: 10000,
            end: 10004,
        };
        for (asked, before, given) in [
            (&[0][..], &[][..], Ok(&[10001][..])),
            (&[0, 0], &[], Ok(&[10001, 10003])),
            (&[0, 0], &[10003, 10001], Ok(&[10003, 10001])),
            (&[10001, 0], &[10003, 10001], Ok(&[10001, 10003])),
            (&[80, 0], &[10003], Ok(&[80, 10001])),
            (&[0, 0, 0, 0], &[], Err("portDefinitions[3].port")),
            (&[10002], &[], Err("portDefinitions[0].port")),
        ] {
            let mut got = ports(asked);
            match (assign(&mut got, &ports(before), &taken, range), given) {
                (Ok(()), Ok(given)) => assert_eq!(got, ports(given), "{asked:?}"),
                (Err(problem), Err(field)) => {
                    assert_eq!(
                        (problem.code.as_ref(), problem.field.as_str()),
                        ("app.port_taken", field)
                    );
                }
                (result, _) => panic!("{asked:?}: {result:?}"),
            }
        }
    }
}
