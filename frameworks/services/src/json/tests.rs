//! Round trips and refusals of JSON.
