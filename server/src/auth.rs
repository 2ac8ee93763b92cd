//! Who calls, and what they may do: the local token, the guard before every router, one table of permissions.
//!
//! Any task or web page on this host can reach 127.0.0.1, so the guard checks three things in this order: Host and Origin
//! are ours, the token is right, and only then, if the operator spelled it out, that no token is needed on loopback.

mod authorize;
mod guard;
mod origin;
mod token;

pub use authorize::{Action, Object, authorize};
pub use guard::{ANONYMOUS, Guard, LOCAL, SaidName};
pub use token::{LocalToken, default_token_path};
