//! Every state of a task times everything that can happen to it: where it stands afterwards, what is said of it and to whom,
//! and whether it holds anything. All of it goes through the core.
//!
//! The table is the whole rule: a greater state wins, an end is final, out of unreachable leads what the agent says when it
//! is back. `--` is a task that is not known any more. What the marks behind a state mean is said at [`Stage::outcome`].

mod calls;
mod kinds;
mod stage;

use std::collections::BTreeSet;

use stage::stage;

/// What happens, and where a task of each state stands then.
const TABLE: &str = "
from                            : sg st ru ki un fi fa kd er dr lo

says sg                         : sg/t st/t ru/t ki/t un fi/t fa/t kd/t er/t dr/t lo/t
says st                         : st/t st/t ru/t ki/t un fi/t fa/t kd/t er/t dr/t lo/t
says ru                         : ru/t ru/t ru/t ki/t un fi/t fa/t kd/t er/t dr/t lo/t
says ki                         : ki/t ki/t ki/t ki/t un fi/t fa/t kd/t er/t dr/t lo/t
says un                         : un/t un/t un/t un/t un fi/t fa/t kd/t er/t dr/t lo/t
says fi                         : fi/t fi/t fi/t fi/t un fi/t fa/t kd/t er/t dr/t lo/t
says fa                         : fa/t fa/t fa/t fa/t un fi/t fa/t kd/t er/t dr/t lo/t
says kd                         : kd/t kd/t kd/t kd/t un fi/t fa/t kd/t er/t dr/t lo/t
says er                         : er/t er/t er/t er/t un fi/t fa/t kd/t er/t dr/t lo/t
says dr                         : dr/t dr/t dr/t dr/t un fi/t fa/t kd/t er/t dr/t lo/t
says lo                         : lo/t lo/t lo/t lo/t un fi/t fa/t kd/t er/t dr/t lo/t
says again                      : sg/a st ru ki un fi fa kd er dr lo
says late                       : sg/tf st/tf ru/tf ki/tf un fi/t fa/t kd/t er/t dr/t lo/t
says older                      : sg/a st/a ru/a ki/a un fi/a fa/a kd/a er/a dr/a lo/a

agent beats                     : sg st ru ki un fi fa kd er dr lo
agent registers twice           : sg st ru ki un fi fa kd er dr lo
agent says an executor ended    : sg st ru ki un fi fa kd er dr lo
agent passes a message on       : sg st ru ki un fi fa kd er dr lo
agent is disconnected           : sg st ru ki un fi fa kd er dr lo
agent returns                   : sg st ru ki ru/t fi fa kd er dr lo
agent returns ended             : fa/t fa/t fa/t fa/t fa/t fi/t fa/t kd/t er/t dr/t lo/t
agent returns without           : dr/t lo/t lo/t lo/t lo/t fi fa kd er dr lo
agent returns newer             : ru/k ru/k ru/k ru/k ru/k ru ru ru ru ru ru
agent of another id has it      : sg st ru ki ru fi/a fa/a kd/a er/a dr/a lo/a

call subscribe                  : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
call set demand                 : sg st ru ki un fi fa kd er dr lo
call accept                     : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
call decline                    : sg st ru ki un fi fa kd er dr lo
call kill                       : sg/k st/k ru/k ki/k un fi/t fa/t kd/t er/t dr/t lo/t
call acknowledge                : sg st/a ru/a ki/a un --/a --/a --/a --/a --/a --/a
call acknowledge one            : sg st/a ru/a ki/a un --/a --/a --/a --/a --/a --/a
call reconcile                  : sg/t st/t ru/t ki/t un/t fi/t fa/t kd/t er/t dr/t lo/t
call reconcile all              : sg/t st/t ru/t ki/t un/t fi/t fa/t kd/t er/t dr/t lo/t
call teardown                   : --/krh --/krh --/krh --/krh --/rh --/r --/r --/r --/r --/r --/r
call update task                : sg st ru ki un/r fi/r fa/r kd/r er/r dr/r lo/r
call send message               : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
call shutdown executor          : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
call malformed                  : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
script kill                     : sg/k st/k ru/k ki/k un fi/t fa/t kd/t er/t dr/t lo/t
script reconcile                : sg/t st/t ru/t ki/t un/t fi/t fa/t kd/t er/t dr/t lo/t
script teardown                 : --/krh --/krh --/krh --/krh --/rh --/r --/r --/r --/r --/r --/r
script update task              : sg st ru ki un/r fi/r fa/r kd/r er/r dr/r lo/r
script send message             : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
script shutdown executor        : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
session ends                    : sg st ru ki un fi fa kd er dr lo
session ends, another begins    : sg/t st/t ru/t ki/t un/t fi/t fa/t kd/t er/t dr/t lo/t
session is taken over           : sg/tr st/tr ru/tr ki/tr un/tr fi/tr fa/tr kd/tr er/tr dr/tr lo/tr
session watches                 : sg st ru ki un fi fa kd er dr lo
session reads its watch         : sg st ru ki un fi fa kd er dr lo
session watches no more         : sg st ru ki un fi fa kd er dr lo
state get                       : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
state put                       : sg st ru ki un fi fa kd er dr lo
state delete                    : sg st ru ki un fi fa kd er dr lo
state list                      : sg st ru ki un fi fa kd er dr lo
state list a page               : sg st ru ki un fi fa kd er dr lo

operator explains               : sg st ru ki un fi fa kd er dr lo
operator lists roles            : sg st ru ki un fi fa kd er dr lo
operator sets a quota           : sg st ru ki un fi fa kd er dr lo
operator sets quotas            : sg st ru ki un fi fa kd er dr lo
operator removes a quota        : sg st ru ki un fi fa kd er dr lo
operator sets a weight          : sg st ru ki un fi fa kd er dr lo
operator removes a weight       : sg st ru ki un fi fa kd er dr lo
operator reserves               : sg st ru ki un/r fi fa kd er dr lo
operator resizes a volume       : sg/r st/r ru/r ki/r un/r fi/r fa/r kd/r er/r dr/r lo/r
operator deactivates the agent  : sg st ru ki un fi fa kd er dr lo
operator drains the agent       : sg st ru ki un fi fa kd er dr lo
operator drains it by a deadline: sg/k st/k ru/k ki/k un fi fa kd er dr lo
operator marks the agent gone   : lo/t lo/t lo/t lo/t lo/t fi fa kd er dr lo
operator reactivates the agent  : sg st ru ki un fi fa kd er dr lo
operator kills the task         : sg/k st/k ru/k ki/k un fi/r fa/r kd/r er/r dr/r lo/r
operator ends the framework     : --/krh --/krh --/krh --/krh --/rh --/r --/r --/r --/r --/r --/r

timer silence                   : sg st ru ki un fi fa kd er dr lo
timer silence, long             : un/t un/t un/t un/t un fi fa kd er dr lo
timer offer expiry              : sg st ru ki un fi fa kd er dr lo
timer allocate                  : sg st ru ki un fi fa kd er dr lo
timer failover                  : sg st ru ki un fi fa kd er dr lo
timer failover, due             : --/kh --/kh --/kh --/kh --/h -- -- -- -- -- --
timer heartbeat                 : sg st ru ki un fi fa kd er dr lo
timer port rest                 : sg st ru ki un fi fa kd er dr lo
timer drain                     : sg st ru ki un fi fa kd er dr lo
timer reclaim                   : sg st ru ki un fi fa kd er dr lo
timer telling                   : sg st ru ki un fi fa kd er dr lo
timer demands                   : sg st ru ki un fi fa kd er dr lo
timer watches                   : sg st ru ki un fi fa kd er dr lo
timer questions                 : sg st ru ki un fi fa kd er dr lo
timer forget                    : sg st ru ki un fi fa kd er dr lo
timer persisted                 : sg st ru ki un fi fa kd er dr lo
";

/// The rows: what happens, and its outcome of each state.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let rows = TABLE.lines().filter_map(|line| line.split_once(':'));
    rows.map(|(what, outcomes)| (what.trim(), outcomes.split_whitespace().collect()))
        .collect()
}

#[test]
fn every_state_and_everything_that_can_happen_lead_where_the_table_says() {
    let states = kinds::states();
    let (head, rows) = rows()
        .split_first()
        .map(|(head, rows)| (head.clone(), rows.to_vec()))
        .expect("a head");
    let names: Vec<_> = states.iter().map(|(name, _)| *name).collect();
    assert_eq!(head.1, names);
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for (what, expected) in rows {
        let mut found = Vec::new();
        for (_, from) in &states {
            let mut stage = stage(*from);
            stage.drive(what, *from);
            found.push(stage.outcome());
            met.append(&mut stage.met);
        }
        if found != expected {
            wrong.push(format!("{what:32}: {}", found.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "it is so:\n{}", wrong.join("\n"));
    assert_eq!(met, kinds::all().collect(), "everything happens in a row");
}
