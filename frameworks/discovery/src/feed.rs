//! Asks services what runs where, and listens for its events.
//!
//! Events are only a reason to ask: nothing in them is believed, so losing one costs nothing but time. The stream is opened
//! again for ever, with growing waits; every new stream counts as an event, since others may have been missed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::StatusCode;
use futures::StreamExt;
use proffer_model::{Problem, Time, code};
use proffer_server::client::{self, HttpClient};
use proffer_server::{clock, sse};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};

use crate::apps;
use crate::backoff::Backoff;
use crate::core::Snapshot;
use crate::limits::{ADDRESS_AGE_MAX, RESOLVE_TIMEOUT, RETRY_MAX, STREAM_RETRY_MIN};
use crate::model::hosts_needed;
use crate::name::HostName;

/// What changes where something can be reached, by Marathon's names.
const EVENT_TYPES: &[&str] = &[
    "api_post_event",
    "app_terminated_event",
    "deployment_success",
    "health_status_changed_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "status_update_event",
];

/// The connection to services.
#[derive(Debug)]
pub struct Feed {
    client: HttpClient,
    urls: Vec<String>,
    /// The one that answered last.
    current: AtomicUsize,
    is_listening: AtomicBool,
    addresses: Mutex<BTreeMap<HostName, (IpAddr, Time)>>,
}

impl Feed {
    /// A feed from the first of `urls` that answers.
    pub fn new(client: HttpClient, urls: Vec<String>) -> Self {
        Self {
            client,
            urls,
            current: AtomicUsize::new(0),
            is_listening: AtomicBool::new(false),
            addresses: Mutex::new(BTreeMap::new()),
        }
    }

    /// The address asked first.
    pub fn url(&self) -> &str {
        let index = self.current.load(Ordering::Relaxed);
        self.urls.get(index).map(String::as_str).unwrap_or_default()
    }

    /// Whether the event stream is open. Without it changes are found within a minute only.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// The app list and the addresses of its hosts, from the first services that answers.
    pub async fn fetch(self: Arc<Self>) -> Result<Snapshot, Problem> {
        let first = self.current.load(Ordering::Relaxed);
        let mut problem = None;
        for step in 0..self.urls.len() {
            let index = (first + step) % self.urls.len();
            let Some(url) = self.urls.get(index) else {
                continue;
            };
            match self.fetch_from(url).await {
                Ok(snapshot) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(snapshot);
                }
                Err(failure) => problem = problem.or(Some(failure)),
            }
        }
        Err(problem
            .unwrap_or_else(|| Problem::new(code::CONFIG_INVALID, "no services").field("services")))
    }

    async fn fetch_from(&self, url: &str) -> Result<Snapshot, Problem> {
        let answer = self
            .client
            .get(&format!("{url}/v2/apps?embed=apps.tasks"))
            .await?;
        if answer.status != StatusCode::OK {
            let told = client::problem_of(&answer.body);
            return Err(told.unwrap_or_else(|| {
                Problem::new(
                    code::PEER_UNREACHABLE,
                    format!("{url} answered {}", answer.status.as_u16()),
                )
                .hint("is this the address of Proffer's services or of Marathon?")
            }));
        }
        // A list of thousands of apps takes longer to read than other tasks should wait.
        let decoded = tokio::task::spawn_blocking(move || apps::decode(&answer.body)).await;
        let apps = decoded
            .map_err(|_| Problem::new(code::INTERNAL, "the app list could not be read"))??;
        let mut addresses = BTreeMap::new();
        for host in hosts_needed(&apps) {
            if let Some(address) = self.address_of(&host).await {
                addresses.insert(host, address);
            }
        }
        Ok(Snapshot { apps, addresses })
    }

    /// The address of a host; the last known one while its name does not resolve.
    async fn address_of(&self, host: &HostName) -> Option<IpAddr> {
        let now = clock::now();
        let known = self.addresses.lock().await.get(host).copied();
        if let Some((address, _)) = known.filter(|(_, at)| now.since(*at) < ADDRESS_AGE_MAX) {
            return Some(address);
        }
        let lookup = timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host.as_str(), 0))).await;
        // The smallest, IPv4 first, so that the order of the answers changes nothing.
        let found = lookup
            .ok()
            .and_then(Result::ok)
            .and_then(|found| found.map(|at| at.ip()).min());
        if let Some(address) = found {
            self.addresses
                .lock()
                .await
                .insert(host.clone(), (address, now));
        }
        found.or(known.map(|(address, _)| address))
    }

    /// Sends a word whenever something may have changed. Never ends; a word that waits already stands for this one too.
    pub async fn watch(self: Arc<Self>, changed: mpsc::Sender<()>, seed: u64) {
        let mut backoff = Backoff::new(STREAM_RETRY_MIN, RETRY_MAX, seed);
        let query: Vec<String> = EVENT_TYPES
            .iter()
            .map(|name| format!("event_type={name}"))
            .collect();
        let query = query.join("&");
        loop {
            let url = format!("{}/v2/events?{query}", self.url());
            let ended = self.listen(&url, &changed, &mut backoff).await;
            self.is_listening.store(false, Ordering::Relaxed);
            match ended {
                Ok(()) => tracing::debug!("event stream ended"),
                Err(problem) => tracing::debug!(%problem, "event stream failed"),
            }
            sleep(backoff.next_wait()).await;
        }
    }

    async fn listen(
        &self,
        url: &str,
        changed: &mpsc::Sender<()>,
        backoff: &mut Backoff,
    ) -> Result<(), Problem> {
        let mut stream = self.client.stream(url, "text/event-stream").await?;
        self.is_listening.store(true, Ordering::Relaxed);
        let mut parser = sse::Parser::new();
        // What happened while nobody listened.
        let _ = changed.try_send(());
        while let Some(piece) = stream.next().await {
            let events = parser.push(&piece?)?;
            if !events.is_empty() {
                // Only a stream that has said something resets the wait: one that is closed at once must not spin.
                backoff.reset();
                let _ = changed.try_send(());
            }
        }
        Ok(())
    }
}
