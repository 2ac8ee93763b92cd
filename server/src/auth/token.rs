//! The local token: a file that only its owner can read, made by the first program that needs it.
//!
//! Made whole or not at all: written beside its place, then linked to it, which fails if another was first; the loser
//! takes the winner's. Who can read the file is the operator of this host, so a file that others can read is refused.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use proffer_model::token::{TOKEN_LEN, TokenPlace, format_token, parse_token};
use proffer_model::{Problem, Secret, code};
use subtle::ConstantTimeEq;

use crate::limits::TOKEN_FILE_LEN_MAX;

/// The token of this host and user. Never shown.
#[derive(Clone)]
pub struct LocalToken(Secret);

impl fmt::Debug for LocalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalToken([redacted])")
    }
}

impl LocalToken {
    /// A token that is known already, for tests and for `proffer dev`.
    pub fn new(token: Secret) -> Self {
        Self(token)
    }

    /// Reads the token for a client. Errors: `auth.missing` when there is none, `file.failed`, `config.invalid`.
    pub fn load(path: &Path) -> Result<Self, Problem> {
        read(path)?.map(Self).ok_or_else(|| {
            Problem::new(code::AUTH_MISSING, format!("there is no token at {}", path.display())).hint(
                "start a master, which makes it, as this user, or set PROFFER_TOKEN_FILE to one that you can read",
            )
        })
    }

    /// Reads the token, or makes one and its directory. Several programs may do so at once; all get the same token.
    pub fn load_or_create(path: &Path) -> Result<Self, Problem> {
        if let Some(token) = read(path)? {
            return Ok(Self(token));
        }
        create(path).map_err(|error| failed(path, "made", &error))?;
        Self::load(path)
    }

    /// Whether `offered` is this token. Takes the same time for every wrong one of the same length.
    pub fn matches(&self, offered: &str) -> bool {
        self.0.expose().as_bytes().ct_eq(offered.as_bytes()).into()
    }

    /// The token itself, for the header of a call.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Where the token of this user is; see [`TokenPlace::path`].
pub fn default_token_path() -> Result<PathBuf, Problem> {
    let [token_file, state_home, home] =
        ["PROFFER_TOKEN_FILE", "XDG_STATE_HOME", "HOME"].map(std::env::var_os);
    TokenPlace {
        is_root: rustix::process::geteuid().is_root(),
        token_file: token_file.as_deref(),
        state_home: state_home.as_deref(),
        home: home.as_deref(),
    }
    .path()
}

/// The token in the file; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Secret>, Problem> {
    // Without O_NONBLOCK a fifo in its place would hang us.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read", &error)),
    };
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    check_owner(path, &file, credentials.as_deref().map(Path::new))?;
    let mut text = String::new();
    file.take(TOKEN_FILE_LEN_MAX)
        .read_to_string(&mut text)
        .map_err(|error| failed(path, "read", &error))?;
    let token = parse_token(&text).map_err(|mut problem| {
        problem.message = format!("{}: {}", path.display(), problem.message);
        problem
    })?;
    Ok(Some(token))
}

/// Refuses what others could have written or can read. Asks the open file, not the path, which may change meanwhile.
///
/// `credentials` is where systemd puts what it hands to one service (`LoadCredential=`). It may let the service's user in
/// by an access control list, whose mask shows as what the group may do, though no group may do anything.
fn check_owner(path: &Path, file: &File, credentials: Option<&Path>) -> Result<(), Problem> {
    let metadata = file
        .metadata()
        .map_err(|error| failed(path, "read", &error))?;
    let refused = |what: String, hint: String| {
        Err(Problem::new(
            code::CONFIG_INVALID,
            format!("the token file {} {what}", path.display()),
        )
        .hint(hint))
    };
    if !metadata.is_file() {
        return refused(
            "is not a file".to_owned(),
            "remove it; a new one is made".to_owned(),
        );
    }
    let (owner, me) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != me && owner != 0 {
        return refused(
            format!("belongs to user {owner}"),
            "remove it, or set PROFFER_TOKEN_FILE to one of your own".to_owned(),
        );
    }
    let is_credential = credentials.is_some_and(|directory| path.parent() == Some(directory));
    let others = if is_credential { 0o037 } else { 0o077 };
    if metadata.mode() & others != 0 {
        return refused(
            format!(
                "can be used by others (mode {:03o})",
                metadata.mode() & 0o777
            ),
            format!(
                "run: chmod 600 {0}; if others may have read it, remove it: rm {0}",
                path.display()
            ),
        );
    }
    Ok(())
}

/// Makes the file unless another does so first.
fn create(path: &Path) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let draft = directory.join(format!(
        ".token-{}",
        &format_token(random()?)
            .expose()
            .get(..16)
            .unwrap_or_default()
    ));
    let made = write_draft(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    made?;
    removed?;
    File::open(directory)?.sync_all()
}

fn write_draft(draft: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    writeln!(file, "{}", format_token(random()?).expose())?;
    file.sync_all()
}

fn random() -> io::Result<[u8; TOKEN_LEN]> {
    let mut bytes = [0; TOKEN_LEN];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Problem {
    Problem::new(
        code::FILE_FAILED,
        format!(
            "the token file {} cannot be {what}: {error}",
            path.display()
        ),
    )
    .hint("check the directory's owner and permissions, or set PROFFER_TOKEN_FILE")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state/proffer/token");
        let problem = LocalToken::load(&path).expect_err("none yet");
        assert!(problem.is(code::AUTH_MISSING));
        let made = LocalToken::load_or_create(&path).expect("made");
        let read = LocalToken::load(&path).expect("read");
        assert!(made.matches(read.secret().expose()));
        assert!(!made.matches("") && !made.matches(&"0".repeat(64)));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(
            fs::metadata(path.parent().unwrap()).expect("there").mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).expect("there").count(),
            1,
            "no draft is left"
        );
        assert!(!format!("{made:?}").contains(made.secret().expose()));
    }

    #[test]
    fn eight_that_start_at_once_get_one_token() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state/token");
        let barrier = Barrier::new(8);
        let tokens: Vec<LocalToken> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                LocalToken::load_or_create(&path).expect("a token")
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        for token in &tokens {
            assert!(token.matches(tokens[0].secret().expose()));
        }
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).expect("there").count(),
            1
        );
    }

    #[test]
    fn a_credential_may_have_a_mask_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        LocalToken::load_or_create(&path).expect("made");
        let here = Some(directory.path());
        for (mode, credentials, is_good) in [
            (0o440, here, true),
            (0o400, here, true),
            (0o460, here, false),
            (0o444, here, false),
            (0o440, Some(Path::new("/run/credentials/x")), false),
            (0o440, directory.path().parent(), false),
            (0o440, None, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let file = File::open(&path).expect("there");
            let checked = check_owner(&path, &file, credentials);
            assert_eq!(checked.is_ok(), is_good, "{mode:o} {credentials:?}");
        }
    }

    #[test]
    fn files_that_others_can_use_or_that_are_no_token_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        LocalToken::load_or_create(&path).expect("made");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let problem = LocalToken::load_or_create(&path).expect_err("too open");
            assert!(
                problem.is(code::CONFIG_INVALID) && problem.hint.contains("chmod 600"),
                "{problem}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        for content in ["", "short", &"z".repeat(64), &"a".repeat(5_000)] {
            fs::write(&path, content).expect("written");
            let problem = LocalToken::load_or_create(&path).expect_err("no token");
            assert!(problem.is(code::CONFIG_INVALID), "{problem}");
            assert!(content.is_empty() || !problem.to_string().contains(content));
        }
        let problem = LocalToken::load_or_create(directory.path()).expect_err("a directory");
        assert!(problem.message.contains("is not a file"), "{problem}");
        let problem = LocalToken::load_or_create(&path.join("below")).expect_err("below a file");
        assert!(problem.is(code::FILE_FAILED), "{problem}");
    }
}
