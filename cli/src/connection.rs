//! Where the servers are and how to be let in: the flags that every verb has, and the gRPC channels made from them.
//!
//! The token is found by itself, as the servers write it; when there is none, calls go without, and the server says
//! what is missing. Its text is never shown.

use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::Uri;
use proffer_leader::{Finder, FinderOptions, Masters, Side};
use proffer_model::{Problem, code};
use proffer_server::auth::{LocalToken, default_token_path};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::limits::{CALL_TIMEOUT, CONNECT_TIMEOUT};

const MASTER_HINT: &str = "is `proffer master` or `proffer dev` running? name its address with --master or PROFFER_MASTER";
const PLAINTEXT_HINT: &str = "run this on that host, or accept that everybody on the way can read the token: \
     --insecure-allow-plaintext";

/// The flags of everything that talks to servers.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ClientArgs {
    /// Where the services' REST API is.
    #[arg(
        long,
        env = "PROFFER_SERVICES",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) services: String,
    /// Where the masters' API is: host:port of one or, with commas between them, of several, or where ZooKeeper says
    /// that they stand, as in zk://zk1:2181,zk2:2181/proffer.
    #[arg(
        long,
        env = "PROFFER_MASTER",
        value_name = "MASTERS",
        default_value = "127.0.0.1:5050"
    )]
    pub(crate) master: String,
    /// The file with the token that lets this caller in; found by itself on the servers' own host.
    #[arg(long, env = "PROFFER_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Send the token in plain text beyond this host, where everybody on the way can read it.
    #[arg(long, env = "PROFFER_INSECURE_ALLOW_PLAINTEXT")]
    pub(crate) insecure_allow_plaintext: bool,
}

impl ClientArgs {
    /// The token; absent when the default place holds none. A file that is named must be there.
    pub(crate) fn token(&self) -> Result<Option<LocalToken>, Problem> {
        let (path, is_named) = match &self.token_file {
            Some(path) => (path.clone(), true),
            None => match default_token_path() {
                Ok(path) => (path, false),
                Err(_) => return Ok(None),
            },
        };
        match LocalToken::load(&path) {
            Ok(token) => Ok(Some(token)),
            Err(problem) if !is_named && problem.is(code::AUTH_MISSING) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Whether the services are on this host, as far as their address says.
    pub(crate) fn has_local_services(&self) -> bool {
        let uri: Option<Uri> = self.services.parse().ok();
        uri.is_some_and(|uri| uri.host().is_some_and(is_loopback))
    }

    /// A channel to a master's API: of the leader, or of one that stands by and passes reads on, if that answers first.
    pub(crate) async fn master_channel(&self) -> Result<AuthorizedChannel, Problem> {
        let masters = self.masters()?;
        if let Masters::List(addresses) = &masters
            && let [address] = addresses.as_slice()
        {
            return self.channel(address, "master", MASTER_HINT).await;
        }
        let found = self.finder(masters)?.anyone(CONNECT_TIMEOUT).await;
        let found = found.map_err(|problem| problem.hint(MASTER_HINT))?;
        self.authorized(found.channel)
    }

    /// Where the masters are.
    pub(crate) fn masters(&self) -> Result<Masters, Problem> {
        let masters = Masters::parse(std::slice::from_ref(&self.master))
            .map_err(|problem| problem.field("master"))?;
        let is_allowed = self.insecure_allow_plaintext;
        let checked = masters.check_plaintext(is_allowed);
        checked.map_err(|problem| problem.field("master").hint(PLAINTEXT_HINT))?;
        Ok(masters)
    }

    /// Begins to look for the leader.
    pub(crate) fn finder(&self, masters: Masters) -> Result<Finder, Problem> {
        let token = self.token()?;
        Finder::start(FinderOptions {
            masters,
            side: Side::Api,
            bearer: proffer_leader::Bearer::Given(Bearer::new(token.as_ref()).value),
            insecure_allow_plaintext: self.insecure_allow_plaintext,
        })
    }

    /// A channel on which the token is shown with each call.
    pub(crate) fn authorized(&self, channel: Channel) -> Result<AuthorizedChannel, Problem> {
        let bearer = Bearer::new(self.token()?.as_ref());
        Ok(InterceptedService::new(channel, bearer))
    }

    /// A channel to an agent's API, at the address that the master gave.
    pub(crate) async fn agent_channel(&self, address: &str) -> Result<AuthorizedChannel, Problem> {
        let hint = "the agent may be down, or its --advertise address not reachable from here";
        self.channel(address, "agent", hint).await
    }

    async fn channel(
        &self,
        address: &str,
        what: &str,
        hint: &str,
    ) -> Result<AuthorizedChannel, Problem> {
        let url = match address.contains("://") {
            true => address.to_owned(),
            false => format!("http://{address}"),
        };
        let is_not_one = || {
            let message = format!("{address:?} is not an address with a port");
            Problem::new(code::CONFIG_INVALID, message)
                .field(what)
                .hint("write host:port, such as 127.0.0.1:5050")
        };
        let endpoint = Endpoint::from_shared(url).map_err(|_| is_not_one())?;
        if endpoint.uri().port().is_none() {
            return Err(is_not_one());
        }
        self.check_plaintext(endpoint.uri().host().unwrap_or_default(), what)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(CONNECT_TIMEOUT)
            .keep_alive_timeout(CONNECT_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = tokio::time::timeout(CALL_TIMEOUT, endpoint.connect()).await;
        match channel {
            Ok(Ok(channel)) => self.authorized(channel),
            Ok(Err(error)) => Err(unreachable(what, address, &innermost(&error), hint)),
            Err(_) => Err(unreachable(what, address, "no answer in time", hint)),
        }
    }

    /// The token goes with each call, so the way must be safe.
    pub(crate) fn check_plaintext(&self, host: &str, what: &str) -> Result<(), Problem> {
        if is_loopback(host) || self.insecure_allow_plaintext {
            return Ok(());
        }
        Err(Problem::new(
            code::CONFIG_INVALID,
            format!("{host} is another host, and calls are not encrypted"),
        )
        .field(what)
        .hint(PLAINTEXT_HINT))
    }
}

/// Whether a host's name or address, with brackets or without, is this host's alone.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// A channel that shows the token with each call.
pub(crate) type AuthorizedChannel = InterceptedService<Channel, Bearer>;

/// Adds the token to each call.
#[derive(Clone)]
pub(crate) struct Bearer {
    value: Option<MetadataValue<Ascii>>,
}

impl Bearer {
    fn new(token: Option<&LocalToken>) -> Self {
        // 64 hexadecimal digits are always a header's value.
        let value =
            token.and_then(|token| format!("Bearer {}", token.secret().expose()).parse().ok());
        Self {
            value: value.map(|mut value: MetadataValue<Ascii>| {
                value.set_sensitive(true);
                value
            }),
        }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.value {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// What to do about a missing token, for people at a command line.
pub(crate) fn with_token_hint(problem: Problem) -> Problem {
    if problem.is(code::AUTH_MISSING) {
        return problem.hint(
            "run as the user who started the servers, or name the file with their token: --token-file or PROFFER_TOKEN_FILE",
        );
    }
    problem
}

/// That a server cannot be reached, and what to do about it.
pub(crate) fn unreachable(what: &str, address: &str, why: &str, hint: &str) -> Problem {
    Problem::new(
        code::PEER_UNREACHABLE,
        format!("the {what} at {address} cannot be reached: {why}"),
    )
    .hint(hint)
}

/// The last cause: `transport error` says nothing, `Connection refused` does.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
