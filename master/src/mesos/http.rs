//! `POST /api/v1/scheduler`: which call it is, whether it may be made, and what Mesos would answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures::StreamExt;
use proffer_master_core::effect::FrameworkRow;
use proffer_model::limits::EXECUTOR_MESSAGE_LEN_MAX;
use proffer_model::{AgentId, FrameworkId, Principal, Problem};
use proffer_proto::mesos::AgentStanding;
use proffer_proto::mesos::v1::scheduler::{Call, Event, call};
use proffer_proto::mesos::v1::{self, FrameworkInfo};
use proffer_server::auth::{Action, Object, SaidName, authorize};
use proffer_server::mesos_http::{
    Called, Media, STREAM_ID, acceptable, accepted, bad_request, read, refusal,
};
use proffer_server::mesos_logging;
use prost::Message;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::addresses::Addresses;
use super::events;
use super::identity::Identity;
use super::intent::Intent;
use super::judging::judged;
use super::libprocess;
use super::losses::Losses;
use super::operator::{framework_info, standing_of};
use super::pace::{Pace, Rates};
use super::registry::{Asked, Caller, Found, Line, Owner, Registry, check_said};
use super::stream::Stream;
use super::subscription::Subscription;
use crate::background::Background;
use crate::inbox::Inbox;
use crate::limits::{
    MESOS_ADDRESSES_WAIT, MESOS_CALLS_MAX, MESOS_EVENTS_MAX, SESSION_CALLS_MAX, SESSIONS_MAX,
};
use crate::standing::Standing;
use crate::view::View;

/// Where the API is served; what comes after it in the path does not matter.
const PATHS: [&str; 4] = [
    "/api/v1/scheduler",
    "/api/v1/scheduler/{*rest}",
    "/master/api/v1/scheduler",
    "/master/api/v1/scheduler/{*rest}",
];

/// The version of Mesos whose API this is.
pub(super) const VERSION: &str = proffer_leader::MESOS_VERSION;
/// When this was built is nobody's business: the same sources are the same program.
pub(super) const BUILD_DATE: &str = "1970-01-01 00:00:00";

/// What serves the API in a term.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    inbox: Inbox,
    identity: Identity,
    registry: Registry,
    places: Arc<Semaphore>,
    view: View,
    losses: Losses,
    addresses: Addresses,
    rates: Rates,
    background: Background,
}

impl Endpoint {
    /// Of this master, in the term of this inbox.
    pub(crate) fn new(
        inbox: Inbox,
        view: View,
        identity: Identity,
        rates: Rates,
        registry: Registry,
        background: Background,
    ) -> Self {
        Self {
            losses: Losses::new(view.clone(), inbox.tenure.clone()),
            addresses: Addresses::new(view.clone()),
            inbox,
            identity,
            registry,
            places: Arc::new(Semaphore::new(SESSIONS_MAX)),
            view,
            rates,
            background,
        }
    }

    /// Its routes.
    pub(crate) fn router(self) -> Router {
        let mut router = Router::new();
        for path in PATHS {
            router = router.route(path, any(scheduler));
        }
        router.with_state(Arc::new(self))
    }

    async fn subscribe(
        &self,
        caller: Caller,
        call: Call,
        wanted: Option<Media>,
        headers: &HeaderMap,
    ) -> Response {
        let (principal, name) = (caller.principal, caller.said);
        let media = match subscription_media(&call, name.as_ref(), wanted, headers) {
            Ok(media) => media,
            Err(refused) => return refused,
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many frameworks are subscribed",
            );
        };
        let stream_id = match stream_id() {
            Ok(id) => id,
            Err(text) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &text),
        };
        let framework = text_of(call.framework_id.as_ref());
        let framework = framework.map(FrameworkId::new).transpose();
        let subscribe = call.subscribe.unwrap_or_default();
        let limits = judged(subscribe.offer_constraints, &principal, &self.background).await;
        let suppressed = &subscribe.suppressed_roles;
        let mut info = subscribe.framework_info;
        info.principal = info.principal.or(name.map(|name| name.0));
        let id = framework.as_ref().ok().and_then(Option::as_ref);
        let info = match self.renewed(id, info).await {
            Ok(info) => info,
            Err(problem) => return refusal(StatusCode::SERVICE_UNAVAILABLE, &problem.message),
        };
        let intent = info.and_then(|info| Intent::of(info, principal.clone()));
        let intent = intent.and_then(|intent| intent.limited(suppressed, limits));
        let master = self.identity.info().await;
        let begun = intent.and_then(|intent| {
            let framework = framework.map_err(|problem| problem.message)?;
            Subscription::begin(intent, master, framework)
        });
        let (events, told) = mpsc::channel(MESOS_EVENTS_MAX);
        match begun {
            Ok((subscription, first)) => {
                let (caller, calls) = mpsc::channel(MESOS_CALLS_MAX);
                let owner = Owner::of(&principal, &subscription.intent.info);
                let stream = Stream {
                    subscription,
                    inbox: self.inbox.clone(),
                    principal,
                    registry: self.registry.clone(),
                    id: stream_id.clone(),
                    losses: self.losses.follow(),
                    addresses: self.addresses.clone(),
                    pace: Pace::new(self.rates),
                    calls_at_once: self.rates.at_once(SESSION_CALLS_MAX),
                    events,
                    calls,
                    caller: Line::new(caller, self.inbox.waiting(), owner),
                    _place: place,
                };
                tokio::spawn(stream.run(first));
            }
            // The stream has this one event.
            Err(text) => drop(events.try_send(events::error(&text))),
        }
        opened(media, told, &stream_id)
    }

    /// What a framework says of itself, with what may not change as it is known; or Mesos's text.
    async fn renewed(
        &self,
        framework: Option<&FrameworkId>,
        info: FrameworkInfo,
    ) -> Result<Result<FrameworkInfo, String>, Problem> {
        let Some(framework) = framework else {
            return Ok(Ok(info));
        };
        let known = self.known(framework).await?;
        let known = known.filter(|row| row.description.mesos.is_some());
        Ok(match known {
            Some(row) => Intent::renewed(info, &framework_info(&row)),
            None => Ok(info),
        })
    }

    /// A call of a framework that is subscribed on another connection.
    async fn pass_on(
        &self,
        caller: &Caller,
        mut call: Call,
        wanted: Option<Media>,
        headers: &HeaderMap,
    ) -> Response {
        let Some(framework) = &call.framework_id else {
            return invalid("Expecting 'framework_id' to be present");
        };
        if let Err(text) = check_parts(&call) {
            return invalid(text);
        }
        // Of this call Mesos asks it too, though it says no more than others.
        if call.r#type() == call::Type::ReconcileOperations
            && let Err(refused) = acceptable(wanted)
        {
            return refused;
        }
        let principal = caller.principal.clone();
        let (stream, line) = match self.find(caller, &framework.value).await {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let Some(given) = headers.get(STREAM_ID) else {
            let text = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
            return bad_request(text);
        };
        if given.as_bytes() != stream.as_bytes() {
            let given = String::from_utf8_lossy(given.as_bytes());
            return bad_request(&format!(
                "The stream ID '{given}' included in this request didn't match the stream ID currently \
                 associated with framework ID {}",
                framework.value
            ));
        }
        let load = match line.waiting.take(call.encoded_len()) {
            Ok(load) => load,
            Err(problem) => return refusal(StatusCode::SERVICE_UNAVAILABLE, &problem.message),
        };
        let agents = self.agents_of(&call).await;
        let (answer, answered) = match call.r#type() == call::Type::UpdateFramework {
            true => {
                let (answer, answered) = oneshot::channel();
                (Some(answer), Some(answered))
            }
            false => (None, None),
        };
        let update = call.update_framework.as_mut();
        let limits = update.and_then(|update| update.offer_constraints.take());
        let asked = Asked {
            agents,
            load,
            limits: judged(limits, &principal, &self.background).await,
            ..Asked::new(call, answer)
        };
        if line.calls.send(asked).await.is_err() {
            return not_subscribed();
        }
        match answered {
            None => accepted(),
            Some(answered) => match answered.await {
                Ok(Ok(())) => StatusCode::OK.into_response(),
                Ok(Err(text)) => bad_request(&text),
                Err(_) => not_subscribed(),
            },
        }
    }
}

impl Endpoint {
    /// Those of the agents that a call names that there are: of a task or an operation that nobody knows it counts how its
    /// agent stands. While that cannot be looked up soon, there is none: no call waits long for it.
    async fn agents_of(&self, call: &Call) -> BTreeMap<AgentId, AgentStanding> {
        let operations = call.reconcile_operations.iter();
        let operations = operations.flat_map(|it| &it.operations);
        let tasks = call.reconcile.iter().flat_map(|it| &it.tasks);
        let named = operations.map(|one| &one.agent_id);
        let named = named.chain(tasks.map(|task| &task.agent_id));
        let named = named.chain(call.kill.iter().map(|kill| &kill.agent_id));
        let named = named.flatten().filter_map(|id| id.value.parse().ok());
        let named: BTreeSet<AgentId> = named.collect();
        if named.is_empty() {
            return BTreeMap::new();
        }
        let snapshot = timeout(MESOS_ADDRESSES_WAIT, self.view.snapshot()).await;
        let Ok(Ok(snapshot)) = snapshot else {
            return BTreeMap::new();
        };
        let found = named.into_iter().filter_map(|agent| {
            let standing = standing_of(&snapshot, &agent)?;
            Some((agent, standing))
        });
        found.collect()
    }

    /// The stream of a framework, for its owner; why not else.
    #[allow(
        clippy::result_large_err,
        reason = "a refusal is the answer itself, made once for its request"
    )]
    async fn find(&self, caller: &Caller, framework: &str) -> Result<(String, Line), Response> {
        let (owner, found) = match self.registry.find(framework) {
            Found::Subscribed(stream, line) => (line.owner.clone(), Some((stream, line))),
            Found::Disconnected(owner) => (owner, None),
            Found::Unknown => match self.owner_of(framework).await {
                Ok(Some(owner)) => (owner, None),
                Ok(None) => return Err(bad_request("Framework cannot be found")),
                // A framework that is told that it is unknown gives up.
                Err(problem) => {
                    let text = &problem.message;
                    return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, text));
                }
            },
        };
        owner.check(caller).map_err(|text| bad_request(&text))?;
        found.ok_or_else(not_subscribed)
    }

    /// Whose a framework is, though nobody has subscribed as it in this term; none if there is no such framework.
    async fn owner_of(&self, framework: &str) -> Result<Option<Owner>, Problem> {
        let Ok(framework) = FrameworkId::new(framework) else {
            return Ok(None);
        };
        let row = self.known(&framework).await?;
        Ok(row.map(|row| Owner::of(&row.principal, &framework_info(&row))))
    }

    /// What is known of a framework.
    async fn known(&self, framework: &FrameworkId) -> Result<Option<Arc<FrameworkRow>>, Problem> {
        let snapshot = self.view.snapshot().await?;
        Ok(snapshot.frameworks.get(framework).cloned())
    }
}

/// What a subscription is answered in, if its call is one.
#[allow(
    clippy::result_large_err,
    reason = "a refusal is the answer itself, made once for its request"
)]
fn subscription_media(
    call: &Call,
    name: Option<&SaidName>,
    wanted: Option<Media>,
    headers: &HeaderMap,
) -> Result<Media, Response> {
    check_subscription(call, name).map_err(|text| invalid(&text))?;
    let media = acceptable(wanted)?;
    match headers.contains_key(STREAM_ID) {
        true => {
            let text = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
            Err(bad_request(text))
        }
        false => Ok(media),
    }
}

/// [`STREAM_ID`] as a header of an answer.
const STREAM_ID_LOWER: &str = "mesos-stream-id";

async fn scheduler(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        return refusal(
            StatusCode::UNAUTHORIZED,
            "The call came without a principal",
        );
    };
    let object = Object::Framework(None);
    if let Err(problem) = authorize(&principal, Action::RunFramework, object) {
        return refusal(StatusCode::FORBIDDEN, &problem.message);
    }
    let Called { call, wanted, head } = match read::<Call>(request).await {
        Ok(called) => called,
        Err(refused) => return refused,
    };
    let said = head.extensions.get::<SaidName>().cloned();
    let caller = Caller { principal, said };
    let headers = &head.headers;
    match call.r#type() {
        call::Type::Unknown => invalid("Expecting 'type' to be present"),
        call::Type::Subscribe => endpoint.subscribe(caller, call, wanted, headers).await,
        _ => endpoint.pass_on(&caller, call, wanted, headers).await,
    }
}

/// The answer to a subscription: what is told, a record each.
fn opened(media: Media, told: mpsc::Receiver<Event>, stream_id: &str) -> Response {
    let records = ReceiverStream::new(told).map(move |event| media.record(&event));
    let mut response = media.stream(records);
    if let Ok(id) = HeaderValue::from_str(stream_id) {
        response.headers_mut().insert(STREAM_ID_LOWER, id);
    }
    response
}

/// An empty id is none.
fn text_of(id: Option<&v1::FrameworkId>) -> Option<&str> {
    id.map(|id| id.value.as_str()).filter(|id| !id.is_empty())
}

/// Whether a subscription says what it has to, and of itself what its caller is.
fn check_subscription(call: &Call, said: Option<&SaidName>) -> Result<(), String> {
    let subscribe = call.subscribe.as_ref();
    let subscribe = subscribe.ok_or("Expecting 'subscribe' to be present")?;
    let info = &subscribe.framework_info;
    if text_of(info.id.as_ref()) != text_of(call.framework_id.as_ref()) {
        return Err("'framework_id' differs from 'subscribe.framework_info.id'".to_owned());
    }
    check_said(said, info.principal.as_deref())
}

fn not_subscribed() -> Response {
    refusal(StatusCode::FORBIDDEN, "Framework is not subscribed")
}

fn invalid(why: &str) -> Response {
    bad_request(&format!("Failed to validate scheduler::Call: {why}"))
}

/// Whether a call has the part that its type needs.
fn check_parts(call: &Call) -> Result<(), &'static str> {
    use call::Type;
    let (is_there, text) = match call.r#type() {
        Type::Accept => (call.accept.is_some(), "Expecting 'accept' to be present"),
        Type::Decline => (call.decline.is_some(), "Expecting 'decline' to be present"),
        Type::AcceptInverseOffers => (
            call.accept_inverse_offers.is_some(),
            "Expecting 'accept_inverse_offers' to be present",
        ),
        Type::DeclineInverseOffers => (
            call.decline_inverse_offers.is_some(),
            "Expecting 'decline_inverse_offers' to be present",
        ),
        Type::Kill => (call.kill.is_some(), "Expecting 'kill' to be present"),
        Type::Shutdown => (
            call.shutdown.is_some(),
            "Expecting 'shutdown' to be present",
        ),
        Type::Acknowledge => match &call.acknowledge {
            None => (false, "Expecting 'acknowledge' to be present"),
            Some(acknowledge) => (acknowledge.uuid.len() == 16, "Not a valid UUID"),
        },
        Type::AcknowledgeOperationStatus => match &call.acknowledge_operation_status {
            None => (
                false,
                "Expecting 'acknowledge_operation_status' to be present",
            ),
            Some(acknowledge) if acknowledge.uuid.len() != 16 => (false, "Not a valid UUID"),
            Some(acknowledge) => (
                acknowledge.agent_id.is_some(),
                "Expecting 'agent_id' to be present",
            ),
        },
        Type::Reconcile => (
            call.reconcile.is_some(),
            "Expecting 'reconcile' to be present",
        ),
        Type::ReconcileOperations => (
            call.reconcile_operations.is_some(),
            "Expecting 'reconcile_operations' to be present",
        ),
        Type::Message => match &call.message {
            None => (false, "Expecting 'message' to be present"),
            Some(message) => (
                message.data.len() <= EXECUTOR_MESSAGE_LEN_MAX,
                "'message.data' is longer than 64 KiB",
            ),
        },
        Type::Request => (call.request.is_some(), "Expecting 'request' to be present"),
        Type::UpdateFramework => match &call.update_framework {
            None => (false, "Expecting 'update_framework' to be present"),
            Some(update) => (
                update.framework_info.id == call.framework_id,
                "'framework_id' differs from 'update_framework.framework_info.id'",
            ),
        },
        Type::Teardown | Type::Revive | Type::Suppress | Type::Subscribe | Type::Unknown => {
            (true, "")
        }
    };
    if is_there { Ok(()) } else { Err(text) }
}

/// A random id, of version 4.
fn stream_id() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("no random bytes: {error}"))?;
    let id = u128::from_be_bytes(bytes);
    let hex = format!(
        "{:032x}",
        id & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62)
    );
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    Ok(parts.join("-"))
}

/// What a master that stands by answers: where the leader is.
pub(crate) fn standby(standing: Arc<Standing>) -> Router {
    let mut router = Router::new();
    for path in PATHS {
        router = router.route(path, any(elsewhere));
    }
    router.with_state(standing)
}

/// What every master answers: who leads, and which version this is.
pub(crate) fn everywhere(standing: Arc<Standing>) -> Router {
    Router::new()
        .route("/redirect", any(redirect))
        .route("/master/redirect", any(redirect))
        .route("/master/health", any(health))
        .route("/version", any(version))
        .route("/master/version", any(version))
        .route(mesos_logging::PATH, any(mesos_logging::toggle))
        .with_state(standing)
        .merge(libprocess::router())
}

async fn elsewhere(State(standing): State<Arc<Standing>>) -> Response {
    to_another(&standing, "/master/api/v1/scheduler")
}

async fn redirect(State(standing): State<Arc<Standing>>) -> Response {
    to_leader(&standing, "")
}

/// That it answers is the answer.
async fn health() -> StatusCode {
    StatusCode::OK
}

async fn version(State(standing): State<Arc<Standing>>) -> Response {
    let page = json!({
        "version": VERSION,
        "build_date": BUILD_DATE,
        "build_time": 0.0,
        "build_user": "",
        "proffer_version": standing.me().version,
    });
    let named = [(header::CONTENT_TYPE, Media::Json.name())];
    (named, page.to_string()).into_response()
}

/// Where the leader is, if it is another master than this one, which has no term at this moment.
pub(super) fn to_another(standing: &Standing, path: &str) -> Response {
    let leader = standing.now().leader;
    match leader.is_some_and(|leader| leader.id == standing.me().id) {
        true => nobody(standing),
        false => to_leader(standing, path),
    }
}

fn nobody(standing: &Standing) -> Response {
    let text = match standing.is_recovering() {
        true => "Master has not finished recovery",
        false => "No leader elected",
    };
    refusal(StatusCode::SERVICE_UNAVAILABLE, text)
}

fn to_leader(standing: &Standing, path: &str) -> Response {
    let Some(leader) = standing.now().leader else {
        return nobody(standing);
    };
    let location = HeaderValue::from_str(&format!("//{}{path}", leader.address));
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use proffer_model::{Epoch, Leader};

    use super::*;
    use crate::inbox::{Lanes, lanes};
    use crate::limits::SESSION_CALLS_BYTES_MAX;
    use crate::metrics::ClusterMetrics;
    use crate::standing::Reign;
    use crate::standing::tests::master;
    use crate::tenure::Tenure;
    use crate::view;

    #[tokio::test]
    async fn no_kill_waits_long_for_what_is_known_of_its_agent() {
        // Nothing was told to this view yet: it answers nobody.
        let (view, feed) = view::start(ClusterMetrics::default()).expect("a view");
        let (mut endpoint, _lanes) = endpoint();
        endpoint.view = view;
        let kill = Call {
            kill: Some(call::Kill {
                agent_id: Some(v1::AgentId {
                    value: "a".to_owned(),
                }),
                ..call::Kill::default()
            }),
            ..Call::default()
        };
        let waited = timeout(
            crate::limits::REQUEST_TIMEOUT / 2,
            endpoint.agents_of(&kill),
        );
        assert!(waited.await.expect("soon").is_empty());
        feed.finish();
    }

    #[tokio::test]
    async fn a_master_without_a_term_says_whether_it_begins_one_and_sends_nobody_to_itself() {
        let standing = Standing::new(master("a"));
        let answered = async |expected: &str| {
            let answer = to_another(&standing, "/master/state");
            let status = answer.status();
            let location = answer.headers().get(header::LOCATION).cloned();
            let body = axum::body::to_bytes(answer.into_body(), 100).await;
            let said = match location {
                Some(location) => location.as_bytes().to_vec(),
                None => body.expect("short").to_vec(),
            };
            let text = String::from_utf8(said).expect("text");
            assert_eq!(text, expected);
            status
        };
        assert_eq!(answered("No leader elected").await, 503);
        standing.candidates(&[master("b"), master("a")]);
        assert_eq!(answered("//b:5050/master/state").await, 307);
        standing.candidates(&[master("a")]);
        assert_eq!(answered("Master has not finished recovery").await, 503);
        standing.leads(Reign {
            cluster: "c".parse().expect("an id"),
            epoch: Epoch(1),
        });
        assert_eq!(
            answered("No leader elected").await,
            503,
            "its lease is over"
        );
    }

    fn endpoint() -> (Endpoint, Lanes) {
        let (inbox, lanes) = lanes(Tenure::forever());
        let (view, feed) = view::start(ClusterMetrics::default()).expect("a view");
        feed.finish();
        let me = Leader {
            id: "m".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            cluster_address: "127.0.0.1:2".to_owned(),
            version: "1".to_owned(),
        };
        let rates = Rates {
            calls: 1,
            operations: 1,
        };
        let (identity, registry) = (Identity::new(me), Registry::default());
        let background = Background::start().expect("threads");
        let endpoint = Endpoint::new(inbox, view, identity, rates, registry, background);
        (endpoint, lanes)
    }

    fn spoken(kind: call::Type) -> Call {
        Call {
            r#type: Some(kind.into()),
            framework_id: Some(v1::FrameworkId {
                value: "f".to_owned(),
            }),
            ..Call::default()
        }
    }

    #[tokio::test]
    async fn a_framework_that_cannot_be_looked_up_is_not_said_to_be_unknown() {
        let (endpoint, _lanes) = endpoint();
        let call = spoken(call::Type::Revive);
        let caller = caller("local", None);
        let answer = endpoint
            .pass_on(&caller, call, None, &HeaderMap::new())
            .await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    fn caller(principal: &str, said: Option<&str>) -> Caller {
        Caller {
            principal: Principal::new(principal).expect("a name"),
            said: said.map(|said| SaidName(said.to_owned())),
        }
    }

    #[tokio::test]
    async fn nobody_calls_for_a_framework_that_is_anothers() {
        let (endpoint, _lanes) = endpoint();
        let info = v1::FrameworkInfo {
            principal: Some("web".to_owned()),
            ..v1::FrameworkInfo::default()
        };
        let own = caller("local", Some("web"));
        let (calls, mut asked) = mpsc::channel(MESOS_CALLS_MAX);
        let owner = Owner::of(&own.principal, &info);
        let line = Line::new(calls, endpoint.inbox.waiting(), owner);
        let generation = proffer_model::Generation(1);
        endpoint.registry.enter("f", "s", generation, line);
        let headers = HeaderMap::from_iter([(
            STREAM_ID.parse().expect("a name"),
            HeaderValue::from_static("s"),
        )]);
        let call = async |caller: &Caller| {
            let call = spoken(call::Type::Revive);
            let answer = endpoint.pass_on(caller, call, None, &headers).await;
            let status = answer.status().as_u16();
            let body = axum::body::to_bytes(answer.into_body(), 1_000).await;
            let text = String::from_utf8(body.expect("short").to_vec());
            (status, text.expect("text"))
        };
        assert_eq!(call(&own).await, (202, String::new()));
        assert_eq!(call(&caller("local", None)).await, (202, String::new()));
        asked.recv().await.expect("a call");
        asked.recv().await.expect("a call");
        let text = |caller: &str, owner: &str| {
            format!(
                "Authenticated principal '{caller}' does not match principal '{owner}' set in \
                 `FrameworkInfo`"
            )
        };
        let foreign = [
            (caller("other", None), text("other", "local")),
            (caller("local", Some("db")), text("db", "web")),
        ];
        for (caller, text) in &foreign {
            assert_eq!(call(caller).await, (400, text.clone()));
        }
        asked.try_recv().expect_err("none of theirs is passed on");
        // It is the first that is said, as in Mesos.
        drop(asked);
        for (caller, text) in &foreign {
            assert_eq!(call(caller).await, (400, text.clone()));
        }
        let text = "Framework is not subscribed".to_owned();
        assert_eq!(call(&own).await, (403, text));
    }

    #[tokio::test]
    async fn calls_that_wait_for_a_stream_are_bounded_by_their_bytes() {
        let (endpoint, _lanes) = endpoint();
        let (calls, mut asked) = mpsc::channel(MESOS_CALLS_MAX);
        let info = v1::FrameworkInfo::default();
        let caller = caller("local", None);
        let owner = Owner::of(&caller.principal, &info);
        let line = Line::new(calls, endpoint.inbox.waiting(), owner);
        let generation = proffer_model::Generation(1);
        endpoint.registry.enter("f", "s", generation, line.clone());
        let headers = HeaderMap::from_iter([(
            STREAM_ID.parse().expect("a name"),
            HeaderValue::from_static("s"),
        )]);
        let request = |len: usize| Call {
            request: Some(call::Request {
                requests: vec![v1::Request {
                    agent_id: Some(v1::AgentId {
                        value: "x".repeat(len),
                    }),
                    resources: Vec::new(),
                }],
            }),
            ..spoken(call::Type::Request)
        };
        let before = line.waiting.take(SESSION_CALLS_BYTES_MAX).expect("room");
        let answer = endpoint
            .pass_on(&caller, request(1_000_000), None, &headers)
            .await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let answer = endpoint.pass_on(&caller, request(10), None, &headers).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "a small one");
        drop(before);
        let answer = endpoint
            .pass_on(&caller, request(1_000_000), None, &headers)
            .await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let light = asked.recv().await.expect("the small one");
        let heavy = asked.recv().await.expect("the large one");
        assert!(light.load.is_none() && heavy.load.is_some());
        line.waiting
            .take(SESSION_CALLS_BYTES_MAX)
            .expect_err("it still waits");
    }
}
