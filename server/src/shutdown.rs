//! Turns SIGINT and SIGTERM into one token that every part of a program watches, and tells the service manager.

use proffer_model::{Problem, code};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::notify;

/// A token that is cancelled by the first SIGINT or SIGTERM. Needs a tokio runtime. Later signals change nothing: what
/// shuts down is bounded in time.
pub fn signals() -> Result<CancellationToken, Problem> {
    let failed = |error: std::io::Error| {
        Problem::new(
            code::INTERNAL,
            format!("signals cannot be watched: {error}"),
        )
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal = name, "shutting down");
        notify::stopping();
        cancelled.cancel();
    });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sigterm_cancels_the_token() {
        let token = signals().expect("signals");
        assert!(!token.is_cancelled());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .expect("kill");
        tokio::time::timeout(Duration::from_secs(10), token.cancelled())
            .await
            .expect("the signal arrives");
    }
}
