//! The life of a master among others: stand by, be elected, lead, lose, stand by again.
//!
//! Each round is fresh: what leads is a [`Term`], and of one that is over nothing is left when the next begins. What
//! cannot be led for a passing reason is tried again after a moment, what needs a human slowly; in between, leadership is
//! given up, so that others have their turn.

use std::future::pending;
use std::time::Duration;

use proffer_model::{Leader, Problem, code};
use proffer_server::clock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::election::{Election, Office};
use crate::limits::{
    CAMPAIGN_PASS_ON_AFTER, CAMPAIGN_PAUSE_LASTING, CAMPAIGN_PAUSE_MAX, CAMPAIGN_PAUSE_MIN,
    CAMPAIGN_SETTLED_AFTER,
};
use crate::running::Services;
use crate::standing::Standing;
use crate::tenure::{Tenure, lost};
use crate::term::{Failure, Maker, Term};

/// One master's campaign.
#[derive(Debug)]
pub(crate) struct Campaign {
    /// Makes terms.
    pub(crate) maker: Maker,
    /// What serves them.
    pub(crate) services: Services,
    /// Ends everything.
    pub(crate) shutdown: CancellationToken,
}

impl Campaign {
    /// Begins to lead: from now on this term takes the calls.
    pub(crate) async fn take_up(&self, term: &Term) {
        let (reign, standing) = (&term.reign, &self.maker.standing);
        self.maker.metrics.leadership.begun(reign.epoch);
        self.services.lead(term).await;
        standing.leads(reign.clone());
        tracing::info!(
            address = standing.me().address,
            cluster_address = standing.me().cluster_address,
            cluster = %reign.cluster,
            epoch = reign.epoch.0,
            "the master leads"
        );
    }

    /// Leads to the end of the term: `Ok` after a shutdown, otherwise why it ended.
    pub(crate) async fn serve_out(&self, term: Term) -> Result<(), Problem> {
        let metrics = &self.maker.metrics.leadership;
        let reign = term.reign.clone();
        term.tenure.over().await;
        self.maker.standing.stands_by();
        self.services.stand_by().await;
        metrics.ended();
        let ended = term.ended().await;
        if self.shutdown.is_cancelled() {
            return Ok(());
        }
        let problem = ended.err().unwrap_or_else(lost);
        metrics.lost();
        let (epoch, why) = (reign.epoch.0, problem.to_string());
        if problem.is(code::INTERNAL) {
            tracing::error!(epoch, why, "leadership is lost");
        } else {
            tracing::info!(epoch, why, "leadership is lost");
        }
        Err(problem)
    }

    /// Stands for election again and again, until the shutdown.
    pub(crate) async fn run(&self, mut election: Box<dyn Election>) {
        let heard = hear(
            &self.maker.standing,
            election.candidates(),
            election.trouble(),
        );
        // Who shuts down does not stand by, and need not say so.
        let heard = self.shutdown.run_until_cancelled(heard);
        let rounds = self.rounds(election.as_mut());
        tokio::join!(heard, rounds);
        election.withdraw().await;
    }

    async fn rounds(&self, election: &mut dyn Election) {
        let mut pause = Pause::default();
        let mut kept = None;
        loop {
            let office = match kept.take() {
                Some(office) => office,
                None => tokio::select! {
                    () = self.shutdown.cancelled() => return,
                    office = election.elected() => office,
                },
            };
            let wait = self.hold(office, &mut pause).await;
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                rested = rest(election, wait) => kept = rested,
            }
        }
    }

    /// Leads as long as it goes, then gives leadership up; answers how long not to stand for election.
    async fn hold(&self, office: Office, pause: &mut Pause) -> Duration {
        let Office {
            lease,
            open,
            give_up,
        } = office;
        let tenure = Tenure::new(lease, self.shutdown.child_token());
        let since = clock::now();
        let mut is_lasting = false;
        match self.maker.begin(tenure.clone(), open).await {
            Ok(term) => {
                self.take_up(&term).await;
                // Why it ends is said there.
                let _ = self.serve_out(term).await;
            }
            Err(failure) => {
                self.explain(&failure);
                is_lasting = failure.is_lasting;
            }
        }
        // Who loses an election has failed in nothing.
        let is_failure = tenure.holds() && clock::now().since(since) < CAMPAIGN_SETTLED_AFTER;
        if !is_failure {
            *pause = Pause::default();
        }
        let wait = if is_lasting {
            jittered(CAMPAIGN_PAUSE_LASTING)
        } else {
            pause.next()
        };
        give_up.await;
        wait
    }

    fn explain(&self, failure: &Failure) {
        let Failure {
            problem,
            is_lasting,
        } = failure;
        let is_news = self.maker.standing.term_trouble(problem.clone());
        let (why, hint) = (problem.to_string(), problem.hint.as_str());
        if *is_lasting && is_news {
            tracing::error!(
                why,
                hint,
                "elected, but cannot lead; it is tried again now and then"
            );
        } else if *is_lasting {
            tracing::debug!(why, hint, "elected, but still cannot lead");
        } else {
            tracing::info!(
                why,
                hint,
                "elected, but could not begin a term; it is tried again"
            );
        }
    }
}

/// Does not lead for a while, though it stands. If it is elected meanwhile, others have their turn, or it goes on with
/// that office afterwards if there are no others.
async fn rest(election: &mut dyn Election, wait: Duration) -> Option<Office> {
    let candidates = election.candidates();
    let end = Instant::now() + wait;
    loop {
        let office = tokio::select! {
            () = sleep_until(end) => return None,
            office = election.elected() => office,
        };
        let is_alone = candidates.borrow().len() <= 1;
        let pass_on_at = Instant::now() + CAMPAIGN_PASS_ON_AFTER;
        if is_alone || pass_on_at >= end {
            sleep_until(end).await;
            return Some(office);
        }
        // If the others rest too, leadership goes round, but not as fast as it can.
        sleep_until(pass_on_at).await;
        office.give_up.await;
    }
}

/// Passes on what the election tells, and says in the log who leads while this master does not. The election says itself
/// what is wrong with it.
async fn hear(
    standing: &Standing,
    mut candidates: watch::Receiver<Vec<Leader>>,
    mut trouble: watch::Receiver<Option<Problem>>,
) {
    let mut status = standing.watch();
    let mut said: Option<Option<Leader>> = None;
    loop {
        standing.candidates(&candidates.borrow_and_update().clone());
        standing.election_trouble(trouble.borrow_and_update().clone());
        let now = status.borrow_and_update().clone();
        if now.reign.is_none() && said.as_ref() != Some(&now.leader) {
            let address = now.leader.as_ref().map(|leader| leader.address.as_str());
            tracing::info!(leader = address.unwrap_or("nobody"), "the master stands by");
        }
        said = Some(now.leader);
        // An election that has ended tells nothing more.
        tokio::select! {
            changed = candidates.changed() => if changed.is_err() { pending().await },
            changed = trouble.changed() => if changed.is_err() { pending().await },
            changed = status.changed() => if changed.is_err() { pending().await },
        }
    }
}

/// How long to wait after each round that came to nothing: longer and longer.
#[derive(Debug, Default)]
struct Pause(Duration);

impl Pause {
    fn next(&mut self) -> Duration {
        let next = (self.0 * 2).clamp(CAMPAIGN_PAUSE_MIN, CAMPAIGN_PAUSE_MAX);
        self.0 = next;
        jittered(next)
    }
}

/// Between half of it and all of it, so that masters that failed together do not try again together.
fn jittered(wait: Duration) -> Duration {
    let half_ms = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
    let more_ms = getrandom::u64().unwrap_or_default() % half_ms.saturating_add(1);
    Duration::from_millis(half_ms.saturating_add(more_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_are_never_twice_the_same() {
        let mut pause = Pause::default();
        let waits: Vec<Duration> = (0..20).map(|_| pause.next()).collect();
        assert!(waits[0] <= CAMPAIGN_PAUSE_MIN && waits[0] >= CAMPAIGN_PAUSE_MIN / 2);
        assert!(waits.iter().all(|wait| *wait <= CAMPAIGN_PAUSE_MAX));
        assert!(waits[19] >= CAMPAIGN_PAUSE_MAX / 2);
        let last: std::collections::BTreeSet<_> = waits[10..].iter().collect();
        assert!(last.len() > 1, "{waits:?}");
    }
}
