//! An encrypted connection to a server, in the child: who may vouch for it, and what is said when nobody has.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::limits::FETCH_CONNECT_TIMEOUT;

/// Encrypts a connection to a server that must be `host`; the error is for people.
pub(super) async fn encrypt(
    stream: TcpStream,
    host: &str,
    roots: &Path,
) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(settings(roots)?));
    let connected = timeout(FETCH_CONNECT_TIMEOUT, connector.connect(name, stream)).await;
    let connected = connected.map_err(|_| "no encrypted connection in time".to_owned())?;
    connected.map_err(|error| words(&error, host, roots))
}

fn settings(roots: &Path) -> Result<ClientConfig, String> {
    let wrong = |why: String| {
        let roots = roots.display();
        format!("certificates to trust, {roots}: {why} (see fetch_roots)")
    };
    let mut store = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(roots).map_err(|error| wrong(error.to_string()))?;
    // One that cannot be read vouches for nobody.
    store.add_parsable_certificates(found.filter_map(Result::ok));
    if store.is_empty() {
        return Err(wrong("there are none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

/// What to say of a connection that was not encrypted.
fn words(error: &io::Error, host: &str, roots: &Path) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(Error::InvalidCertificate(certificate)) = inner else {
        return error.to_string();
    };
    let roots = roots.display();
    match certificate {
        CertificateError::UnknownIssuer => format!(
            "its certificate was issued by none of those in {roots}, which fetch_roots of the agent says"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not that of {host}")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        // What openssl makes for a server that vouches for itself is an authority's.
        other if other.to_string().contains("CaUsedAsEndEntity") => format!(
            "its certificate is that of an authority; a server needs one that an authority of {roots} has issued"
        ),
        other => format!("its certificate is not good: {other}"),
    }
}
