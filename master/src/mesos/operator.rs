//! What Mesos's operators and their tools ask of the master: pages such as `/state`, and the calls of `/api/v1`.
//!
//! Pages and answers are written from snapshots of the view, on threads of their own, a few at a time: the core hears
//! nothing of them but of roles and of what is to be changed. Changes are what our own operators' calls are.

mod answers;
mod calls;
mod changes;
mod figures;
mod json;
mod master;
mod messages;
mod old;
mod pages;
mod resources;
mod seats;
mod seen;
mod shared;
mod state;
mod unread;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures::{Stream, stream};
use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::Reply;
use proffer_model::{Principal, Problem, code};
use proffer_proto::mesos::v1::master::call;
use proffer_server::auth::{Action, Object, authorize};
use proffer_server::mesos_http::{Media, refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub(crate) use master::MasterReign;
pub(super) use seen::{executor_of, executors_on, framework_info, ip_of, standing_of};

use super::http::to_another;
use super::identity::Identity;
use crate::attended::Attended;
use crate::background::Background;
use crate::inbox::{Ask, Inbox};
use crate::limits::{
    MESOS_ANSWER_UNREAD_MAX, MESOS_ANSWERS_BYTES_MAX, MESOS_LIGHT_LEN, MESOS_PAGES_AT_ONCE_MAX,
    MESOS_PIECE_LEN, MESOS_WATCHES_MAX,
};
use crate::standing::Standing;
use crate::view::{Snapshot, View};
use changes::{Change, Refusal, unknown_agent};
use master::Master;
use pages::Page;
use seats::Seats;
use shared::{Moment, Shared};
use unread::Unread;

/// What answers for one term.
#[derive(Debug)]
pub(crate) struct Desk {
    inbox: Inbox,
    view: View,
    identity: Identity,
    reign: MasterReign,
    /// For pages and answers that are being written.
    places: Arc<Semaphore>,
    /// Those that are the same for all who ask.
    shared: Shared<Common>,
    /// All of them until they are read.
    unread: Arc<Unread>,
    /// Where they are written.
    background: Background,
    /// For subscribers.
    watches: Seats,
}

/// A page or an answer that nothing was asked with: it is the same for all who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Common {
    Page(Page),
    Answer(call::Type, Media),
}

impl Desk {
    /// For one term.
    pub(crate) fn new(
        inbox: Inbox,
        view: View,
        identity: Identity,
        reign: MasterReign,
        background: Background,
    ) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            view,
            identity,
            reign,
            places: Arc::new(Semaphore::new(MESOS_PAGES_AT_ONCE_MAX)),
            shared: Shared::default(),
            unread: Arc::new(Unread::new(MESOS_ANSWERS_BYTES_MAX)),
            background,
            watches: Seats::new(MESOS_WATCHES_MAX),
        })
    }

    async fn master(&self) -> Arc<Master> {
        Arc::new(Master {
            info: self.identity.info().await,
            reign: self.reign.clone(),
        })
    }

    /// Everything as it is now.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, Refusal> {
        self.view
            .snapshot()
            .await
            .map_err(|problem| Refusal::of(&problem))
    }

    /// Writes something from a snapshot, away from what must not wait.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Snapshot, &Master) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = self.place().await?;
        self.write_at(place, write).await
    }

    /// Writes a page that is somebody's own.
    async fn write_own(
        &self,
        write: impl FnOnce(&Snapshot, &Master) -> Vec<u8> + Send + 'static,
    ) -> Result<Bytes, Refusal> {
        self.unread.hold(self.write(write).await?)
    }

    /// Writes something once for all who ask for it at about the same time, with how the roles stand if it needs that.
    async fn write_shared(
        self: &Arc<Self>,
        what: Common,
        needs_roles: bool,
        write: impl FnOnce(&Snapshot, &Master, &[RoleRow]) -> Vec<u8> + Send + 'static,
    ) -> Result<Bytes, Refusal> {
        let desk = Arc::clone(self);
        let written = self.shared.get(what, self.now(), |beginning| async move {
            let place = desk.place().await?;
            beginning.begin(desk.now());
            let rows = match needs_roles {
                true => desk.roles().await?,
                false => Vec::new(),
            };
            let write = move |snapshot: &Snapshot, master: &Master| write(snapshot, master, &rows);
            desk.unread.hold(desk.write_at(place, write).await?)
        });
        written.await.unwrap_or_else(|| Err(lost()))
    }

    fn now(&self) -> Moment {
        Moment {
            at: Instant::now(),
            changes: self.inbox.changes(),
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| lost())
    }

    async fn write_at<T: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        write: impl FnOnce(&Snapshot, &Master) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (snapshot, master) = (self.snapshot().await?, self.master().await);
        let written = self.background.run(move || {
            // Kept to the end of the work, though its caller may hang up before.
            let _place = place;
            write(&snapshot, &master)
        });
        written.await.ok_or_else(lost)
    }

    /// An answer of these, one after the other, which goes to its connection piece by piece.
    fn answer(&self, name: &'static str, parts: impl IntoIterator<Item = Bytes>) -> Response {
        let parts: VecDeque<Bytes> = parts.into_iter().collect();
        let len: usize = parts.iter().map(Bytes::len).sum();
        let named = [
            (header::CONTENT_TYPE, HeaderValue::from_static(name)),
            (header::CONTENT_LENGTH, HeaderValue::from(len)),
        ];
        let body = match len <= MESOS_LIGHT_LEN {
            true => Body::from(joined(parts)),
            false => Body::from_stream(attended(
                pieces(&self.background, parts),
                MESOS_ANSWER_UNREAD_MAX,
            )),
        };
        (named, body).into_response()
    }

    async fn roles(&self) -> Result<Vec<RoleRow>, Refusal> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = Ask::Roles {
                after,
                len: usize::MAX,
            };
            match self.inbox.ask(page).await {
                Ok(Reply::Roles { rows, next }) => {
                    all.extend(rows);
                    after = next;
                }
                Ok(_) => return Err(unexpected()),
                Err(problem) => return Err(Refusal::of(&problem)),
            }
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Does a change, one thing after the other; the first that is refused ends it.
    async fn make(&self, principal: &Principal, change: Change) -> Result<StatusCode, Refusal> {
        for call in change.calls {
            let (principal, unknown) = (principal.clone(), unknown_agent(&call));
            match self.inbox.ask(Ask::Operate { principal, call }).await {
                Ok(Reply::Done) => {}
                Ok(_) => return Err(unexpected()),
                Err(problem) => return Err(Refusal::of_call(&problem, unknown)),
            }
        }
        Ok(change.done)
    }
}

fn joined(parts: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_default();
    let rest: Vec<Bytes> = parts.collect();
    match rest.is_empty() {
        true => first,
        false => [&first[..], &rest.concat()].concat().into(),
    }
}

/// A long answer waits for a turn before each of its pieces where many are sent. Each is a copy: HTTP/2 keeps one that its peer
/// takes nothing of, which must not keep the whole answer.
fn pieces(
    background: &Background,
    parts: VecDeque<Bytes>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let next = |(background, mut parts): (Background, VecDeque<Bytes>)| async move {
        let mut part = parts.pop_front()?;
        let piece = part.split_to(MESOS_PIECE_LEN.min(part.len()));
        background.turn_to_send(piece.len()).await;
        let piece = Bytes::copy_from_slice(&piece);
        if !part.is_empty() {
            parts.push_front(part);
        }
        Some((Ok(piece), (background, parts)))
    };
    stream::unfold((background.clone(), parts), next)
}

/// Broken off when nothing of it is taken for so long: what nobody reads is not kept.
fn attended(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    unread_max: Duration,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let unread = io::Error::new(
        io::ErrorKind::TimedOut,
        "nothing of the answer was read for long",
    );
    Attended::new(pieces, unread_max, Err(unread))
}

fn lost() -> Refusal {
    Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        text: "The answer could not be written".to_owned(),
    }
}

fn unexpected() -> Refusal {
    let problem = Problem::new(
        code::INTERNAL,
        "the core gave another answer than was asked for",
    );
    Refusal::of(&problem)
}

/// Who calls, if they may.
fn caller(request: &Request, action: Action) -> Result<Principal, Refusal> {
    let principal = request.extensions().get::<Principal>().cloned();
    let missing = || Problem::new(code::AUTH_MISSING, "the call came without a principal");
    let allowed = principal
        .ok_or_else(missing)
        .and_then(|principal| authorize(&principal, action, Object::Cluster).map(|()| principal));
    allowed.map_err(|problem| Refusal::of(&problem))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        refusal(self.status, &self.text)
    }
}

/// What a master that leads answers.
pub(crate) fn operators(desk: &Arc<Desk>) -> Router {
    let mut router = Router::new();
    for (path, page) in Page::ALL {
        let desk = Arc::clone(desk);
        let answer = move |request: Request| {
            let desk = Arc::clone(&desk);
            async move { desk.page(page, request).await }
        };
        router = router
            .route(&format!("/{path}"), any(answer.clone()))
            .route(&format!("/master/{path}"), any(answer));
    }
    for path in CALLS {
        let desk = Arc::clone(desk);
        let answer = move |request: Request| {
            let desk = Arc::clone(&desk);
            async move { desk.call(request).await }
        };
        router = router.route(path, any(answer));
    }
    for path in old::PATHS {
        let desk = Arc::clone(desk);
        let answer = move |request: Request| {
            let desk = Arc::clone(&desk);
            async move { desk.old_call(path, request).await }
        };
        router = router
            .route(&format!("/{path}"), any(answer.clone()))
            .route(&format!("/master/{path}"), any(answer));
    }
    router
}

/// Where calls come to: any longer path is served by the nearest handler.
const CALLS: [&str; 4] = [
    "/api/v1",
    "/api/v1/{*rest}",
    "/master/api/v1",
    "/master/api/v1/{*rest}",
];

/// What a master that stands by answers: where the leader is, but for what is about the master that was asked.
pub(crate) fn operators_standby(standing: Arc<Standing>) -> Router {
    let mut router = Router::new();
    let pages = Page::ALL.into_iter();
    let of_leader = pages.filter(|(_, page)| !page.is_of_every_master());
    for path in of_leader.map(|(path, _)| path).chain(old::PATHS) {
        router = router
            .route(&format!("/{path}"), any(elsewhere))
            .route(&format!("/master/{path}"), any(elsewhere));
    }
    for path in CALLS {
        router = router.route(path, any(elsewhere));
    }
    for (path, page) in Page::ALL {
        if page.is_of_every_master() {
            let standing = Arc::clone(&standing);
            let answer = move |request: Request| {
                let answered = pages::standing_by(page, &standing, &request);
                async move { answered.unwrap_or_else(Refusal::into_response) }
            };
            router = router
                .route(&format!("/{path}"), any(answer.clone()))
                .route(&format!("/master/{path}"), any(answer));
        }
    }
    router.with_state(standing)
}

/// The same page of the leader, by the path that Mesos gives it.
async fn elsewhere(State(standing): State<Arc<Standing>>, request: Request) -> Response {
    let asked = request.uri().path_and_query();
    let path = asked.map_or("/", |path| path.as_str());
    match path.starts_with("/master/") {
        true => to_another(&standing, path),
        false => to_another(&standing, &format!("/master{path}")),
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_long_answer_of_which_nobody_reads_is_let_go_and_broken_off() {
        let background = Background::start().expect("threads");
        let unread = Unread::new(2 * MESOS_PIECE_LEN);
        let page = unread.hold(vec![b'x'; 2 * MESOS_PIECE_LEN]).expect("room");
        let pieces = pieces(&background, VecDeque::from([page]));
        let mut sent = Box::pin(attended(pieces, Duration::from_millis(100)));
        let first = sent.next().await.expect("a piece").expect("sent");
        assert_eq!(first.len(), MESOS_PIECE_LEN);
        let is_free = async {
            while unread.hold(vec![b'y'; MESOS_PIECE_LEN]).is_err() {
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, is_free)
            .await
            .expect("let go");
        let error = sent.next().await.expect("an end").expect_err("broken off");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(sent.next().await.is_none());
        drop(first);
    }

    #[tokio::test]
    async fn a_long_answer_goes_in_pieces_that_do_not_keep_it() {
        let background = Background::start().expect("threads");
        let page = Bytes::from(vec![b'x'; MESOS_PIECE_LEN + 1]);
        let (before, after) = (Bytes::from_static(b"f("), Bytes::from_static(b");"));
        let parts = VecDeque::from([before.clone(), page.clone(), after.clone()]);
        let sent: Vec<_> = pieces(&background, parts).collect().await;
        let sent: Vec<Bytes> = sent.into_iter().flatten().collect();
        let (first, rest) = page.split_at(MESOS_PIECE_LEN);
        assert_eq!(sent, [&before[..], first, rest, &after]);
        assert!(page.is_unique(), "nothing of it is kept");
        assert_eq!(joined([]), "");
        assert_eq!(joined([page.clone()]).as_ptr(), page.as_ptr());
        assert_eq!(joined([after.clone(), after]), "););");
    }
}
