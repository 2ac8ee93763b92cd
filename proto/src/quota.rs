//! What operators decide about roles and agents: quota, weights, drains.

use proffer_model::limits::DURATION_MAX;
use proffer_model::{Drain, Problem, Quota, Weight};

use crate::fields::{decode_duration, encode_duration, missing, required};
use crate::resources::{decode_limits, decode_quantities, encode_limits, encode_quantities};
use crate::v1;

/// A quota, for the wire.
pub fn encode_quota(quota: &Quota) -> v1::Quota {
    v1::Quota {
        guarantees: Some(encode_quantities(&quota.guarantees)),
        limits: Some(encode_limits(&quota.limits)),
    }
}

/// A quota, from the wire. A guarantee of nothing is none; a limit of nothing is one.
pub fn decode_quota(quota: Option<v1::Quota>) -> Result<Quota, Problem> {
    let quota = required(quota, "quota")?;
    let guarantees = quota.guarantees.unwrap_or_default();
    let limits = quota.limits.unwrap_or_default();
    Ok(Quota {
        guarantees: decode_quantities(guarantees)
            .map_err(|problem| problem.within("quota.guarantees"))?,
        limits: decode_limits(limits).map_err(|problem| problem.within("quota.limits"))?,
    })
}

/// A weight, from the wire.
pub fn decode_weight(milli: u32) -> Result<Weight, Problem> {
    match milli {
        0 => {
            Err(missing("weight_milli")
                .hint("give a weight in thousandths; 1000 is the common one"))
        }
        milli => Ok(Weight(milli)),
    }
}

/// A drain, for the wire.
pub fn encode_drain(drain: &Drain) -> v1::Drain {
    v1::Drain {
        since_wall_ms: drain.since_wall_ms,
        deadline_ms: drain.deadline.map(encode_duration),
        left_ms: drain.left.map(encode_duration),
        drained: drain.is_drained,
        ends_wall_ms: None,
        mark_gone: drain.marks_gone,
    }
}

/// A drain, from the wire.
pub(crate) fn decode_drain(drain: v1::Drain) -> Result<Drain, Problem> {
    Ok(Drain {
        since_wall_ms: drain.since_wall_ms,
        deadline: decode_deadline(drain.deadline_ms)?,
        // Records of the version before did not say: all of it.
        left: decode_deadline(drain.left_ms.or(drain.deadline_ms))?,
        is_drained: drain.drained,
        marks_gone: drain.mark_gone,
    })
}

/// A deadline from now, from the wire.
pub fn decode_deadline(ms: Option<u64>) -> Result<Option<std::time::Duration>, Problem> {
    ms.map(|ms| decode_duration(ms, "deadline_ms", DURATION_MAX))
        .transpose()
}
