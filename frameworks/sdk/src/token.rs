//! Finds the token of this host. Where it stands is the rule of `proffer_model::token`; here the environment, the user and
//! the file are read. The token is never shown, not even in an error.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use proffer_model::token::{TokenPlace, parse_token};
use proffer_model::{Problem, Secret, code};
use tokio::io::AsyncReadExt;

use crate::limits::TOKEN_FILE_LEN_MAX;

/// The token of this host: `$PROFFER_TOKEN_FILE`, or the file that the first start of a server made for this user. The
/// error names the file and is `auth.missing` when there is none.
pub async fn find_local_token() -> Result<Secret, Problem> {
    read_token(&local_path()?).await
}

fn local_path() -> Result<PathBuf, Problem> {
    let token_file = env::var_os("PROFFER_TOKEN_FILE");
    let state_home = env::var_os("XDG_STATE_HOME");
    let home = env::var_os("HOME");
    let place = TokenPlace {
        is_root: rustix::process::geteuid().is_root(),
        token_file: token_file.as_deref(),
        state_home: state_home.as_deref(),
        home: home.as_deref(),
    };
    place.path()
}

async fn read_token(path: &Path) -> Result<Secret, Problem> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            ErrorKind::NotFound => code::AUTH_MISSING,
            _ => code::FILE_FAILED,
        };
        let message = format!("the token file {} cannot be read: {error}", path.display());
        Problem::new(code, message)
            .hint("start a master on this host, or name the file in PROFFER_TOKEN_FILE")
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    let mut limited = file.take(TOKEN_FILE_LEN_MAX);
    limited.read_to_string(&mut text).await.map_err(failed)?;
    parse_token(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_file_is_read_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let problem = read_token(&path).await.expect_err("no file yet");
        assert!(problem.is(code::AUTH_MISSING), "{problem}");
        assert!(problem.message.contains("token"), "{problem}");

        std::fs::write(&path, format!("{}\n", "a5".repeat(32))).expect("written");
        let token = read_token(&path).await.expect("a token");
        assert_eq!(token.expose(), "a5".repeat(32));

        std::fs::write(&path, "not a token").expect("written");
        let problem = read_token(&path).await.expect_err("not a token");
        assert!(!problem.to_string().contains("not a token"), "{problem}");
    }
}
