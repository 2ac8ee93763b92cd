//! What may be kept in a framework's state, as far as it can be judged by itself: for the master, and for SDKs before they
//! send it.

use crate::code;
use crate::limits::STATE_VALUE_LEN_MAX;
use crate::problem::Problem;

/// Whether a value of so many bytes may be kept.
pub fn judge_state_value(len: usize) -> Result<(), Problem> {
    if len <= STATE_VALUE_LEN_MAX {
        return Ok(());
    }
    let message = format!("the value has {len} bytes; the limit is {STATE_VALUE_LEN_MAX}");
    Err(Problem::new(code::STATE_TOO_LARGE, message)
        .field("value")
        .hint("spread it over several keys"))
}
