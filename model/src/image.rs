//! Images by name: a reference as `docker pull` takes it, and the file that is its archive where an operator keeps archives.
//!
//! The rule is that of Mesos's agents with `--docker_registry=DIR`: the name as it was written and `.tar`, in which a `/` is a
//! directory. Neither a registry nor a tag is added to it, so `busybox` and `busybox:latest` are two files. No name leads out of
//! the directory: each part begins with a letter or a digit.

use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::limits::{IMAGE_NAME_LEN_MAX, IMAGE_TAG_LEN_MAX};
use crate::problem::Problem;

/// What to do instead of a name that is none.
const HINT: &str =
    "write it as docker pull takes it: [REGISTRY/]REPOSITORY[:TAG|@DIGEST], such as busybox:1.36";

/// The name of an image: `[REGISTRY[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. Valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The archive's path in the directory of archives. Of a name with a tag and a digest the digest counts.
    pub fn archive(&self) -> String {
        let (rest, digest) = split_digest(&self.0);
        let Some(digest) = digest else {
            return format!("{rest}.tar");
        };
        let (repository, _) = split_tag(rest);
        format!("{repository}@{digest}.tar")
    }
}

impl FromStr for ImageName {
    type Err = Problem;

    /// Error: `field.invalid` or `field.too_long`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.len() > IMAGE_NAME_LEN_MAX {
            let message = format!(
                "the name has {} bytes; the limit is {IMAGE_NAME_LEN_MAX}",
                text.len()
            );
            return Err(Problem::new(code::FIELD_TOO_LONG, message)
                .hint("keep the archive under a shorter name"));
        }
        check(text).map_err(|why| {
            let message = format!("{text:?} is not the name of an image: {why}");
            Problem::new(code::FIELD_INVALID, message).hint(HINT)
        })?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why it is no name.
fn check(text: &str) -> Result<(), &'static str> {
    let (rest, digest) = split_digest(text);
    let (repository, tag) = split_tag(rest);
    if let Some(digest) = digest {
        let (algorithm, hex) = digest.split_once(':').unwrap_or_default();
        let is_digest = is_part(algorithm, "+._-")
            && !hex.is_empty()
            && hex.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_digest {
            return Err("what follows @ is no digest, such as sha256:…");
        }
    }
    if let Some(tag) = tag {
        let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_tag = tag.bytes().next().is_some_and(is_first)
            && tag
                .bytes()
                .all(|byte| is_first(byte) || b".-".contains(&byte));
        if !is_tag || tag.len() > IMAGE_TAG_LEN_MAX {
            return Err("what follows the last : is no tag");
        }
    }
    let (first, others) = match repository.split_once('/') {
        Some((registry, path)) => (registry, path.split('/')),
        // A host alone has no image.
        None => return check_part(repository),
    };
    let (host, port) = first.split_once(':').unwrap_or((first, "1"));
    if port.parse::<u16>().is_err() {
        return Err("the registry's port is no number up to 65535");
    }
    check_part(host)?;
    others.into_iter().try_for_each(check_part)
}

/// What is between two slashes. It begins with a letter or a digit, so it is neither `.` nor `..`.
fn check_part(part: &str) -> Result<(), &'static str> {
    match is_part(part, "._-") {
        true => Ok(()),
        false => Err(
            "each part begins with a letter or a digit and has only letters, digits, '.', '_' and '-'",
        ),
    }
}

fn is_part(part: &str, marks: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    part.starts_with(is_plain) && part.chars().all(|c| is_plain(c) || marks.contains(c))
}

/// What is before `@`, and what is behind it.
fn split_digest(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    }
}

/// What is before the tag, and the tag: a `:` before a slash is a port's.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_as_mesos_agents_have_it() {
        for (name, archive) in [
            ("busybox", "busybox.tar"),
            ("busybox:latest", "busybox:latest.tar"),
            ("busybox:1.36", "busybox:1.36.tar"),
            ("library/redis", "library/redis.tar"),
            (
                "registry.example.com/team/app:2",
                "registry.example.com/team/app:2.tar",
            ),
            ("localhost:5000/app", "localhost:5000/app.tar"),
            ("localhost:5000/a/b:_x", "localhost:5000/a/b:_x.tar"),
            ("app@sha256:0a", "app@sha256:0a.tar"),
            ("r:80/app:2@sha256:0a", "r:80/app@sha256:0a.tar"),
            ("web.tar", "web.tar.tar"),
            ("My__App-1", "My__App-1.tar"),
        ] {
            let parsed: ImageName = name.parse().expect(name);
            assert_eq!((parsed.as_str(), &*parsed.archive()), (name, archive));
        }
    }

    #[test]
    fn what_is_no_name_is_refused_and_none_is_path_syntax() {
        let long_tag = format!("a:{}", "x".repeat(IMAGE_TAG_LEN_MAX + 1));
        for name in [
            "",
            ".",
            "..",
            "/",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "a/./b",
            "a/..",
            "./a",
            ".a",
            "a/.b",
            "-a",
            "_a",
            "a b",
            "a\n",
            "a\0",
            "a\\b",
            "ä",
            "a:",
            ":a",
            "a:b:c",
            "a:.x",
            "a:-x",
            "a:b c",
            "a@",
            "@sha256:0",
            "a@b",
            "a@sha256:",
            "a@sha256:0/1",
            "a@sha256:0@sha256:0",
            "a@../x:0",
            "a:x/b",
            "a:70000/b",
            "a:/b",
            "docker://a",
            "http://a/b",
            "file:///a",
            &long_tag,
        ] {
            let refused = name.parse::<ImageName>().expect_err(name);
            assert!(refused.is(code::FIELD_INVALID), "{name}: {refused}");
            assert_eq!(refused.hint, HINT);
        }
        let long = "x".repeat(IMAGE_NAME_LEN_MAX);
        assert!(long.parse::<ImageName>().is_ok());
        let refused = format!("{long}x").parse::<ImageName>().expect_err("long");
        assert!(refused.is(code::FIELD_TOO_LONG), "{refused}");
    }
}
