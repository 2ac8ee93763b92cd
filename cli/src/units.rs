//! Amounts and times for people and programs.
//!
//! JSON keys name their unit: `cpus`, `mem_mib`, `…_ms`. Amounts are thousandths until the last moment, so nothing is
//! rounded.

use std::time::{SystemTime, UNIX_EPOCH};

use proffer_model::resources::format_milli;
use proffer_model::{Problem, code};
use proffer_proto::{decode_resources, encode_resources, v1};
use serde_json::{Map, Number, Value, json};

/// Thousandths as a number of JSON.
pub(crate) fn number_of_milli(milli: u64) -> Value {
    format_milli(milli)
        .parse::<Number>()
        .map_or(Value::Null, Value::Number)
}

/// A JSON number without a needless `.0`.
pub(crate) fn format_number(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The thousandths of a scalar, reserved ones and volumes included; 0 when absent.
pub(crate) fn scalar_milli(resources: Option<&v1::Resources>, name: &str) -> u64 {
    let Some(resources) = resources else { return 0 };
    let ordinary = resources.scalars.iter();
    let ordinary = ordinary.filter(|scalar| scalar.name == name);
    let special = resources.special.iter();
    let special = special.filter(|special| special.name == name);
    let ordinary = ordinary.map(|scalar| scalar.milli);
    ordinary
        .chain(special.map(special_milli))
        .fold(0, u64::saturating_add)
}

/// The thousandths of one that is not ordinary; what is shared counts once.
fn special_milli(special: &v1::SpecialResource) -> u64 {
    let copies = match special.shared {
        true => 1,
        false => u64::from(special.copies.max(1)),
    };
    match &special.amount {
        Some(v1::special_resource::Amount::Milli(milli)) => milli.saturating_mul(copies),
        _ => 0,
    }
}

/// The key under which an amount stands in JSON: with its unit, where it has one.
pub(crate) fn key_of(name: &str) -> String {
    match name {
        "mem" => "mem_mib".to_owned(),
        "disk" => "disk_mib".to_owned(),
        name => name.to_owned(),
    }
}

/// Resources for programs: how much there is of each, whoever it is reserved for.
pub(crate) fn resources_json(resources: Option<&v1::Resources>) -> Value {
    // What cannot be decoded is of a newer master; what is ordinary in it can be shown.
    let flat = resources.and_then(|all| {
        let whole = decode_resources(all.clone()).ok()?;
        Some(encode_resources(&whole.flattened()))
    });
    let resources = flat.as_ref().or(resources);
    let mut object = Map::new();
    for scalar in resources.into_iter().flat_map(|r| &r.scalars) {
        object.insert(key_of(&scalar.name), number_of_milli(scalar.milli));
    }
    for set in resources.into_iter().flat_map(|r| &r.ranges) {
        let ranges: Vec<Value> = set
            .ranges
            .iter()
            .map(|range| json!({ "begin": range.begin, "end": range.end }))
            .collect();
        object.insert(set.name.clone(), Value::Array(ranges));
    }
    Value::Object(object)
}

/// Resources as people write them; empty when there are none.
pub(crate) fn resources_text(resources: Option<&v1::Resources>) -> String {
    let decoded = resources.and_then(|all| decode_resources(all.clone()).ok());
    decoded.map(|all| all.to_string()).unwrap_or_default()
}

/// So many in this time, in whole ones a second.
pub(crate) fn per_second(count: u64, time: std::time::Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000 / time.as_micros().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 UTC, by this host's clock.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago, in one unit: `12s`, `5m`, `3h`, `2d`; `-` for never.
pub(crate) fn format_age(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 {
        return "-".to_owned();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Milliseconds since 1970 of a time as the services write it: `2026-11-21T05:43:48.531Z`, always UTC.
pub(crate) fn parse_utc_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // A leap second is there before it counts.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction: String = fraction.chars().chain("00".chars()).take(3).collect();
    // The year begins in March here, so that a leap day is its last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + fraction.parse::<u64>().ok()?)
}

/// Such a time as text, to the second: `2026-11-21T05:43:48Z`.
pub(crate) fn format_utc(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    // The year begins in March here too; 146,097 days are 400 years.
    let days = seconds / 86_400 + 719_468;
    let (age, of_age) = (days / 146_097, days % 146_097);
    let year = (of_age - of_age / 1_460 + of_age / 36_524 - of_age / 146_096) / 365;
    let of_year = of_age - (365 * year + year / 4 - year / 100);
    let place = (5 * of_year + 2) / 153;
    let day = of_year - (153 * place + 2) / 5 + 1;
    let (month, next) = match place {
        0..10 => (place + 3, 0),
        _ => (place - 9, 1),
    };
    let year = age * 400 + year + next;
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        seconds % 60
    )
}

/// How many instances, as a flag says it.
pub(crate) fn parse_instances(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        let message = format!("{text:?} is not a number of instances");
        Problem::new(code::FIELD_INVALID, message).hint("write 0 or more, such as 3")
    })
}

/// `1 agent`, `2 agents`.
pub(crate) fn count_of(count: impl TryInto<u64>, what: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// So many or more is as much as there can be: frameworks of Mesos's API say nothing of how much they want.
const WITHOUT_END_MIN: u64 = 1 << 31;

/// How much is wanted, in words; none of a number that stands for whatever there is.
pub(crate) fn wanted_in_words(wanted: impl Into<u64>) -> String {
    match wanted.into() {
        WITHOUT_END_MIN.. => "anything".to_owned(),
        wanted => wanted.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_they_are_read() {
        // Each day of some centuries, a second later each.
        for day in 0..80_000_u64 {
            let ms = (day * 86_400 + day) * 1_000;
            assert_eq!(
                parse_utc_ms(&format_utc(ms)),
                Some(ms),
                "{}",
                format_utc(ms)
            );
        }
        assert_eq!(format_utc(951_782_400_000), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn amounts_lose_nothing() {
        for (milli, text) in [(0, "0"), (100, "0.1"), (1500, "1.5"), (8_192_000, "8192")] {
            assert_eq!(number_of_milli(milli).to_string(), text);
        }
        assert_eq!(format_number(&Number::from_f64(32.0).unwrap()), "32");
        assert_eq!(format_number(&Number::from_f64(0.5).unwrap()), "0.5");
    }

    #[test]
    fn resources_name_their_units() {
        let scalar = |name: &str, milli| v1::Scalar {
            name: name.to_owned(),
            milli,
        };
        let resources = v1::Resources {
            scalars: vec![scalar("cpus", 250), scalar("mem", 32_000)],
            ranges: vec![v1::Ranges {
                name: "ports".to_owned(),
                ranges: vec![v1::Range {
                    begin: 31000,
                    end: 31001,
                }],
            }],
            ..v1::Resources::default()
        };
        assert_eq!(
            resources_json(Some(&resources)).to_string(),
            r#"{"cpus":0.25,"mem_mib":32,"ports":[{"begin":31000,"end":31001}]}"#
        );
        assert_eq!(scalar_milli(Some(&resources), "mem"), 32_000);
        assert_eq!(scalar_milli(None, "mem"), 0);
    }

    #[test]
    fn times_are_read_as_the_services_write_them() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500)),
            ("2026-11-21T05:43:48.531Z", Some(1_795_239_828_531)),
            ("2026-11-21T05:43:48", None),
            ("2026-13-21T05:43:48Z", None),
            ("2026-11-21T18446744073709551615:00:00Z", None),
            ("now", None),
        ] {
            assert_eq!(parse_utc_ms(text), ms, "{text}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_200, "2h"),
            (400_000, "4d"),
        ] {
            assert_eq!(format_age(1_000 + seconds * 1000, 1_000), text);
        }
        assert_eq!(format_age(5, 0), "-");
        assert_eq!(format_age(5, 10), "0s", "clocks differ");
    }
}
