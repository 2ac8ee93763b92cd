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
mod seen;
mod state;
mod watch;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::Reply;
use proffer_model::{Leader, Principal, Problem, code};
use proffer_server::auth::{Action, Object, authorize};
use proffer_server::mesos_http::refusal;
use tokio::sync::{OnceCell, Semaphore};

pub(crate) use master::MasterReign;
pub(super) use seen::ip_of;

use super::http::{master_info, to_leader};
use crate::inbox::{Ask, Inbox};
use crate::limits::{MESOS_PAGES_AT_ONCE_MAX, MESOS_WATCHES_MAX};
use crate::standing::Standing;
use crate::view::{Snapshot, View};
use changes::{Change, Refusal};
use master::Master;
use pages::Page;

/// What answers for one term.
#[derive(Debug)]
pub(crate) struct Desk {
    inbox: Inbox,
    view: View,
    me: Leader,
    reign: MasterReign,
    /// With its address, which is looked up once.
    master: OnceCell<Arc<Master>>,
    /// For pages and answers that are being written.
    places: Arc<Semaphore>,
    /// For subscribers.
    watches: Arc<Semaphore>,
}

impl Desk {
    /// For one term.
    pub(crate) fn new(inbox: Inbox, view: View, me: Leader, reign: MasterReign) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            view,
            me,
            reign,
            master: OnceCell::new(),
            places: Arc::new(Semaphore::new(MESOS_PAGES_AT_ONCE_MAX)),
            watches: Arc::new(Semaphore::new(MESOS_WATCHES_MAX)),
        })
    }

    async fn master(&self) -> Arc<Master> {
        let look_up = async || {
            Arc::new(Master {
                info: master_info(&self.me).await,
                reign: self.reign.clone(),
            })
        };
        Arc::clone(self.master.get_or_init(look_up).await)
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
        let lost = || Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            text: "The answer could not be written".to_owned(),
        };
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| lost())?;
        let (snapshot, master) = (self.snapshot().await?, self.master().await);
        let written = tokio::task::spawn_blocking(move || {
            // Kept to the end of the work, though its caller may hang up before.
            let _place = place;
            write(&snapshot, &master)
        });
        written.await.map_err(|_| lost())
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
            let principal = principal.clone();
            match self.inbox.ask(Ask::Operate { principal, call }).await {
                Ok(Reply::Done) => {}
                Ok(_) => return Err(unexpected()),
                Err(problem) => return Err(Refusal::of(&problem)),
            }
        }
        Ok(change.done)
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
        true => to_leader(&standing, path),
        false => to_leader(&standing, &format!("/master{path}")),
    }
}
