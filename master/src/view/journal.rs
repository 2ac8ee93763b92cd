//! Facts for the log and the counters: constant messages with fields. WARN is for what an operator did not ask for.
//!
//! Rows and what happens a thousand times a second are DEBUG or not logged at all; they are in the metrics. What others
//! wrote is escaped and cut.

use proffer_master_core::effect::{Fact, OfferEnd};
use proffer_server::log::Untrusted;

use crate::metrics::{AGAIN, ClusterMetrics, Code, GONE, How, NEW, UNREACHABLE};

/// Logs a fact.
pub(crate) fn log(fact: &Fact) {
    match fact {
        Fact::Agent(_)
        | Fact::Framework(_)
        | Fact::Task(_)
        | Fact::Offer(_)
        | Fact::OfferGone { .. }
        | Fact::Executor(_)
        | Fact::ExecutorGone { .. }
        | Fact::AgentRegistered { .. }
        | Fact::AgentsWereGone { .. }
        | Fact::GoneForgotten { .. } => {}
        Fact::FrameworkGone { framework } => tracing::info!(%framework, "a framework is over"),
        Fact::AgentSuspected { agent } => tracing::info!(%agent, "an agent is silent"),
        Fact::AgentReturned { agent } => tracing::info!(%agent, "an agent is back"),
        Fact::AgentUnreachable { agent, tasks } => {
            tracing::warn!(%agent, tasks, "an agent is unreachable");
        }
        Fact::AgentGone { agent, tasks } => {
            tracing::info!(%agent, tasks, "an agent is marked gone");
        }
        Fact::AgentForgotten { agent } => {
            tracing::info!(%agent, "an agent was unreachable for long and is forgotten");
        }
        Fact::AgentDrained { agent } => tracing::info!(%agent, "an agent is drained"),
        Fact::Reclaimed {
            framework,
            count,
            reason,
        } => {
            tracing::info!(%framework, count, %reason, "tasks are wanted back");
        }
        Fact::LossHeld { silent, agents } => {
            tracing::warn!(
                silent,
                agents,
                "many agents fell silent together; none is declared unreachable until some are back"
            );
        }
        Fact::AgentRefused { agent, problem } => {
            let agent = agent.as_ref().map(ToString::to_string).unwrap_or_default();
            let (code, message) = (Untrusted(&problem.code), Untrusted(&problem.message));
            tracing::warn!(%agent, %code, %message, "an agent was refused");
        }
        Fact::FrameworkSubscribed { framework, is_new } => {
            tracing::info!(%framework, is_new, "a framework has subscribed");
        }
        Fact::FrameworkDisconnected { framework } => {
            tracing::info!(%framework, "a framework has no session");
        }
        Fact::OffersSent { framework, count } => {
            tracing::debug!(%framework, count, "offers were sent");
        }
        Fact::OffersEnded {
            framework,
            count,
            how,
        } => tracing::debug!(%framework, count, how = end_name(*how), "offers have ended"),
        Fact::TasksLaunched { framework, count } => {
            tracing::debug!(%framework, count, "tasks were accepted for launch");
        }
        Fact::CallRefused { framework, problem } => {
            let framework = framework.as_ref().map(ToString::to_string);
            let framework = framework.unwrap_or_default();
            let (code, field) = (Untrusted(&problem.code), Untrusted(&problem.field));
            let message = Untrusted(&problem.message);
            tracing::debug!(%framework, %code, %field, %message, "a call was refused");
        }
    }
}

/// Counts a fact.
pub(crate) fn count(fact: &Fact, metrics: &ClusterMetrics) {
    match fact {
        Fact::OffersSent { count, .. } => {
            metrics.offers_sent.inc_by(*count);
        }
        Fact::OffersEnded { count, how, .. } => {
            let how = end_name(*how);
            metrics
                .offers_ended
                .get_or_create(&How { how })
                .inc_by(*count);
        }
        Fact::TasksLaunched { count, .. } => {
            metrics.launches.inc_by(*count);
        }
        Fact::CallRefused { problem, .. } => {
            let code = problem.code.to_string();
            metrics.calls_refused.get_or_create(&Code { code }).inc();
        }
        Fact::AgentRegistered { is_new, .. } => {
            let how = if *is_new { NEW } else { AGAIN };
            metrics.registrations.get_or_create(&How { how }).inc();
        }
        Fact::AgentUnreachable { .. } => lose(metrics, UNREACHABLE),
        Fact::AgentGone { .. } => lose(metrics, GONE),
        Fact::Agent(_)
        | Fact::Framework(_)
        | Fact::FrameworkGone { .. }
        | Fact::Task(_)
        | Fact::Offer(_)
        | Fact::OfferGone { .. }
        | Fact::Executor(_)
        | Fact::ExecutorGone { .. }
        | Fact::AgentSuspected { .. }
        | Fact::AgentReturned { .. }
        | Fact::AgentForgotten { .. }
        | Fact::AgentsWereGone { .. }
        | Fact::GoneForgotten { .. }
        | Fact::AgentDrained { .. }
        | Fact::Reclaimed { .. }
        | Fact::LossHeld { .. }
        | Fact::AgentRefused { .. }
        | Fact::FrameworkSubscribed { .. }
        | Fact::FrameworkDisconnected { .. } => {}
    }
}

fn lose(metrics: &ClusterMetrics, how: &'static str) {
    metrics.losses.get_or_create(&How { how }).inc();
}

fn end_name(how: OfferEnd) -> &'static str {
    match how {
        OfferEnd::Declined => "declined",
        OfferEnd::Expired => "expired",
        OfferEnd::Rescinded => "rescinded",
    }
}
