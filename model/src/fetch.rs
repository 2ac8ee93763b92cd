//! What is fetched into a sandbox before a task or an executor starts: from where, as what, and how it is known to be the
//! right thing. Checked when it is asked for; whether a host may be asked is its agent's to decide, when it knows the address.

use crate::code;
use crate::limits::{FETCHES_MAX, PATH_LEN_MAX, URI_LEN_MAX};
use crate::problem::Problem;

/// One file, or archive, that is put into the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fetch {
    /// `http://…`, `https://…`, `file:///…` or an absolute path on the agent's host.
    pub uri: String,
    /// What it is called in the sandbox, which may be in a directory of it; absent: as the last part of the URI.
    pub output: Option<String>,
    /// Whether it may be executed. It is then not extracted.
    pub is_executable: bool,
    /// Whether it is unpacked into the sandbox, if its name says that it is an archive.
    pub is_extracted: bool,
    /// Whether it is kept for others of the same user who ask for the same.
    pub is_cached: bool,
    /// The SHA-256 that it must have, in 64 hexadecimal digits in lower case.
    pub sha256: Option<String>,
}

/// Where something is fetched from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchSource<'a> {
    /// Over HTTP: the whole URI, and whether it is encrypted.
    Http {
        /// The URI, without a fragment.
        uri: &'a str,
        /// Whether it is `https`.
        is_encrypted: bool,
    },
    /// A file of the agent's host: its absolute path.
    File(&'a str),
}

impl Fetch {
    /// Something that is put into the sandbox as it is.
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            output: None,
            is_executable: false,
            is_extracted: false,
            is_cached: false,
            sha256: None,
        }
    }

    /// From where; an error when nothing is fetched from there.
    pub fn source(&self) -> Result<FetchSource<'_>, Problem> {
        let uri = self.uri.as_str();
        let uri = uri.split_once('#').map_or(uri, |(uri, _)| uri);
        let Some((scheme, rest)) = uri.split_once("://") else {
            return match uri.starts_with('/') {
                true => Ok(FetchSource::File(uri)),
                false => Err(refused("uri", format!("{} is no URI", self.shown()))),
            };
        };
        let is_encrypted = scheme.eq_ignore_ascii_case("https");
        if is_encrypted || scheme.eq_ignore_ascii_case("http") {
            return Ok(FetchSource::Http { uri, is_encrypted });
        }
        if !scheme.eq_ignore_ascii_case("file") {
            let scheme: String = scheme.chars().take(20).collect();
            return Err(refused("uri", format!("nothing is fetched by {scheme:?}")));
        }
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        match path.starts_with('/') {
            true => Ok(FetchSource::File(path)),
            false => Err(refused("uri", "a file's path must be absolute".to_owned())),
        }
    }

    /// What it is called in the sandbox.
    pub fn name(&self) -> &str {
        if let Some(output) = &self.output {
            return output;
        }
        let end = self.uri.find(['?', '#']).unwrap_or(self.uri.len());
        let path = self.uri.get(..end).unwrap_or_default();
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        path.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The URI for people: without what is behind `?` and before `@`, where secrets are.
    pub fn shown(&self) -> String {
        let end = self.uri.find(['?', '#']).unwrap_or(self.uri.len());
        let text = self.uri.get(..end).unwrap_or_default();
        let text = match text.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                format!("{scheme}://{host}/{path}")
            }
            None => text.to_owned(),
        };
        text.chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

/// Refuses what can never be fetched. A problem's field begins within the list.
pub fn check_fetches(fetches: &[Fetch]) -> Result<(), Problem> {
    if fetches.len() > FETCHES_MAX {
        let message = format!("{} are given; the limit is {FETCHES_MAX}", fetches.len());
        return Err(Problem::new(code::FIELD_TOO_LONG, message)
            .field("fetch")
            .hint("put them into one archive"));
    }
    for (i, fetch) in fetches.iter().enumerate() {
        check(fetch).map_err(|problem| problem.within(format_args!("fetch[{i}]")))?;
    }
    Ok(())
}

fn check(fetch: &Fetch) -> Result<(), Problem> {
    let uri = &fetch.uri;
    if uri.len() > URI_LEN_MAX {
        let message = format!("a URI has {} bytes; the limit is {URI_LEN_MAX}", uri.len());
        return Err(Problem::new(code::FIELD_TOO_LONG, message).field("uri"));
    }
    if uri.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(refused(
            "uri",
            "it has white space or control characters".to_owned(),
        ));
    }
    if let FetchSource::Http { uri, .. } = fetch.source()? {
        let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            let message = "a name or a password stands in it, which everybody could see".to_owned();
            return Err(refused("uri", message));
        }
        if authority.is_empty() {
            return Err(refused("uri", "it names no host".to_owned()));
        }
    }
    let name = fetch.name();
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
    let is_right = name.len() <= PATH_LEN_MAX
        && !name.contains(|c: char| c.is_control())
        && name.split('/').all(is_name);
    if !is_right {
        let message = format!("{name:?} is no name for a file in a sandbox");
        let hint = "give a path without / at the beginning, and without . and ..";
        let problem = Problem::new(code::FETCH_INVALID, message);
        return Err(problem.field("output").hint(hint));
    }
    let is_digest = |text: &String| {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !fetch.sha256.as_ref().is_none_or(is_digest) {
        let problem = Problem::new(code::FETCH_INVALID, "it is no SHA-256");
        let hint = "give 64 hexadecimal digits in lower case, as sha256sum prints them";
        return Err(problem.field("sha256").hint(hint));
    }
    Ok(())
}

fn refused(field: &str, message: String) -> Problem {
    Problem::new(code::FETCH_INVALID, message)
        .field(field)
        .hint("give http://HOST/PATH, https://HOST/PATH, or the absolute path of a file on the agent's host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_from_where_and_what_the_file_is_called() {
        for (uri, name, shown) in [
            ("http://h/a/b.tgz?x=/y#z", "b.tgz", "http://h/a/b.tgz"),
            ("HTTPS://h:1/a", "a", "HTTPS://h:1/a"),
            ("file:///opt/a", "a", "file:///opt/a"),
            ("file://localhost/opt/a", "a", "file://localhost/opt/a"),
            ("/opt/a b", "a b", "/opt/a b"),
        ] {
            let fetch = Fetch::new(uri);
            fetch.source().expect(uri);
            assert_eq!((fetch.name(), fetch.shown().as_str()), (name, shown));
        }
        let secret = Fetch::new("http://me:pw@h/a?token=t");
        assert_eq!(secret.shown(), "http://h/a");
    }

    #[test]
    fn what_can_never_be_fetched_is_refused_with_its_field() {
        let with = |change: &dyn Fn(&mut Fetch)| {
            let mut fetch = Fetch::new("http://h/a");
            change(&mut fetch);
            let problem = check_fetches(&[fetch]).err();
            problem.map_or_else(String::new, |problem| problem.field)
        };
        assert_eq!(with(&|_| ()), "");
        for uri in [
            "",
            "a",
            "ftp://h/a",
            "hdfs://h/a",
            "gopher://h/a",
            "file://h/a",
            "file:a",
            "http://",
            "http:///a",
            "http://h",
            "http://h/",
            "http://u:p@h/a",
            "http://h/a b",
            "http://h/\n",
            "http://h/..",
        ] {
            let field = with(&|fetch| fetch.uri = uri.to_owned());
            assert!(
                field == "fetch[0].uri" || field == "fetch[0].output",
                "{uri}: {field}"
            );
        }
        for output in ["", "/a", "a/", "../a", "a/../b", "a//b", ".", "a\n"] {
            let field = with(&|fetch| fetch.output = Some(output.to_owned()));
            assert_eq!(field, "fetch[0].output", "{output}");
        }
        for sha256 in ["", "ab", &"A".repeat(64), &"g".repeat(64)] {
            let field = with(&|fetch| fetch.sha256 = Some(sha256.to_owned()));
            assert_eq!(field, "fetch[0].sha256", "{sha256}");
        }
        let long = format!("http://h/{}", "a".repeat(URI_LEN_MAX));
        assert_eq!(with(&|fetch| fetch.uri.clone_from(&long)), "fetch[0].uri");
        let many = vec![Fetch::new("http://h/a"); FETCHES_MAX + 1];
        assert_eq!(check_fetches(&many).expect_err("refused").field, "fetch");
    }
}
