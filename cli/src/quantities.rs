//! Amounts of several resources as operators write them, `cpus:10,mem:8192`, and as tables and JSON show them.

use proffer_model::resources::{ResourceName, format_milli, parse_milli};
use proffer_model::{Limits, Problem, Quantities, code};
use proffer_proto::v1;
use serde_json::{Map, Value};

use crate::units::{key_of, number_of_milli};

const FORM: &str = "write cpus:10,mem:8192";

/// Reads amounts, each resource once. 0 stands: as a limit it is one.
pub(crate) fn parse_limits(text: &str) -> Result<Limits, Problem> {
    let refused = |message: String| Problem::new(code::RESOURCES_INVALID, message).hint(FORM);
    let mut limits = Limits::new();
    for part in text.split([',', ';']).map(str::trim) {
        if part.is_empty() {
            continue;
        }
        let Some((name, amount)) = part.split_once(':') else {
            return Err(refused(format!("{part:?} has no ':'")));
        };
        let name = ResourceName::new(name.trim())?;
        let milli = parse_milli(amount.trim()).map_err(|problem| problem.within(&name))?;
        if limits.get(&name).is_some() {
            return Err(refused("the resource is given twice".to_owned()).field(name.as_str()));
        }
        limits.set(name, milli);
    }
    if limits.is_empty() {
        return Err(refused("no amount is given".to_owned()));
    }
    Ok(limits)
}

/// Reads amounts of which 0 is nothing.
pub(crate) fn parse_quantities(text: &str) -> Result<Quantities, Problem> {
    let limits = parse_limits(text)?;
    let amounts = limits.iter().map(|(name, milli)| (name.clone(), milli));
    Ok(amounts.collect())
}

/// `cpus:10;mem:8192`; empty when there is nothing.
pub(crate) fn format_quantities(quantities: Option<&v1::Quantities>) -> String {
    let scalars = quantities.into_iter().flat_map(|all| &all.scalars);
    let parts = scalars.map(|scalar| format!("{}:{}", scalar.name, format_milli(scalar.milli)));
    parts.collect::<Vec<_>>().join(";")
}

/// For programs, with units in the keys.
pub(crate) fn quantities_json(quantities: Option<&v1::Quantities>) -> Value {
    let scalars = quantities.into_iter().flat_map(|all| &all.scalars);
    let pairs = scalars.map(|scalar| (key_of(&scalar.name), number_of_milli(scalar.milli)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A share in billionths as people read it: `12.5%`.
pub(crate) fn format_share(billionths: u64) -> String {
    let tenths = billionths.saturating_add(500_000) / 1_000_000;
    match (tenths, billionths) {
        (0, 1..) => "<0.1%".to_owned(),
        _ => format!("{}%", format_milli(tenths.saturating_mul(100))),
    }
}

/// The same for programs, in percent and exactly.
pub(crate) fn share_percent(billionths: u64) -> Value {
    let text = format!("{}.{:07}", billionths / 10_000_000, billionths % 10_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.parse().map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_with_commas_or_semicolons_and_written_back() {
        let written = |text: &str| {
            let limits = parse_limits(text).unwrap();
            let scalars = limits.iter().map(|(name, milli)| v1::Scalar {
                name: name.to_string(),
                milli,
            });
            let scalars = scalars.collect();
            format_quantities(Some(&v1::Quantities { scalars }))
        };
        assert_eq!(written("cpus:10,mem:8192"), "cpus:10;mem:8192");
        assert_eq!(written(" mem:0.5 ; cpus:0;"), "cpus:0;mem:0.5");
        assert_eq!(parse_quantities("cpus:0,mem:1").unwrap().iter().count(), 1);
        assert_eq!(format_quantities(None), "");
    }

    #[test]
    fn wrong_amounts_are_refused_with_the_resource_and_a_remedy() {
        for (text, field) in [
            ("", ""),
            ("cpus", ""),
            ("cpus:1,cpus:2", "cpus"),
            ("cpus:-1", "cpus"),
            ("mem:8g", "mem"),
            ("cpus:0.0001", "cpus"),
        ] {
            let problem = parse_limits(text).unwrap_err();
            assert_eq!(problem.field, field, "{text}: {problem}");
            assert!(!problem.hint.is_empty(), "{text}: {problem}");
        }
        parse_limits("a b:1").unwrap_err();
    }

    #[test]
    fn shares_are_percents() {
        for (billionths, text, json) in [
            (0, "0%", "0"),
            (1, "<0.1%", "1e-7"),
            (125_000_000, "12.5%", "12.5"),
            (333_333_333, "33.3%", "33.3333333"),
            (1_000_000_000, "100%", "100"),
        ] {
            assert_eq!(format_share(billionths), text);
            assert_eq!(share_percent(billionths).to_string(), json);
        }
    }
}
