//! An election that tests hold by hand, in which several masters of one process stand, with one store for all.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use proffer_leader::Lease;
use proffer_model::{Leader, Problem};
use tokio::sync::{mpsc, watch};

use super::peers::{Master, soon};
use crate::election::{Election, Office};
use crate::running::Stand;
use crate::store::memory::{Disk, MemoryStore};
use crate::store::{Store, StoreError};

/// The election.
pub(super) struct Stage {
    /// What all masters write to.
    pub(super) disk: Disk,
    directory: tempfile::TempDir,
    candidates: watch::Sender<Vec<Leader>>,
    trouble: watch::Sender<Option<Problem>>,
    /// Those who stand, in the order of their start.
    standing: Arc<Mutex<Vec<Candidate>>>,
    /// The lease of the last one that was elected, and how many offices were given up.
    lease: Mutex<Option<Lease>>,
    given_up: watch::Sender<u64>,
}

#[derive(Clone)]
struct Candidate {
    leader: Leader,
    offices: mpsc::Sender<Office>,
}

/// One master's end of it.
struct Booth {
    candidates: watch::Receiver<Vec<Leader>>,
    trouble: watch::Receiver<Option<Problem>>,
    offices: mpsc::Receiver<Office>,
}

impl Election for Booth {
    fn candidates(&self) -> watch::Receiver<Vec<Leader>> {
        self.candidates.clone()
    }

    fn trouble(&self) -> watch::Receiver<Option<Problem>> {
        self.trouble.clone()
    }

    fn elected(&mut self) -> BoxFuture<'_, Office> {
        async {
            match self.offices.recv().await {
                Some(office) => office,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn withdraw(self: Box<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

type Opened = Result<Box<dyn Store>, StoreError>;

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            disk: Disk::default(),
            directory: tempfile::tempdir().expect("a directory"),
            candidates: watch::Sender::default(),
            trouble: watch::Sender::default(),
            standing: Arc::default(),
            lease: Mutex::default(),
            given_up: watch::Sender::default(),
        }
    }

    /// Masters that stand; none leads.
    pub(super) async fn masters(&self, count: usize) -> Vec<Master> {
        let mut masters = Vec::new();
        for _ in 0..count {
            let token_file = self.directory.path().join("token");
            masters.push(Master::start_in(self.stand(), &token_file).await);
        }
        masters
    }

    fn stand(&self) -> Stand {
        let (candidates, trouble) = (self.candidates.subscribe(), self.trouble.subscribe());
        let standing = Arc::clone(&self.standing);
        Box::new(move |leader| {
            let (offer, offices) = mpsc::channel(10);
            let candidate = Candidate {
                leader,
                offices: offer,
            };
            standing.lock().expect("sound").push(candidate);
            Ok(Box::new(Booth {
                candidates,
                trouble,
                offices,
            }))
        })
    }

    /// Deposes who leads, elects the master that was started as this number, and waits until it leads.
    pub(super) async fn elect(&self, masters: &[Master], number: usize) {
        self.elect_with(number, Lease::forever(), self.store());
        masters[number].comes_to_lead().await;
    }

    /// The same without waiting, with this lease and a store that opens like this.
    pub(super) fn elect_with(
        &self,
        number: usize,
        lease: Lease,
        open: impl FnOnce() -> Opened + Send + 'static,
    ) {
        self.depose();
        let mut standing = self.standing.lock().expect("sound").clone();
        let elected = standing.remove(number);
        let mut order = vec![elected.leader];
        order.extend(standing.into_iter().map(|candidate| candidate.leader));
        self.candidates.send_replace(order);
        *self.lease.lock().expect("sound") = Some(lease.clone());
        let given_up = self.given_up.clone();
        let office = Office {
            lease,
            open: Box::new(open),
            give_up: async move { given_up.send_modify(|count| *count += 1) }.boxed(),
        };
        assert!(elected.offices.try_send(office).is_ok(), "it stands");
    }

    /// Deposes who leads; another leads that is none of the masters here.
    pub(super) fn elect_elsewhere(&self, leader: Leader) {
        self.depose();
        self.candidates.send_replace(vec![leader]);
    }

    /// Ends the leadership of whoever has it.
    pub(super) fn depose(&self) {
        self.candidates.send_replace(Vec::new());
        if let Some(lease) = self.lease.lock().expect("sound").take() {
            lease.lose();
        }
    }

    /// Waits until so many offices were given up in all.
    pub(super) async fn given_up(&self, count: u64) {
        let mut given_up = self.given_up.subscribe();
        soon(
            "the end of an office",
            given_up.wait_for(|now| *now >= count),
        )
        .await
        .expect("the stage stands");
    }

    /// Says that something is wrong with the election, or not any more.
    pub(super) fn trouble(&self, trouble: Option<Problem>) {
        self.trouble.send_replace(trouble);
    }

    /// Opens the store of all masters.
    pub(super) fn store(&self) -> impl FnOnce() -> Opened + Send + 'static {
        let disk = self.disk.clone();
        move || Ok(Box::new(MemoryStore::open(&disk)?))
    }
}
