//! Where the local token lives and what it looks like: one rule for servers, the command line and SDKs.
//!
//! Pure: the caller reads the environment and the file. Nothing here ever shows a token, not even in an error.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::code;
use crate::problem::Problem;
use crate::secret::Secret;

/// Bytes of a token before they are written as twice as many hexadecimal digits.
pub const TOKEN_LEN: usize = 32;

/// What decides where the token is: the caller's user and four environment variables, as they are set.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenPlace<'a> {
    /// Whether the effective user is root.
    pub is_root: bool,
    /// `PROFFER_TOKEN_FILE`: this very file.
    pub token_file: Option<&'a OsStr>,
    /// `XDG_STATE_HOME`; a relative one is ignored, as its specification says.
    pub state_home: Option<&'a OsStr>,
    /// `HOME`.
    pub home: Option<&'a OsStr>,
}

impl TokenPlace<'_> {
    /// The token's path: `$PROFFER_TOKEN_FILE`; else `/var/lib/proffer/token` for root; else `proffer/token` in
    /// `$XDG_STATE_HOME` or `~/.local/state`. An empty variable counts as unset. The error is `config.invalid`.
    pub fn path(&self) -> Result<PathBuf, Problem> {
        if let Some(file) = given(self.token_file) {
            return Ok(file.to_owned());
        }
        if self.is_root {
            return Ok(PathBuf::from("/var/lib/proffer/token"));
        }
        let state_home = given(self.state_home).filter(|path| path.is_absolute());
        let home = given(self.home).filter(|path| path.is_absolute());
        state_home
            .map(Path::to_owned)
            .or_else(|| home.map(|home| home.join(".local/state")))
            .map(|state| state.join("proffer/token"))
            .ok_or_else(|| {
                Problem::new(
                    code::CONFIG_INVALID,
                    "the token's place is unknown: HOME is not set",
                )
                .hint("set HOME, XDG_STATE_HOME or PROFFER_TOKEN_FILE")
            })
    }
}

fn given(variable: Option<&OsStr>) -> Option<&Path> {
    variable.filter(|text| !text.is_empty()).map(Path::new)
}

/// Reads the content of a token file: 64 hexadecimal digits, white space around them ignored.
pub fn parse_token(text: &str) -> Result<Secret, Problem> {
    let text = text.trim();
    if text.len() != 2 * TOKEN_LEN || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Problem::new(
            code::CONFIG_INVALID,
            format!("the token is not {} hexadecimal digits", 2 * TOKEN_LEN),
        )
        .hint("remove the token file and restart; a new one is made"));
    }
    Ok(Secret::new(text.to_ascii_lowercase()))
}

/// Writes random bytes as a token.
pub fn format_token(random: [u8; TOKEN_LEN]) -> Secret {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('0');
    let hex: String = random
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect();
    Secret::new(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_variable_then_user_then_state_directory() {
        let table = [
            // root, PROFFER_TOKEN_FILE, XDG_STATE_HOME, HOME, path
            (false, "/t", "/x", "/h", Some("/t")),
            (true, "/t", "/x", "/h", Some("/t")),
            (true, "", "/x", "/h", Some("/var/lib/proffer/token")),
            (false, "", "/x", "/h", Some("/x/proffer/token")),
            (false, "", "x", "/h", Some("/h/.local/state/proffer/token")),
            (false, "", "", "/h", Some("/h/.local/state/proffer/token")),
            (false, "", "", "h", None),
            (false, "", "", "", None),
        ];
        for (is_root, token_file, state_home, home, expected) in table {
            let place = TokenPlace {
                is_root,
                token_file: Some(OsStr::new(token_file)),
                state_home: Some(OsStr::new(state_home)),
                home: Some(OsStr::new(home)),
            };
            assert_eq!(place.path().ok(), expected.map(PathBuf::from), "{place:?}");
        }
        TokenPlace::default().path().expect_err("nothing is set");
    }

    #[test]
    fn a_token_is_64_hexadecimal_digits_and_never_shown() {
        let secret = format_token([0xa5; TOKEN_LEN]);
        assert_eq!(secret.expose(), "a5".repeat(TOKEN_LEN));
        let read = parse_token(&format!(" {}\n", secret.expose().to_uppercase())).expect("good");
        assert_eq!(read, secret);
        for bad in ["", "a5", &"g5".repeat(TOKEN_LEN), &"a5".repeat(33)] {
            let problem = parse_token(bad).expect_err(bad);
            assert!(bad.is_empty() || !problem.to_string().contains(bad));
        }
    }
}
