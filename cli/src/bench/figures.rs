//! Figures: rows of numbers whose names say their unit, for people and for programs, without floats.

use std::time::Duration;

use proffer_model::resources::format_milli;
use serde_json::{Map, Value};

use crate::output::{Column, Progress, Rows};
use crate::units::number_of_milli;

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// So many.
    Count(u64),
    /// Thousandths: of milliseconds, of a part.
    Milli(u64),
    /// A word.
    Text(String),
}

impl Figure {
    fn text(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Milli(milli) => format_milli(*milli),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A time in milliseconds; its name ends with `_ms`.
pub(super) fn ms(time: Duration) -> Figure {
    Figure::Milli(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Microseconds for each of so many, in thousandths; its name has `_us_`.
pub(super) fn us_per(time: Duration, count: u64) -> Figure {
    let nanos = time.as_nanos() / u128::from(count.max(1));
    Figure::Milli(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Rows of one shape.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<Vec<(&'static str, Figure)>>);

impl Figures {
    /// Adds a row. All rows have the same names in the same order.
    pub(super) fn push(&mut self, row: Vec<(&'static str, Figure)>) {
        self.0.push(row);
    }

    /// The same, and says it at once: what comes after it may take minutes.
    pub(super) fn push_and_say(
        &mut self,
        row: Vec<(&'static str, Figure)>,
        progress: &mut Progress,
    ) {
        let cells = row.iter();
        let cells = cells.map(|(name, figure)| format!("{name} {}", figure.text()));
        progress.say(&cells.collect::<Vec<_>>().join(", "));
        self.push(row);
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.0.iter().map(|row| {
            let cells = row.iter().map(|(name, figure)| {
                let value = match figure {
                    Figure::Count(count) => Value::from(*count),
                    Figure::Milli(milli) => number_of_milli(*milli),
                    Figure::Text(text) => Value::from(text.as_str()),
                };
                ((*name).to_owned(), value)
            });
            Value::Object(cells.collect::<Map<_, _>>())
        });
        Value::Array(rows.collect())
    }

    pub(super) fn rows(&self) -> Rows {
        let columns: Vec<Column> = self.0.first().map_or_else(Vec::new, |row| {
            row.iter()
                .map(|(name, figure)| match figure {
                    Figure::Text(_) => Column::Text(name),
                    Figure::Count(_) | Figure::Milli(_) => Column::Number(name),
                })
                .collect()
        });
        let mut rows = Rows::new(&columns).when_empty("nothing was measured");
        for row in &self.0 {
            rows.push(row.iter().map(|(_, figure)| figure.text()));
        }
        rows
    }
}

/// Times that were taken, for their percentiles.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Those of another, too.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that so many in a thousand do not pass; nothing when none were taken.
    pub(super) fn at(&self, per_mille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1) - 1;
        sorted.get(rank).copied().unwrap_or_default()
    }

    pub(super) fn sum(&self) -> Duration {
        self.0.iter().sum()
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<T: IntoIterator<Item = Duration>>(times: T) -> Self {
        Self(times.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let times: Times = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(times.at(500), Duration::from_millis(100));
        assert_eq!(times.at(990), Duration::from_millis(198));
        assert_eq!(times.at(1_000), Duration::from_millis(200));
        assert_eq!(times.at(0), Duration::from_millis(1));
        assert_eq!(Times::default().at(990), Duration::ZERO);
        let one: Times = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!((one.at(1), one.at(999)), (one.sum(), one.sum()));
    }

    #[test]
    fn figures_are_numbers_in_json_and_columns_in_a_table() {
        let mut figures = Figures::default();
        figures.push(vec![
            ("agents", Figure::Count(10)),
            ("cycle_p99_ms", ms(Duration::from_micros(1_250))),
            ("case", Figure::Text("full".to_owned())),
        ]);
        assert_eq!(
            figures.json().to_string(),
            r#"[{"agents":10,"case":"full","cycle_p99_ms":1.25}]"#
        );
        assert_eq!(
            figures.rows().render(None),
            "agents  cycle_p99_ms  case\n    10          1.25  full"
        );
    }
}
