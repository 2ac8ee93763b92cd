//! A download, in the child: a file of this host, or a GET over HTTP or HTTPS. Redirects are followed a few times, each looked
//! at as the first; never from an encrypted connection to one that is not.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use nix::libc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::Failure;
use super::address::refusal;
use super::child::{Download, Origin};
use super::encrypted::encrypt;
use crate::limits::{
    FETCH_ADDRESSES_MAX, FETCH_CONNECT_TIMEOUT, FETCH_HEAD_LEN_MAX, FETCH_HEAD_TIMEOUT,
    FETCH_REDIRECTS_MAX, FETCH_SLOW_INTERVAL, FETCH_SLOW_LEN_MIN,
};

/// Fills the file; how many bytes it has.
pub(super) fn run(job: &Download, file: File) -> Result<u64, Failure> {
    match &job.origin {
        Origin::File(path) => copy(Path::new(path), file, job.len_max),
        Origin::Http(uri) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Failure::io)?;
            let len = runtime.block_on(get(job, uri, file));
            // A name that is still being looked up is waited for by nobody.
            runtime.shutdown_background();
            len
        }
    }
}

fn copy(path: &Path, mut file: File, len_max: u64) -> Result<u64, Failure> {
    // What is no file must not make this wait.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let source = File::options().read(true).custom_flags(flags).open(path);
    let source = source.map_err(Failure::io)?;
    let metadata = source.metadata().map_err(Failure::io)?;
    if !metadata.is_file() {
        return Err(Failure::of("it is not a file"));
    }
    if metadata.len() > len_max {
        return Err(too_large(len_max));
    }
    // It may grow meanwhile, or have more than it says.
    let mut source = source.take(len_max.saturating_add(1));
    let len = io::copy(&mut source, &mut file).map_err(Failure::io)?;
    if len > len_max {
        Err(too_large(len_max))
    } else {
        Ok(len)
    }
}

fn too_large(len_max: u64) -> Failure {
    Failure::of(&format!("it has more than {len_max} bytes"))
}

/// Where something is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    is_encrypted: bool,
    host: String,
    port: u16,
    /// With what is behind `?`.
    path: String,
    /// For `Host`.
    authority: String,
}

impl Target {
    /// The error is the end of a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let uri: Uri = text.parse().map_err(|_| "is no URI".to_owned())?;
        let is_encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("is neither http nor https".to_owned()),
        };
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("has a name or a password in it".to_owned());
        }
        let host = authority.host();
        let usual = if is_encrypted { 443 } else { 80 };
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => usual,
            // What is behind the host must be a port, and one that there can be.
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .unwrap_or(0),
        };
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() || port == 0 {
            return Err("names no host and port".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_encrypted,
            host: host.to_owned(),
            port,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
            authority: authority.as_str().to_owned(),
        })
    }

    /// The URI of it.
    pub(super) fn uri(&self) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// Where a redirect leads.
    pub(super) fn follow(&self, location: &str) -> Result<Self, String> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let here = format!("{scheme}://{}", self.authority);
        let path = self.path.split('?').next().unwrap_or_default();
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let other = location.split_once(':').map(|(scheme, _)| scheme);
        let is_http = |scheme: &str| {
            scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
        };
        let is_word = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let next = match other.filter(|scheme| is_word(scheme)) {
            Some(scheme) if is_http(scheme) => {
                let rest = location.get(scheme.len()..).unwrap_or_default();
                Self::parse(&format!("{}{rest}", scheme.to_ascii_lowercase()))
            }
            Some(_) => Err("is neither http nor https".to_owned()),
            None if location.starts_with("//") => Self::parse(&format!("{scheme}:{location}")),
            None if location.starts_with('/') => Self::parse(&format!("{here}{location}")),
            None if location.starts_with('?') => Self::parse(&format!("{here}{path}{location}")),
            None => Self::parse(&format!("{here}{}", resolved(above, location))),
        };
        let next = next.map_err(|why| format!("it leads to what {why}"))?;
        if self.is_encrypted && !next.is_encrypted {
            return Err("it leads from https to http".to_owned());
        }
        Ok(next)
    }
}

/// A path with what is written relative to it.
fn resolved(above: &str, relative: &str) -> String {
    let (relative, query) = match relative.split_once('?') {
        Some((relative, query)) => (relative, Some(query)),
        None => (relative, None),
    };
    let mut parts: Vec<&str> = above.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{}{query}", parts.join("/"))
}

async fn get(job: &Download, uri: &str, file: File) -> Result<u64, Failure> {
    let parsed = Target::parse(uri);
    let mut target = parsed.map_err(|why| Failure::of(&format!("it {why}")))?;
    for _ in 0..=FETCH_REDIRECTS_MAX {
        let response = ask(job, &target).await?;
        let status = response.status();
        if status.as_u16() == 200 {
            return save(response, file, job.len_max).await;
        }
        let location = response
            .headers()
            .get(LOCATION)
            .filter(|_| status.is_redirection());
        let Some(location) = location else {
            return Err(Failure::of(&format!(
                "{} answered {status}",
                target.authority
            )));
        };
        let location = location
            .to_str()
            .map_err(|_| Failure::of("it leads to what is no URI"))?;
        target = target.follow(location).map_err(|why| Failure::of(&why))?;
    }
    Err(Failure::of("it leads elsewhere too often"))
}

/// Asks a server; its answer as far as it has a body.
async fn ask(job: &Download, target: &Target) -> Result<Response<Incoming>, Failure> {
    let stream = connect(job, target).await?;
    if !target.is_encrypted {
        return request(stream, target).await;
    }
    let stream = encrypt(stream, &target.host, &job.roots).await;
    let stream = stream.map_err(|why| Failure::of(&format!("{}: {why}", target.authority)))?;
    request(stream, target).await
}

async fn connect(job: &Download, target: &Target) -> Result<TcpStream, Failure> {
    let end = Instant::now() + FETCH_CONNECT_TIMEOUT;
    let found = tokio::net::lookup_host((target.host.as_str(), target.port));
    let late = || Failure::of(&format!("{} cannot be looked up in time", target.host));
    let found = timeout_at(end, found).await.map_err(|_| late())?;
    let found = found.map_err(|error| Failure::of(&format!("{}: {error}", target.host)))?;
    let found: Vec<SocketAddr> = found.take(FETCH_ADDRESSES_MAX).collect();
    let connected = connect_to(&found, job.allow_local, end).await;
    connected.map_err(|why| match why {
        Some(why) => Failure::of(&why),
        None => Failure::of(&format!("{} has no address", target.host)),
    })
}

/// The first of these that can be reached. Each has its share of the time that is left: one that is silent leaves some to the
/// others. The error says why not the last one.
pub(super) async fn connect_to(
    addresses: &[SocketAddr],
    allow_local: bool,
    end: Instant,
) -> Result<TcpStream, Option<String>> {
    const NOT_HERE: &str = "and from there nothing is fetched (insecure_fetch_local lets it)";
    let mut why = None;
    let refused = |address: &SocketAddr| refusal(address.ip(), allow_local);
    let tried = addresses
        .iter()
        .filter(|address| refused(address).is_none());
    let mut left = u32::try_from(tried.count()).unwrap_or(u32::MAX);
    for address in addresses {
        let ip = address.ip();
        if let Some(refused) = refused(address) {
            why = Some(format!("{ip} {refused}, {NOT_HERE}"));
            continue;
        }
        let share = end.saturating_duration_since(Instant::now()) / left.max(1);
        left = left.saturating_sub(1);
        match timeout(share, open(*address)).await {
            // An address of its own other than loopback.
            Ok(Ok(stream)) if !allow_local && is_own(&stream) => {
                why = Some(format!("{ip} is this host, {NOT_HERE}"));
            }
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = Some(format!("{address}: {error}")),
            Err(_) => why = Some(format!("{address} cannot be reached in time")),
        }
    }
    Err(why)
}

/// Whether both ends have the same address.
fn is_own(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip(),
        _ => true,
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn request(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
) -> Result<Response<Incoming>, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::of(&format!("{} broke off: {error}", target.authority))
    };
    let request = Request::get(&target.path)
        .header(HOST, &target.authority)
        .header(USER_AGENT, concat!("proffer/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let exchange = async {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(FETCH_HEAD_LEN_MAX);
        let handshake = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
        // It ends with what it carries.
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))
    };
    let answered = timeout(FETCH_HEAD_TIMEOUT, exchange).await;
    answered.unwrap_or_else(|_| {
        Err(Failure::of(&format!(
            "{} did not answer in time",
            target.authority
        )))
    })
}

async fn save(response: Response<Incoming>, mut file: File, len_max: u64) -> Result<u64, Failure> {
    let said = response.headers().get(CONTENT_LENGTH);
    let said = said.and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|len| len > len_max) {
        return Err(too_large(len_max));
    }
    let mut body = response.into_body();
    let (mut len, mut seen): (u64, u64) = (0, 0);
    let mut end = Instant::now() + FETCH_SLOW_INTERVAL;
    loop {
        let Ok(frame) = tokio::time::timeout_at(end, body.frame()).await else {
            if seen < FETCH_SLOW_LEN_MIN {
                return Err(Failure::of("it comes too slowly"));
            }
            (end, seen) = (Instant::now() + FETCH_SLOW_INTERVAL, 0);
            continue;
        };
        let Some(frame) = frame else {
            return Ok(len);
        };
        let frame = frame.map_err(|error| Failure::of(&format!("it broke off: {error}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
        (len, seen) = (len.saturating_add(more), seen.saturating_add(more));
        if len > len_max {
            return Err(too_large(len_max));
        }
        file.write_all(&data).map_err(Failure::io)?;
    }
}
