//! `POST /api/v1/executor`: who may call, and what each call comes to.
//!
//! An executor shows the token of its environment. Many know no tokens, so a call without one is taken too when the
//! kernel says that a process of that executor makes it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use proffer_agent_core::Event as CoreEvent;
use proffer_proto::mesos::v1::TaskStatus;
use proffer_proto::mesos::v1::executor::{Call, call};
use proffer_server::http::{Connection, Ends};
use proffer_server::mesos_http::{
    self, Called, Media, acceptable, accepted, bad_request, refusal, unavailable,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::door::{Door, Failure, Live};
use super::stream::Stream;
use super::translator::{Checked, Update, check, too_long};
use super::{Mesos, peer};
use crate::executors::Subscriber;
use crate::limits::{
    EXECUTOR_EVENTS_MAX, MESOS_ANSWERS_MAX, MESOS_EARLY_RETRY_AFTER, MESOS_RECORDS_MAX,
};

/// Where executors call.
pub(crate) const PATHS: [&str; 2] = ["/api/v1/executor", "/slave(1)/api/v1/executor"];

pub(super) fn router(mesos: Mesos) -> Router {
    let [short, long] = PATHS;
    Router::new()
        .route(short, any(answer))
        .route(long, any(answer))
        .with_state(mesos)
}

async fn answer(State(mesos): State<Mesos>, request: Request) -> Response {
    let answered = match mesos_http::read::<Call>(request).await {
        Ok(called) => mesos.call(called).await,
        Err(refused) => Err(refused),
    };
    answered.unwrap_or_else(|refused| refused)
}

impl Mesos {
    /// The error is an answer too.
    async fn call(&self, called: Called<Call>) -> Result<Response, Response> {
        let Called { call, wanted, head } = called;
        let (framework, executor) = (
            call.framework_id.value.clone(),
            call.executor_id.value.clone(),
        );
        let checked = check(call)
            .map_err(|text| bad_request(&format!("Failed to validate Executor::Call: {text}")))?;
        if checked == Checked::Heartbeat {
            // Whose it is does not matter: Mesos's own library sends it with ids that are none.
            return Ok(accepted());
        }
        let media = match checked {
            Checked::Subscribe(_) => acceptable(wanted)?,
            _ => Media::Json,
        };
        let door = self.find(&framework, &executor).map_err(bad_request)?;
        self.authenticate(&head, &door).await?;
        if let Some(connection) = head.extensions.get::<Arc<Connection>>() {
            connection.recognize();
        }
        // On its own, so that it is done whole though the caller goes away: a number that is given to a status and never
        // reaches the core would be taken for heard when later ones are.
        let mesos = self.clone();
        let making = async move { mesos.make(door, checked, media).await };
        let Ok(made) = self.shared.tasks.spawn(making).await else {
            let text = "The agent has failed";
            return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, text));
        };
        made
    }

    async fn make(
        &self,
        door: Arc<Door>,
        checked: Checked,
        media: Media,
    ) -> Result<Response, Response> {
        match checked {
            Checked::Subscribe(subscribe) => self.subscribe(door, subscribe, media).await,
            Checked::Update(status) => self.update(door, *status).await,
            Checked::Message(data) => {
                // Behind the subscription that it belongs to.
                let _order = door.order.lock().await;
                let Live { session, .. } = door.stream().ok_or_else(not_subscribed)?;
                let run = door.run;
                let message = CoreEvent::ExecutorMessage { run, session, data };
                self.shared.inbox.send(message).await;
                Ok(accepted())
            }
            Checked::Heartbeat => Ok(accepted()),
        }
    }

    async fn authenticate(&self, head: &Parts, door: &Arc<Door>) -> Result<(), Response> {
        if let Some(value) = head.headers.get(header::AUTHORIZATION) {
            let text = value.to_str().unwrap_or_default();
            let token = text
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            return match token {
                Some((_, token)) if door.token.matches(token.trim()) => Ok(()),
                _ => Err(unauthorized("The token is not this executor's")),
            };
        }
        let Some(Ends { local, peer }) = head.extensions.get::<Ends>().copied() else {
            return Err(unauthorized("The call has no token"));
        };
        if self.shared.is_open && peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let of_run = door.clone();
        let look = tokio::task::spawn_blocking(move || {
            let (dir, callers) = (&of_run.dir, &of_run.callers);
            peer::is_of_run(dir, callers, local, peer)
        });
        match look.await {
            Ok(true) => Ok(()),
            _ => Err(unauthorized(
                "The call has no token, and no process of this executor makes it",
            )),
        }
    }

    async fn subscribe(
        &self,
        door: Arc<Door>,
        subscribe: call::Subscribe,
        media: Media,
    ) -> Result<Response, Response> {
        let order = door.order.clone().lock_owned().await;
        let beginning = {
            let door = door.clone();
            blocking(move || door.subscribe(subscribe)).await?
        };
        let inbox = &self.shared.inbox;
        let (run, session) = (door.run, inbox.next_session());
        let (events, receiver) = mpsc::channel(EXECUTOR_EVENTS_MAX);
        let (answers, answered) = mpsc::channel(MESOS_ANSWERS_MAX);
        for answer in beginning.answers {
            // What there is no room for is asked again.
            let _ = answers.try_send(answer);
        }
        let close = door.ended.child_token();
        let subscriber = Subscriber::new(events, close.clone());
        let subscribed = CoreEvent::ExecutorSubscribed {
            run,
            session,
            subscription: beginning.subscription,
        };
        let (records, body) = mpsc::channel(MESOS_RECORDS_MAX);
        door.begin(Live { session, answers });
        let stream = Stream {
            session,
            door: door.clone(),
            mesos: self.clone(),
            media,
            events: receiver,
            answers: answered,
            records,
            close,
        };
        // On its own, so that it has an end even when the caller goes away now.
        let running = stream.run(subscriber, subscribed, order);
        self.shared.tasks.spawn(running);
        Ok(media.stream(ReceiverStream::new(body)))
    }

    async fn update(&self, door: Arc<Door>, status: TaskStatus) -> Result<Response, Response> {
        let _order = door.order.lock().await;
        let Live { session, answers } = door.stream().ok_or_else(not_subscribed)?;
        let update = {
            let door = door.clone();
            blocking(move || door.update(status)).await?
        };
        match update {
            Update::Known(status, _) => {
                let run = door.run;
                let refusal = too_long(&status.data);
                let said = CoreEvent::ExecutorSaid {
                    run,
                    session,
                    status,
                };
                self.shared.inbox.send(said).await;
                if let Some(text) = refusal {
                    return Err(bad_request(&text));
                }
            }
            Update::Forgotten(acknowledged) => {
                tracing::debug!(run = %door.run, "a Mesos executor speaks of a task that is not its");
                let _ = answers.try_send(*acknowledged);
            }
        }
        Ok(accepted())
    }
}

/// Off the runtime: it writes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Response> {
    let failed = |why: &dyn std::fmt::Display| {
        tracing::error!(%why, "a Mesos executor's call cannot be kept");
        refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "The agent cannot keep the call",
        )
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(|error| failed(&error))? {
        Ok(done) => Ok(done),
        Err(Failure::Refused(text)) => Err(bad_request(&text)),
        Err(Failure::Early(text)) => Err(unavailable(&text, MESOS_EARLY_RETRY_AFTER)),
        Err(Failure::Ledger(error)) => Err(failed(&error)),
    }
}

fn not_subscribed() -> Response {
    refusal(StatusCode::FORBIDDEN, "Executor is not subscribed")
}

fn unauthorized(text: &str) -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, text);
    let realm = HeaderValue::from_static("Bearer realm=\"mesos-agent-executor\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, realm);
    response
}
