//! How offers are made, as an operator says it: texts become the allocator's options.

use std::collections::BTreeSet;
use std::str::FromStr;

use proffer_master_core::allocation;
use proffer_model::resources::Amount;
use proffer_model::{Problem, Quantities, ResourceName, Resources, code};
use proffer_server::config::{DurationText, Text};

use super::Options;

/// Alternatives of what an offer holds at least: `cpus:0.01|mem:32`. Empty: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Least(Vec<Quantities>);

impl FromStr for Least {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        text.split('|')
            .map(alternative)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

fn alternative(text: &str) -> Result<Quantities, Problem> {
    let resources: Resources = text.parse()?;
    let mut all = resources.iter();
    let are_amounts =
        all.all(|(kind, amount)| kind.is_plain() && matches!(amount, Amount::Scalar(_)));
    if resources.is_empty() || !are_amounts {
        let message = format!("{:?} is no amount of anything", text.trim());
        return Err(Problem::new(code::FIELD_INVALID, message)
            .hint("write alternatives such as cpus:0.01|mem:32, or nothing for any offer"));
    }
    Ok(resources.quantities())
}

/// The allocator's options, with defaults for what is not said. Their seed is a term's.
pub(super) fn options(said: &Options) -> Result<allocation::Options, Problem> {
    let mut options = allocation::Options::default();
    if let Some(names) = &said.share_excluded {
        let names = names.iter().filter(|name| !name.trim().is_empty());
        let names = names.map(|name| ResourceName::new(name.trim()));
        options.share_excluded = names
            .collect::<Result<BTreeSet<_>, _>>()
            .map_err(|problem| problem.field("share_excluded"))?;
    }
    if let Some(Text(placement)) = &said.placement {
        options.placement = *placement;
    }
    if let Some(Text(Least(least))) = &said.offer_least {
        options.least.clone_from(least);
    }
    if let Some(DurationText(after)) = &said.earmark_after {
        options.earmark_after = *after;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proffer_master_core::allocation::Placement;
    use proffer_server::config::ConfigFile;

    use super::super::Config;
    use super::*;

    fn read(text: &str) -> Result<allocation::Options, Problem> {
        let text = format!("token_file = '/t'\n{text}");
        let options: Options = ConfigFile::new("master.toml", &text).parse()?;
        Config::from_options(options).map(|config| config.core.allocation)
    }

    fn names(options: &allocation::Options) -> Vec<&str> {
        let names = options.share_excluded.iter();
        names.map(ResourceName::as_str).collect()
    }

    #[test]
    fn what_is_said_holds_and_the_rest_is_as_documented() {
        let options = read("").expect("defaults");
        assert_eq!(options, allocation::Options::default());
        let same = read(
            "offer_least = 'cpus:0.01|mem:32'\nplacement = 'spread'\nearmark_after = '30s'\nshare_excluded = []",
        );
        assert_eq!(same.expect("the defaults"), options);
        let options = read("share_excluded = ['gpus', 'disk']").expect("good");
        assert_eq!(names(&options), ["disk", "gpus"]);
        let options = read("placement = 'bin-pack'\nearmark_after = '2m'").expect("good");
        assert_eq!(options.placement, Placement::BinPack);
        assert_eq!(options.earmark_after, Duration::from_secs(120));
        let options = read("offer_least = ''").expect("anything");
        assert!(options.least.is_empty());
        let options = read("offer_least = 'cpus:1;mem:64 | gpus:1'").expect("good");
        let of = |text: &str| text.parse::<Resources>().expect(text).quantities();
        assert_eq!(options.least, [of("cpus:1;mem:64"), of("gpus:1")]);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let many = vec!["cpus:1"; 17].join("|");
        let names: Vec<String> = (0..65).map(|number| format!("'r{number}'")).collect();
        for (key, text) in [
            ("placement", "placement = 'random'".to_owned()),
            ("placement", "placement = ''".to_owned()),
            ("share_excluded", "share_excluded = ['gp us']".to_owned()),
            ("share_excluded", "share_excluded = 'gpus'".to_owned()),
            (
                "share_excluded",
                format!("share_excluded = [{}]", names.join(",")),
            ),
            ("offer_least", "offer_least = 'cpus'".to_owned()),
            ("offer_least", "offer_least = 'cpus:1|'".to_owned()),
            ("offer_least", "offer_least = 'cpus:-1'".to_owned()),
            ("offer_least", "offer_least = 'cpus:0'".to_owned()),
            ("offer_least", "offer_least = 'cpus(eng):1'".to_owned()),
            ("offer_least", "offer_least = 'ports:[1-2]'".to_owned()),
            ("offer_least", format!("offer_least = '{many}'")),
            ("earmark_after", "earmark_after = '0s'".to_owned()),
            ("earmark_after", "earmark_after = '400d'".to_owned()),
            ("earmark_after", "earmark_after = 'never'".to_owned()),
        ] {
            let problem = read(&text).expect_err(&text);
            assert_eq!(problem.field, key, "{text}: {problem}");
        }
    }
}
