//! How a master comes to lead among several: what the campaign wants of an election, whatever holds it.

use futures::FutureExt;
use futures::future::BoxFuture;
use proffer_leader::{Contender, Lease, ZooKeeperUrl};
use proffer_model::{Leader, Problem};
use tokio::sync::watch;

use crate::config::Config;
use crate::running::Stand;
use crate::store::zookeeper::ZooKeeperStore;
use crate::store::{Store, StoreError, StoreUrl};

/// Opens the store; blocks. Once a term.
pub(crate) type OpenStore = Box<dyn FnOnce() -> Result<Box<dyn Store>, StoreError> + Send>;

/// An election that this master stands in.
pub(crate) trait Election: Send {
    /// Those who stand, the elected first.
    fn candidates(&self) -> watch::Receiver<Vec<Leader>>;

    /// What is wrong with it.
    fn trouble(&self) -> watch::Receiver<Option<Problem>>;

    /// Waits until this master is elected, again after each office it had.
    fn elected(&mut self) -> BoxFuture<'_, Office>;

    /// Stands no more, and waits until the others know.
    fn withdraw(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What the elected gets.
pub(crate) struct Office {
    /// The right to lead.
    pub(crate) lease: Lease,
    /// Opens the store in which the elected, and nobody else, writes.
    pub(crate) open: OpenStore,
    /// Gives leadership up, so that another is elected at once. Dropped, it does the same without waiting.
    pub(crate) give_up: BoxFuture<'static, ()>,
}

/// How to stand for the election that this configuration names; `None` if there is none, since nobody else has the store.
pub(crate) fn stand(config: &Config) -> Option<Stand> {
    let StoreUrl::ZooKeeper(url) = config.store.clone() else {
        return None;
    };
    let timeout = config.session_timeout;
    Some(Box::new(move |me| {
        let contender = Contender::start(url.clone(), me, timeout)?;
        Ok(Box::new(InZooKeeper { contender, url }))
    }))
}

/// The election through ZooKeeper, where the store is too.
struct InZooKeeper {
    contender: Contender,
    url: ZooKeeperUrl,
}

impl Election for InZooKeeper {
    fn candidates(&self) -> watch::Receiver<Vec<Leader>> {
        self.contender.standing()
    }

    fn trouble(&self) -> watch::Receiver<Option<Problem>> {
        self.contender.trouble()
    }

    fn elected(&mut self) -> BoxFuture<'_, Office> {
        async {
            let elected = self.contender.elected().await;
            let (session, url) = (elected.session.clone(), self.url.clone());
            Office {
                lease: elected.lease.clone(),
                open: Box::new(move || Ok(Box::new(ZooKeeperStore::open(session, &url)?))),
                give_up: async move { drop(elected) }.boxed(),
            }
        }
        .boxed()
    }

    fn withdraw(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.contender.withdraw().boxed()
    }
}
