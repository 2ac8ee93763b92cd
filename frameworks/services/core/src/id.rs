//! Names of the service framework: apps, instances, deployments, versions; and how they become ids of tasks.
//!
//! An app's id is a path such as `/prod/web`. It has no `_`, so `/` can be written as `_` in a task's id without loss.
//! Instance and deployment ids come from [`IdSource`]: a seed of this start of the program and a counter.

use std::fmt;
use std::sync::Arc;

use proffer_model::{Problem, TaskId, code};

use crate::limits::APP_ID_LEN_MAX;

/// Last segments that name resources below an app in the REST API, so no app may be called so.
const RESERVED: [&str; 6] = ["restart", "tasks", "versions", "delay", ".", ".."];

/// The id of an app: an absolute path of at least one segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(Arc<str>);

impl AppId {
    /// Reads `/a/b`, also as `a/b`, `//a/b` or `/a/b/`. Segments are lower-case letters, digits, `-` and `.`, and do not
    /// begin or end with `-` or `.`; the last one is not a word that the REST API uses.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let wrong = |message: String| {
            Problem::new(code::ID_INVALID, message).field("id").hint(
                "write segments of lower-case letters, digits, '-' and '.', joined by '/', as in /prod/web",
            )
        };
        let segments: Vec<&str> = text
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        let Some(last) = segments.last() else {
            return Err(wrong("the app's id is empty".into()));
        };
        if RESERVED.contains(last) {
            return Err(wrong(format!("an app's id may not end in {last:?}")));
        }
        for segment in &segments {
            let plain =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
            if let Some(c) = segment.chars().find(|c| !plain(*c)) {
                return Err(wrong(format!("the app's id contains {c:?}")));
            }
            if segment.starts_with(['-', '.']) || segment.ends_with(['-', '.']) {
                return Err(wrong(
                    "a segment of the app's id begins or ends with '-' or '.'".into(),
                ));
            }
        }
        let id = format!("/{}", segments.join("/"));
        if id.len() > APP_ID_LEN_MAX {
            return Err(wrong(format!(
                "the app's id has {} bytes; the limit is {APP_ID_LEN_MAX}",
                id.len()
            )));
        }
        Ok(Self(id.into()))
    }

    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path with `_` for `/`: `prod_web`. Different apps have different ones.
    pub fn flat(&self) -> String {
        self.0.trim_start_matches('/').replace('/', "_")
    }

    /// The segments in reverse with dots, `web.prod`: the name of its tasks, as in DNS.
    pub fn reversed(&self) -> String {
        let mut segments: Vec<&str> = self
            .0
            .split('/')
            .filter(|segment| !segment.is_empty())
            .collect();
        segments.reverse();
        segments.join(".")
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The number of an instance; unique for ever, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceId(pub u128);

impl InstanceId {
    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digits.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }

    /// The id with its app's name, `prod_web.instance-<32 hex>`.
    pub fn full(self, app: &AppId) -> String {
        format!("{}.instance-{self}", app.flat())
    }

    /// The id of its task, `prod_web.instance-<32 hex>._app.1`.
    pub fn task(self, app: &AppId) -> Result<TaskId, Problem> {
        TaskId::new(&format!("{}._app.1", self.full(app)))
    }

    /// The instance that a task's or an instance's full id names.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, rest) = name.rsplit_once(".instance-")?;
        Self::parse(rest.split('.').next().unwrap_or(rest))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The number of a deployment, shown in the form of a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeploymentId(pub u128);

impl DeploymentId {
    /// Reads the form of a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.split('-').collect();
        let id = u128::from_str_radix(&digits, 16).ok().map(Self)?;
        // With dashes elsewhere it would be another name of the same.
        id.to_string().eq_ignore_ascii_case(text).then_some(id)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        let part = |shift: u32, bits: u32| (n >> shift) & ((1u128 << bits) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 32),
            part(80, 16),
            part(64, 16),
            part(48, 16),
            part(0, 48)
        )
    }
}

/// The version of an app: when it was made, in milliseconds since 1970 UTC; grows with each change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_wall(self.0))
    }
}

/// Writes milliseconds since 1970 UTC as `2015-09-17T09:32:42.598Z`.
pub fn format_wall(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    // Days to a date of the Gregorian calendar, counted in eras of 400 years that begin on 1 March (H. Hinnant's algorithm).
    let z = days.saturating_add(719_468);
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

/// Makes ids that no other start of the program makes: 64 bits of its seed, then a counter mixed with the rest.
#[derive(Clone, Debug)]
pub struct IdSource {
    seed: u128,
    count: u64,
}

impl IdSource {
    /// From a random seed, another one at each start.
    pub fn new(seed: u128) -> Self {
        Self { seed, count: 0 }
    }

    /// The next id. The upper half is the seed's; the lower is a bijection of the counter, so none comes twice.
    pub fn draw(&mut self) -> u128 {
        self.count = self.count.wrapping_add(1);
        let low = u64::try_from(self.seed & u128::from(u64::MAX)).unwrap_or(0);
        let mut z = low.wrapping_add(self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (self.seed & !u128::from(u64::MAX)) | u128::from(z ^ (z >> 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_ids_are_normalised_or_refused() {
        for (text, id) in [
            ("a", "/a"),
            ("/a/b", "/a/b"),
            ("//a//b/", "/a/b"),
            ("x.y-1", "/x.y-1"),
        ] {
            assert_eq!(AppId::new(text).expect(text).as_str(), id);
        }
        for bad in [
            "",
            "/",
            "A",
            "/a_b",
            "/-a",
            "/a-",
            "/a/restart",
            "/tasks",
            "/a/..",
            "/./a",
            "/a b",
            "/ä",
            &"x".repeat(128),
        ] {
            let problem = AppId::new(bad).expect_err(bad);
            assert_eq!(
                (problem.code.as_ref(), problem.field.as_str()),
                ("id.invalid", "id")
            );
        }
    }

    #[test]
    fn ids_of_tasks_name_their_instance_and_fit() {
        let app = AppId::new(&format!("/{}", "x".repeat(127))).expect("longest");
        let id = InstanceId(0xabc);
        let task = id.task(&app).expect("fits");
        assert_eq!(InstanceId::of_name(task.as_str()), Some(id));
        assert_eq!(InstanceId::of_name(&id.full(&app)), Some(id));
        assert_eq!(InstanceId::of_name("else"), None);
        assert_eq!(InstanceId::parse("+0000000000000000000000000000abc"), None);
        let app = AppId::new("/a/b").expect("good");
        assert_eq!(
            id.task(&app).expect("fits").as_str(),
            "a_b.instance-00000000000000000000000000000abc._app.1"
        );
        assert_eq!(app.reversed(), "b.a");
    }

    #[test]
    fn times_are_written_as_iso_8601() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_442_482_362_598, "2015-09-17T09:32:42.598Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(format_wall(ms), text);
        }
    }

    #[test]
    fn deployments_have_the_form_of_a_uuid() {
        let id = DeploymentId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(DeploymentId::parse(&id.to_string()), Some(id));
        for bad in [
            "x",
            "01234567-89ab-cde9ab-cdef-0789abcdef",
            "+1234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(DeploymentId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn drawn_ids_differ() {
        let mut source = IdSource::new(7 << 64);
        let drawn: std::collections::BTreeSet<u128> = (0..1000).map(|_| source.draw()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
