//! `Leadership.Watch`: who leads, on both listeners, through all terms.
//!
//! A watcher that reads slowly misses what is outdated, never what is so now.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use proffer_model::{Leader, Problem};
use proffer_proto::{encode_leader, status_of, v1};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::principal_of;
use crate::inbox::overloaded;
use crate::limits::WATCHES_MAX;
use crate::standing::{self, Standing};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct LeadershipService {
    standing: Arc<Standing>,
    places: Arc<Semaphore>,
}

impl LeadershipService {
    /// For the life of the process; clones share the limit.
    pub(crate) fn new(standing: Arc<Standing>) -> Self {
        let places = Arc::new(Semaphore::new(WATCHES_MAX));
        Self { standing, places }
    }
}

#[tonic::async_trait]
impl v1::leadership_server::Leadership for LeadershipService {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchLeadershipResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchLeadershipRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        authorize(&principal_of(&request)?, Action::Read, Object::Cluster).map_err(status_of)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let full = |_| -> Problem { overloaded("too many watch who leads") };
        let place = place.map_err(full).map_err(status_of)?;
        let mut last: Option<v1::WatchLeadershipResponse> = None;
        let changes = WatchStream::new(self.standing.watch()).filter_map(move |status| {
            let _place = &place;
            let answer = encode(status);
            // Not every change of the status is one of leadership.
            let is_news = last.as_ref() != Some(&answer);
            last = Some(answer.clone());
            std::future::ready(is_news.then_some(Ok(answer)))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

fn encode(status: standing::Status) -> v1::WatchLeadershipResponse {
    let (epoch, cluster_id) = status
        .reign
        .as_ref()
        .map_or_else(Default::default, |reign| {
            (reign.epoch.0, reign.cluster.to_string())
        });
    v1::WatchLeadershipResponse {
        is_leading: status.reign.is_some(),
        leader: status
            .leader
            .as_ref()
            .map(|leader: &Leader| encode_leader(leader)),
        epoch,
        cluster_id,
    }
}
