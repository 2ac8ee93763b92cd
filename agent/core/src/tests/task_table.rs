//! Every phase of a task on its agent times everything that can happen there: where it stands afterwards, and what is done
//! and said. All of it goes through the core.
//!
//! `--` is a task that the agent does not know any more. What the columns and the marks behind a phase mean is said at
//! [`stage::FROM`] and [`stage::Stage::outcome`].

mod kinds;
mod rows;
mod stage;

use std::collections::BTreeSet;

use stage::{FROM, stage};

/// What happens, and where a task of each column stands then.
const TABLE: &str = "
from                            : re st ru km ki en go xre xw xst xru xki xen

master beats                    : re st ru ki ki fi -- re st st ru ki fi
master welcomes again           : re/u st/u ru/u ki/u ki/u fi/u -- re/u st/u st/u ru/u ki/u fi/u
master refuses the agent        : re/L st/L ru/L ki/L ki/L fi/L --/L re/L st/L st/L ru/L ki/L fi/L
master says it is gone          : kd/L ki/L ki/LT ki/L ki/L fi/L --/L kd/L kd/LT ki/Lx ki/Lx ki/L fi/L
master of an older term kills it: re/L st/L ru/L ki/L ki/L fi/L --/L re/L st/L st/L ru/L ki/L fi/L
master launches it again        : re st ru ki ki fi -- re st st ru ki fi
master launches an older one    : re st ru ki ki fi -- re st st ru ki fi
master launches a newer one     : re/u st/u ru/u ki/u ki/u fi/u --/u re/u st/u st/u ru/u ki/u fi/u
master launches its group again : re st ru ki ki fi -- re st st ru ki fi
master kills it                 : kd/u ki/u ki/Tu ki ki fi -- kd/u kd/u ki/ux ki/ux ki fi
master kills it at once         : kd/u ki/u ki/Tu ki ki fi -- kd/u kd/u ki/ux ki/ux ki/x fi
master keeps its statuses       : re st ru ki ki -- -- re st st ru ki --
master keeps what was never said: re st ru ki ki fi -- re st st ru ki fi
master changes it               : re st ru ki ki fi -- re st st ru ki fi
master has a message            : re st ru ki ki fi -- re st st ru ki fi
master ends the executor        : re st ru ki ki fi -- re st/T st ru ki fi
master says which volumes       : re st ru ki ki fi -- re st st ru ki fi
link opens anew                 : re/L st/L ru/L ki/L ki/L fi/L --/L re/L st/L st/L ru/L ki/L fi/L
link ends                       : re st ru ki ki fi -- re st st ru ki fi

process is recorded             : st/S st ru ki ki fi -- st/S st st ru ki fi
process starts                  : re ru/u ru ki/T ki/T fi/K -- re st st ru ki fi
process cannot be started       : re fa/u fa/u kd/u kd/u fi -- fa/u fa/u st ru ki fi
process ends with 0             : re fi/u fi/u kd/u kd/u fi -- fa/u fa/u st ru ki fi
process ends with 1             : re fa/u fa/u kd/u kd/u fi -- fa/u fa/u st ru ki fi
process is killed               : re fa/u fa/u kd/u kd/u fi -- fa/u fa/u st ru ki fi
process loses its supervisor    : re lo/u lo/u lo/u lo/u fi -- fa/u fa/u st ru ki fi
process fails a check           : re st ru ki ki fi -- re st st ru ki fi
process passes a check          : re st ru ki ki fi -- re st st ru ki fi
process has its volumes         : re st ru ki ki fi -- re st st ru ki fi
process has no volumes          : re st ru ki ki fi -- re st st ru ki fi

executor says running           : re st ru ki ki fi -- re st ru/eu ru/eu ki/e fi/e
executor says finished          : re st ru ki ki fi -- re st fi/eu fi/eu fi/eu fi/e
executor says failed            : re st ru ki ki fi -- re st fa/eu fa/eu fa/eu fi/e
executor says killed            : re st ru ki ki fi -- re st kd/eu kd/eu kd/eu fi/e
executor says again             : re st ru ki ki fi -- re st ru/eu ru/e ki/e fi/e
executor has a message          : re st ru ki ki fi -- re st st ru ki fi
executor does not read          : re st ru ki ki fi -- re st st ru ki fi
executor leaves                 : re st ru ki ki fi -- re st st ru ki fi
executor comes back with it     : re st ru ki ki fi -- re st st ru ki/x fi/x
executor comes back without it  : re st ru ki ki fi -- re st/l st/l lo/u lo/u fi

found never started             : -- st/Su lo/u kd/u kd/u fi/u -- -- st/Su st/Su ru/Su ki/Su fi/u
found running                   : -- ru/u ru/u ki/Tu ki/Tu fi/Ku fi/K -- st/u st/u ru/u ki/u fi/u
found not startable             : -- fa/u fa/u kd/u kd/u fi/u -- -- fa/u fa/u fa/u kd/u fi/u
found ended with 0              : -- fi/u fi/u kd/u kd/u fi/u -- -- fa/u fa/u fa/u kd/u fi/u
found ended with 1              : -- fa/u fa/u kd/u kd/u fi/u -- -- fa/u fa/u fa/u kd/u fi/u
found without its supervisor    : -- lo/u lo/u lo/u lo/u fi/u -- -- fa/u fa/u fa/u kd/u fi/u
found with its host restarted   : -- lo/u lo/u lo/u lo/u fi/u -- -- lo/u lo/u lo/u lo/u fi/u

timer heartbeat                 : re st ru ki ki fi -- re st st ru ki fi
timer heartbeat, a day later    : re/L st/L ru/L ki/L ki/L fi/L --/L re/L st/L st/L ru/L ki/L fi/L
timer resend                    : re/u st/u ru/u ki/u ki/u fi/u -- re/u st/u st/u ru/u ki/u fi/u
timer grace                     : re st ru/K ki ki/K fi -- re st st ru ki/x fi
timer check                     : re st ru/c ki ki fi -- re st st ru ki fi
timer completion                : re st ki/Tu ki ki fi -- re st st ki/ux ki fi
timer completion, a day later   : re st ki/Tu ki ki fi -- re st st ki/ux ki fi
timer executor                  : re st ru ki ki fi -- re st/T st ru ki fi
timer executor, a day later     : re st ru ki ki fi -- re st/T st ru ki fi
timer garbage                   : re st ru ki ki fi -- re st st ru ki fi
timer garbage, a day later      : re st ru ki ki fi --/d re st st ru ki fi
";

#[test]
fn every_phase_and_everything_that_can_happen_lead_where_the_table_says() {
    let rows = TABLE.lines().filter_map(|line| line.split_once(':'));
    let rows: Vec<(&str, Vec<&str>)> = rows
        .map(|(what, outcomes)| (what.trim(), outcomes.split_whitespace().collect()))
        .collect();
    let (head, rows) = rows.split_first().unwrap();
    assert!(head.1.iter().eq(FROM.iter().map(|(name, _)| name)));
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for (what, expected) in rows {
        let mut found = Vec::new();
        for (from, phase) in FROM {
            let mut stage = stage(from);
            assert_eq!(stage.phase(), phase, "{from}");
            stage.drive(what);
            found.push(stage.outcome());
            met.append(&mut stage.met);
        }
        if found != *expected {
            wrong.push(format!("{what:32}: {}", found.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "it is so:\n{}", wrong.join("\n"));
    assert_eq!(met, kinds::all().collect(), "everything happens in a row");
    let phases = FROM.iter().filter_map(|(_, phase)| *phase);
    let phases: BTreeSet<_> = phases.map(kinds::name).collect();
    assert_eq!(
        phases,
        kinds::phases().collect(),
        "every phase has a column"
    );
}
