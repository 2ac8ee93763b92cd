//! How this master stands: whether it leads, who does otherwise, and what is in the way.
//!
//! The campaign writes it, everybody reads it: pages, `Leadership.Watch`, `Operator.GetMaster`, refusals.

use std::fmt;

use proffer_model::{ClusterId, Epoch, Leader, Problem, code};
use proffer_server::clock;
use tokio::sync::watch;

/// On which listener a caller is, and so by which address it reaches the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Frameworks and operators.
    Api,
    /// Agents and masters.
    Cluster,
}

impl Side {
    /// A master's address on this kind of listener.
    pub(crate) fn address(self, leader: &Leader) -> &str {
        match self {
            Self::Api => &leader.address,
            Self::Cluster => &leader.cluster_address,
        }
    }
}

/// The term that a master leads in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The term.
    pub(crate) epoch: Epoch,
}

/// How a master stands at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// When it leads.
    pub(crate) reign: Option<Reign>,
    /// Who leads as far as it knows; itself when it does.
    pub(crate) leader: Option<Leader>,
    /// Who is elected, and leads if it is another than this one.
    elected: Option<Leader>,
    /// What is wrong with the election.
    pub(crate) election_trouble: Option<Problem>,
    /// Why it cannot lead though it was elected.
    pub(crate) term_trouble: Option<Problem>,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reign, &self.leader) {
            (Some(Reign { cluster, epoch }), _) => {
                write!(f, "leads cluster {cluster} in epoch {}", epoch.0)?;
            }
            (None, Some(leader)) => write!(f, "stands by, {} leads", leader.address)?,
            (None, None) => f.write_str("stands by, nobody leads")?,
        }
        for problem in [&self.election_trouble, &self.term_trouble]
            .into_iter()
            .flatten()
        {
            write!(f, "; {}", problem.message)?;
        }
        Ok(())
    }
}

/// The status of this master, as it changes.
#[derive(Debug)]
pub(crate) struct Standing {
    me: Leader,
    started_wall_ms: u64,
    status: watch::Sender<Status>,
}

impl Standing {
    /// Of a master that nobody has elected yet.
    pub(crate) fn new(me: Leader) -> Self {
        let status = watch::Sender::new(Status::default());
        let started_wall_ms = clock::now().wall_ms;
        Self {
            me,
            started_wall_ms,
            status,
        }
    }

    /// Since when this process runs, in milliseconds since 1970.
    pub(crate) fn started_wall_ms(&self) -> u64 {
        self.started_wall_ms
    }

    /// This master, as others reach it.
    pub(crate) fn me(&self) -> &Leader {
        &self.me
    }

    /// How it stands now.
    pub(crate) fn now(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Whether it was elected, and its term has not begun yet.
    pub(crate) fn is_recovering(&self) -> bool {
        let status = self.status.borrow();
        let elected = status.elected.as_ref();
        status.reign.is_none() && elected.is_some_and(|elected| elected.id == self.me.id)
    }

    /// How it stands from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// It leads.
    pub(crate) fn leads(&self, reign: Reign) {
        self.change(|status| {
            status.reign = Some(reign);
            status.term_trouble = None;
        });
    }

    /// It leads no more.
    pub(crate) fn stands_by(&self) {
        self.change(|status| status.reign = None);
    }

    /// Those who stand for election, the elected first.
    pub(crate) fn candidates(&self, candidates: &[Leader]) {
        let elected = candidates.first().cloned();
        self.change(|status| status.elected = elected);
    }

    /// What is wrong with the election, if anything.
    pub(crate) fn election_trouble(&self, trouble: Option<Problem>) {
        self.change(|status| status.election_trouble = trouble);
    }

    /// Why no term could be begun. Answers whether that is news.
    pub(crate) fn term_trouble(&self, trouble: Problem) -> bool {
        self.change(|status| status.term_trouble = Some(trouble))
    }

    fn change(&self, change: impl FnOnce(&mut Status)) -> bool {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            // A leader knows that it is one, and one that was elected and has no term yet is none.
            let other = status
                .elected
                .as_ref()
                .filter(|elected| elected.id != self.me.id);
            status.leader = match &status.reign {
                Some(_) => Some(self.me.clone()),
                None => other.cloned(),
            };
            *status != before
        })
    }

    /// Why a call is refused by a master that stands by.
    pub(crate) fn not_leading(&self, side: Side) -> Problem {
        match &self.status.borrow().leader {
            Some(leader) if leader.id != self.me.id => {
                let address = side.address(leader);
                let message = format!("this master stands by; the leader is at {address}");
                Problem::new(code::MASTER_NOT_LEADING, message).hint("call the leader")
            }
            _ => Problem::new(
                code::MASTER_NOT_LEADING,
                "this master does not lead, and knows no master that does",
            )
            .hint("try again in a moment"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A master of this name.
    pub(crate) fn master(name: &str) -> Leader {
        Leader {
            id: name.into(),
            address: format!("{name}:5050"),
            cluster_address: format!("{name}:5060"),
            version: "0".into(),
        }
    }

    #[test]
    fn who_leads_is_told_by_the_listener_that_was_asked() {
        let standing = Standing::new(master("a"));
        let message = |side| standing.not_leading(side).message;
        assert!(message(Side::Api).contains("knows no master"));
        standing.candidates(&[master("b"), master("a")]);
        assert!(message(Side::Api).ends_with("at b:5050"));
        assert!(message(Side::Cluster).ends_with("at b:5060"));
    }

    #[test]
    fn a_master_that_was_elected_is_no_leader_before_its_term() {
        let standing = Standing::new(master("a"));
        standing.candidates(&[master("a"), master("b")]);
        assert_eq!(standing.now().leader, None);
        assert_eq!(standing.now().to_string(), "stands by, nobody leads");
        assert!(standing.is_recovering());
        let reign = Reign {
            cluster: ClusterId::new("c").expect("an id"),
            epoch: Epoch(1),
        };
        standing.leads(reign);
        assert!(!standing.is_recovering());
        standing.candidates(&[master("b")]);
        assert_eq!(standing.now().leader, Some(master("a")));
        assert_eq!(standing.now().to_string(), "leads cluster c in epoch 1");
        standing.stands_by();
        assert_eq!(standing.now().to_string(), "stands by, b:5050 leads");
        assert_eq!(
            standing.now().leader,
            Some(master("b")),
            "it was heard while this one led"
        );
    }

    #[test]
    fn the_same_trouble_is_news_once() {
        let standing = Standing::new(master("a"));
        let trouble = |text: &str| Problem::new(code::STORE_FAILED, text.to_owned());
        assert!(standing.term_trouble(trouble("x")));
        assert!(!standing.term_trouble(trouble("x")));
        assert!(standing.term_trouble(trouble("y")));
    }
}
