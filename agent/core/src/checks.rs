//! Health: when a check is due, what its results add up to, and when a task has failed so often that it is killed.
//!
//! The subtle thing is the grace: failures do not count until it has passed or the check has passed once, whichever is
//! first, as in Marathon. Uncounted failures change nothing, so a task that still starts is not called unhealthy; they
//! are only repeated sooner than the interval says.

use std::time::Duration;

use proffer_model::{Check, CheckAnswer, CheckKind, CheckResult, Probe, Reason, Status, Time};

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::event::{RunId, TimerKey};
use crate::limits::FIRST_CHECK_INTERVAL_MIN;
use crate::tasks::Phase;

/// What the checks of one run say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    /// When its process started; absent while it does not run.
    started: Option<Time>,
    checks: Vec<CheckState>,
    /// The task's health has changed, but too many statuses wait for an acknowledgement.
    pub(crate) is_unsaid: bool,
}

#[derive(Clone, Debug, Default)]
struct CheckState {
    /// How it probes, if what it is answered is told alone.
    observed: Option<Probe>,
    /// The last result that counts.
    passed: Option<bool>,
    /// What the last probe was answered, if there has been one; and whether it was answered.
    said: Option<Option<CheckAnswer>>,
    has_passed_once: bool,
    failures: u32,
    /// Failures that did not count.
    early_failures: u32,
    probed: Time,
    is_running: bool,
}

impl Health {
    /// The health of a run that started then, with what was last said of it.
    fn begin(checks: &[Check], started: Time, latest: &Status) -> Self {
        let known = latest.healthy;
        let begin = |(index, check): (u32, &Check)| match check.observed() {
            None => CheckState {
                passed: known,
                has_passed_once: known == Some(true),
                ..CheckState::default()
            },
            observed => CheckState {
                observed,
                said: latest
                    .checks
                    .iter()
                    .find(|result| result.check == index)
                    .map(|result| result.answer),
                ..CheckState::default()
            },
        };
        Self {
            started: Some(started),
            checks: (0..).zip(checks).map(begin).collect(),
            is_unsaid: false,
        }
    }

    /// Unhealthy when one says so, healthy when all say so, otherwise not known yet.
    pub(crate) fn verdict(&self) -> Option<bool> {
        let mut counted = self.checks.iter().filter(|check| check.observed.is_none());
        if counted.clone().any(|check| check.passed == Some(false)) {
            return Some(false);
        }
        let all = counted.clone().next().is_some() && counted.all(|c| c.passed == Some(true));
        all.then_some(true)
    }

    /// What each check said last.
    pub(crate) fn results(&self) -> Vec<CheckResult> {
        let checks = (0..).zip(&self.checks);
        let results = checks.filter_map(|(check, state)| {
            let answer = match state.observed {
                None => state.said?,
                Some(_) => state.said.flatten(),
            };
            Some(CheckResult {
                check,
                answer,
                observed: state.observed,
            })
        });
        results.collect()
    }

    /// Whether what observed checks are answered is what was last said of them. Of one that has not ended once nothing is.
    fn is_told(&self, latest: &Status) -> bool {
        let checks = (0..).zip(&self.checks);
        let mut observed = checks.filter(|(_, state)| state.observed.is_some());
        observed.all(|(check, state)| {
            state.said.is_none_or(|answer| {
                let observed = state.observed;
                latest.checks.contains(&CheckResult {
                    check,
                    answer,
                    observed,
                })
            })
        })
    }

    /// When a check is due again: after its interval, or sooner while its failures do not count.
    fn next_probe(&self, index: usize, spec: &Check) -> Time {
        let Some(check) = self.checks.get(index) else {
            return Time::default();
        };
        let is_early = check.early_failures > 0 && !check.has_passed_once && check.failures == 0;
        let doublings = check.early_failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let early = FIRST_CHECK_INTERVAL_MIN.saturating_mul(factor);
        let wait = if is_early {
            early.min(spec.interval)
        } else {
            spec.interval
        };
        check.probed.after(wait)
    }

    /// Takes a result in; answers how many failures in a row count now.
    fn finish(
        &mut self,
        now: Time,
        index: usize,
        spec: &Check,
        (passed, answer): (bool, Option<CheckAnswer>),
    ) -> Option<u32> {
        let started = self.started?;
        let check = self.checks.get_mut(index).filter(|c| c.is_running)?;
        check.is_running = false;
        check.said = Some(answer);
        if check.observed.is_some() {
            return Some(0);
        }
        if passed {
            check.passed = Some(true);
            check.has_passed_once = true;
            check.failures = 0;
        } else if check.has_passed_once || now.since(started) >= spec.grace {
            check.passed = Some(false);
            check.failures = check.failures.saturating_add(1);
        } else {
            check.early_failures = check.early_failures.saturating_add(1);
        }
        Some(check.failures)
    }
}

impl Core {
    /// Begins the checks of a run whose process started `ago`.
    pub(crate) fn begin_checks(
        &mut self,
        now: Time,
        run: RunId,
        ago: Duration,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let ns = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
        let started = Time {
            mono_ns: now.mono_ns.saturating_sub(ns),
            ..now
        };
        let latest = task.updates.latest();
        task.health = Health::begin(&task.spec.checks, started, latest);
        for (index, check) in task.spec.checks.iter().enumerate() {
            effects.push(Effect::SetTimer {
                key: TimerKey::Check(run, index),
                at: started.after(check.delay).max(now),
            });
        }
    }

    /// Ends the checks of a run; one that is under way is ignored when it finishes.
    pub(crate) fn end_checks(&mut self, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        for index in 0..task.health.checks.len() {
            effects.push(Effect::CancelTimer(TimerKey::Check(run, index)));
        }
        task.health = Health::default();
    }

    pub(crate) fn on_check_due(
        &mut self,
        now: Time,
        run: RunId,
        index: usize,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let Some(spec) = task.spec.checks.get(index) else {
            return;
        };
        let Some(state) = task.health.checks.get_mut(index) else {
            return;
        };
        if task.phase != Phase::Running || state.is_running {
            return;
        }
        state.is_running = true;
        state.probed = now;
        effects.push(Effect::RunCheck {
            run,
            check: index,
            kind: spec.kind.clone(),
            timeout: spec.timeout,
        });
    }

    pub(crate) fn on_check_finished(
        &mut self,
        now: Time,
        run: RunId,
        index: usize,
        (failure, answer): (Option<&str>, Option<CheckAnswer>),
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let spec = task.spec.clone();
        let Some(check) = spec.checks.get(index) else {
            return;
        };
        let result = (failure.is_none(), answer);
        let Some(failures) = task.health.finish(now, index, check, result) else {
            return;
        };
        let at = task.health.next_probe(index, check).max(now);
        let key = TimerKey::Check(run, index);
        effects.push(Effect::SetTimer { key, at });
        self.say_health(now, run, failure.unwrap_or_default(), effects);
        if check.failures_max > 0 && failures >= check.failures_max {
            let message = format!(
                "{} failed {failures} times in a row: {}",
                describe(check),
                failure.unwrap_or_default()
            );
            let grace = spec.kill_grace;
            self.ask_kill(now, run, grace, Reason::CheckFailed, &message, effects);
        }
    }

    /// Makes a status if the task's health, or what an observed check is answered, is not what was last said, and there is
    /// room for one.
    pub(crate) fn say_health(
        &mut self,
        now: Time,
        run: RunId,
        message: &str,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let latest = task.updates.latest();
        let is_same = task.health.verdict() == latest.healthy;
        if task.phase != Phase::Running || (is_same && task.health.is_told(latest)) {
            task.health.is_unsaid = false;
            return;
        }
        let reason = match is_same {
            true => Reason::CheckAnswered,
            false => Reason::HealthChanged,
        };
        task.health.is_unsaid = !task.updates.has_room();
        if !task.health.is_unsaid {
            let state = latest.state;
            self.report(now, run, state, reason, message, None, effects);
        }
    }
}

fn describe(check: &Check) -> String {
    match &check.kind {
        CheckKind::Http { port, path } => format!("the check of HTTP port {port}, path {path}"),
        CheckKind::Tcp { port } => format!("the check of TCP port {port}"),
        CheckKind::Command { .. } => "the check by a command".to_owned(),
    }
}
