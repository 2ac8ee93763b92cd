//! Whether a request was meant for this server: Host must name it, Origin must be its own.
//!
//! A web page can make a browser send requests here, from a foreign origin or through a name of its own that resolves to
//! 127.0.0.1 (DNS rebinding). The browser tells both in headers that the page cannot forge. Any port passes in Host, since
//! port forwarding changes it; Origin must then agree with it exactly.
//!
//! For what a page includes, such as a script, there is no Origin. To hosts that it trusts, as loopback ones, the browser says
//! instead from where the request comes (`Sec-Fetch-Site`) and what for: a link on another site may be followed, and nothing
//! else. To others it says at most a Referer, and a page may forbid that. So who asks for a script says one of this server, or has
//! the token as no browser sends it by itself. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};
use http::header::{HOST, ORIGIN, REFERER};
use proffer_model::{Problem, code};

use super::guard::bearer;
use crate::listen::is_loopback;
use crate::log::Untrusted;

/// What a browser says of the site that a request comes from, and of what it is for.
const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_MODE: &str = "sec-fetch-mode";
const FETCH_DEST: &str = "sec-fetch-dest";

/// Checks Host (or `:authority`), Origin and what else browsers say. `local` is the address on which the request's connection
/// came in, `names` are further names of this server, in lower case. The error is `auth.foreign_origin`.
pub(super) fn check(parts: &Parts, local: IpAddr, names: &[String]) -> Result<(), Problem> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts
        .next()
        .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    if hosts.next().is_some() {
        return Err(refused("the request has more than one Host".to_owned()));
    }
    let header: Option<Authority> = match header {
        Some(None) => return Err(refused("the request's Host cannot be read".to_owned())),
        Some(Some(authority)) => Some(authority),
        None => None,
    };
    // HTTP/2 has the authority in its place; HTTP/1.1 may have it in the request line, where it wins over Host.
    let given = [parts.uri.authority(), header.as_ref()];
    for authority in given.into_iter().flatten() {
        if !is_ours(authority, local, names) {
            let shown = Untrusted(authority.as_str());
            let message = format!("the request is for the host {shown}, which is not this server");
            return Err(refused(message).hint(
                "call 127.0.0.1, localhost or the address that the server listens on; further names of a master go into its configuration, host_names",
            ));
        }
    }
    let Some(authority) = given.into_iter().flatten().next() else {
        return Err(refused("the request has no Host".to_owned()));
    };
    check_origin(parts, authority)?;
    check_site(parts)?;
    match is_script(&parts.uri) {
        true => check_script(&parts.headers, authority),
        false => Ok(()),
    }
}

/// Whether a request names no host at all, as libprocess's messages do and no browser does.
pub(super) fn names_no_host(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let is_empty = hosts.next().is_some_and(|host| host.is_empty()) && hosts.next().is_none();
    let mut said = [ORIGIN.as_str(), FETCH_SITE, FETCH_MODE].into_iter();
    is_empty
        && parts.uri.authority().is_none()
        && !said.any(|name| parts.headers.contains_key(name))
}

fn check_origin(parts: &Parts, authority: &Authority) -> Result<(), Problem> {
    for origin in parts.headers.get_all(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("http://"));
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str())) {
            return Err(foreign_page(origin.as_bytes()));
        }
    }
    Ok(())
}

/// Another port of the same host is of the same site, and another's page all the same.
fn check_site(parts: &Parts) -> Result<(), Problem> {
    let mut sites = parts.headers.get_all(FETCH_SITE).iter();
    if sites.all(|site| site == "same-origin" || site == "none") {
        return Ok(());
    }
    let only = |name| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let is_followed = only(FETCH_MODE).is_some_and(|mode| mode == "navigate")
        && (!parts.headers.contains_key(FETCH_DEST)
            || only(FETCH_DEST).is_some_and(|dest| dest == "document"));
    match parts.method == Method::GET && is_followed {
        true => Ok(()),
        false => Err(refused(
            "the request comes from a page of another site, which may only have links to here"
                .to_owned(),
        )),
    }
}

/// Whether a page is asked for as a script.
fn is_script(uri: &Uri) -> bool {
    uri.query().is_some()
        && Query::<BTreeMap<String, String>>::try_from_uri(uri)
            .is_ok_and(|asked| asked.contains_key("jsonp"))
}

/// Whoever includes a script reads what is in it, so it must be a page of this server, or no browser: those send a user's
/// password by themselves, but no bearer's token.
fn check_script(headers: &HeaderMap, authority: &Authority) -> Result<(), Problem> {
    let mut referers = headers.get_all(REFERER).iter().peekable();
    // That was looked at before; a proxy in between may make another of the Referer.
    if headers.contains_key(FETCH_SITE) {
        return Ok(());
    }
    if referers.peek().is_none() && bearer(headers).is_none() {
        let text = "a script (jsonp) is for pages of this server, and the request does not say that it comes from one";
        return Err(refused(text.to_owned()));
    }
    for referer in referers {
        let own = referer.to_str().ok().and_then(|text| {
            let uri: Uri = text.parse().ok()?;
            let is_own = uri.scheme_str() == Some("http")
                && uri.authority().is_some_and(|own| own == authority);
            is_own.then_some(())
        });
        if own.is_none() {
            return Err(foreign_page(referer.as_bytes()));
        }
    }
    Ok(())
}

fn foreign_page(shown: &[u8]) -> Problem {
    let shown = String::from_utf8_lossy(shown);
    refused(format!(
        "the request comes from a page of {}",
        Untrusted(&shown)
    ))
}

fn is_ours(authority: &Authority, local: IpAddr, names: &[String]) -> bool {
    // `user@host` is never sent by honest clients.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => {
            let is_named = |name: &String| name == bare || *name == host;
            is_loopback(ip)
                || ip.to_canonical() == local.to_canonical()
                || names.iter().any(is_named)
        }
        Err(_) => host == "localhost" || names.contains(&host),
    }
}

fn refused(message: String) -> Problem {
    Problem::new(code::AUTH_FOREIGN_ORIGIN, message)
        .hint("call 127.0.0.1, localhost or the address that the server listens on, and not from another site's page")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use http::header::AUTHORIZATION;

    use super::*;

    fn verdict(uri: &str, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        admits(request.body(()).expect("a request"))
    }

    fn admits(request: Request<()>) -> bool {
        let (parts, ()) = request.into_parts();
        let result = check(
            &parts,
            "192.0.2.7".parse().unwrap(),
            &["master.example", "192.0.2.9", "2001:db8::9"].map(str::to_owned),
        );
        if let Err(problem) = &result {
            assert!(problem.is(code::AUTH_FOREIGN_ORIGIN));
            let is_of_host = problem.message.contains("is for the host");
            assert_eq!(problem.hint.contains("host_names"), is_of_host, "{problem}");
        }
        result.is_ok()
    }

    #[test]
    fn host_must_name_this_server() {
        let table = [
            ("localhost", true),
            ("LocalHost:5050", true),
            ("127.0.0.1:5050", true),
            ("127.8.8.8", true),
            ("[::1]:5050", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.7:5050", true),
            ("master.example:1", true),
            ("MASTER.example", true),
            ("192.0.2.9:5050", true),
            ("[2001:db8::9]:5050", true),
            ("[2001:db8::8]:5050", false),
            ("192.0.2.8", false),
            ("0.0.0.0", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost@evil.example", false),
            ("evil.example@localhost", false),
            ("localhost:80:80", false),
            ("", false),
        ];
        for (host, ours) in table {
            assert_eq!(verdict("/", Some(host), None), ours, "Host: {host}");
        }
        assert!(!verdict("/", None, None), "no Host");
        assert!(verdict("http://localhost:5050/", None, None), ":authority");
        assert!(!verdict("http://evil.example/", None, None));
        assert!(!verdict("http://evil.example/", Some("localhost"), None));
        assert!(!verdict("http://localhost/", Some("evil.example"), None));
    }

    #[test]
    fn origin_must_be_the_hosts_own() {
        let table = [
            ("localhost:5050", "http://localhost:5050", true),
            ("localhost", "http://LOCALHOST", true),
            ("localhost:5050", "https://localhost:5050", false),
            ("localhost:5050", "http://localhost:8080", false),
            ("localhost:5050", "http://127.0.0.1:5050", false),
            ("localhost:5050", "http://localhost", false),
            ("localhost:5050", "http://evil.example", false),
            ("localhost:5050", "null", false),
            ("localhost:5050", "", false),
        ];
        for (host, origin, own) in table {
            assert_eq!(
                verdict("/", Some(host), Some(origin)),
                own,
                "Host: {host}, Origin: {origin}"
            );
        }
    }
    #[test]
    fn pages_of_other_sites_may_have_links_to_here_and_nothing_else() {
        let (get, post, head) = (Method::GET, Method::POST, Method::HEAD);
        let table = [
            (&get, "same-origin", "cors", true),
            (&post, "same-origin", "cors", true),
            (&get, "none", "navigate", true),
            (&get, "cross-site", "navigate", true),
            (&get, "same-site", "navigate", true),
            (&post, "cross-site", "navigate", false),
            (&head, "cross-site", "navigate", false),
            (&get, "cross-site", "no-cors", false),
            (&get, "same-site", "no-cors", false),
            (&get, "cross-site", "cors", false),
            (&get, "cross-site", "", false),
            (&get, "of-a-kind-to-come", "no-cors", false),
        ];
        for (method, site, mode, ours) in table {
            let request = Request::builder().method(method).uri("/state");
            let request = request.header(HOST, "localhost:5050");
            let request = request.header(FETCH_SITE, site).header(FETCH_MODE, mode);
            let is_admitted = admits(request.body(()).expect("a request"));
            assert_eq!(is_admitted, ours, "{method} {site} {mode}");
        }
        for headers in [
            &[(FETCH_SITE, "cross-site")][..],
            &[(FETCH_SITE, "same-origin"), (FETCH_SITE, "cross-site")],
            &[
                (FETCH_SITE, "cross-site"),
                (FETCH_MODE, "navigate"),
                (FETCH_MODE, "no-cors"),
            ],
        ] {
            let request = Request::builder().uri("/state").header(HOST, "localhost");
            let all = headers.iter();
            let request = all.fold(request, |request, (name, value)| {
                request.header(*name, *value)
            });
            assert!(!admits(request.body(()).expect("a request")), "{headers:?}");
        }
    }

    #[test]
    fn a_script_is_for_pages_of_this_server() {
        let table = [
            ("/state?jsonp=f", "http://localhost:5050/ui", true),
            ("/state?jsonp=f", "http://localhost:5050", true),
            ("/state?jsonp=f", "http://localhost:8080/", false),
            ("/state?jsonp=f", "http://evil.example/", false),
            ("/state?jsonp=f", "https://localhost:5050/", false),
            ("/state?jsonp=f", "", false),
            ("/state?a=b&%6asonp=f", "http://evil.example/", false),
            // A link in somebody's notes.
            ("/state?a=jsonp", "http://notes.example/", true),
            ("/state", "http://notes.example/", true),
        ];
        for (uri, referer, ours) in table {
            let request = Request::builder().uri(uri).header(HOST, "localhost:5050");
            let request = request.header(REFERER, referer);
            let is_admitted = admits(request.body(()).expect("a request"));
            assert_eq!(is_admitted, ours, "{uri} {referer}");
        }
        let table = [
            (None, false),
            (Some((AUTHORIZATION.as_str(), "Bearer t")), true),
            // A browser sends that by itself.
            (Some((AUTHORIZATION.as_str(), "Basic bWVzb3M6dA==")), false),
            (Some((FETCH_SITE, "same-origin")), true),
            (Some((FETCH_SITE, "none")), true),
            (Some((FETCH_SITE, "cross-site")), false),
        ];
        for (header, ours) in table {
            let request = Request::builder().uri("/state?jsonp=f");
            let request = request.header(HOST, "localhost:5050");
            let request = header.into_iter().fold(request, |request, (name, value)| {
                request.header(name, value)
            });
            let is_admitted = admits(request.body(()).expect("a request"));
            assert_eq!(is_admitted, ours, "{header:?}");
        }
        // Of the page that includes it a proxy in between has made another.
        let request = Request::builder().uri("/state?jsonp=f");
        let request = request.header(HOST, "localhost:5050");
        let request = request.header(FETCH_SITE, "same-origin");
        let request = request.header(REFERER, "https://localhost:5050/");
        assert!(admits(request.body(()).expect("a request")));
    }

    #[test]
    fn what_names_no_host_is_no_browser() {
        let table: [(&[(&str, &str)], bool); 6] = [
            (&[("host", "")], true),
            (&[("host", ""), ("host", "")], false),
            (&[("host", "localhost")], false),
            (&[], false),
            (&[("host", ""), ("origin", "http://evil.example")], false),
            (&[("host", ""), (FETCH_SITE, "none")], false),
        ];
        for (headers, no_browser) in table {
            let request = headers
                .iter()
                .fold(Request::builder(), |request, (name, value)| {
                    request.header(*name, *value)
                });
            let (parts, ()) = request.uri("/m").body(()).expect("a request").into_parts();
            assert_eq!(names_no_host(&parts), no_browser, "{headers:?}");
        }
    }

    #[test]
    fn a_link_is_followed_and_nothing_framed() {
        for (dest, ours) in [("document", true), ("iframe", false), ("embed", false)] {
            let request = Request::builder().uri("/state").header(HOST, "localhost");
            let request = request.header(FETCH_SITE, "cross-site");
            let request = request.header(FETCH_MODE, "navigate");
            let request = request.header(FETCH_DEST, dest);
            let is_admitted = admits(request.body(()).expect("a request"));
            assert_eq!(is_admitted, ours, "{dest}");
        }
    }
}
