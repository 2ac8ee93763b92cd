//! What a user of an image is, by the image's own lists.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::{ImageError, UserFault, shown};
use super::merged;
use crate::limits::{IMAGE_USER_GROUPS_MAX, IMAGE_USERS_LEN_MAX};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The largest number of a user or group, as Docker has it.
const ID_MAX: u32 = i32::MAX.unsigned_abs();

/// What a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Further groups, in order.
    pub(crate) additional_gids: Vec<u32>,
}

/// Finds out what `user` is in an image (`name`, `uid`, `name:group`, `uid:gid`; empty is root), by the image's own
/// `/etc/passwd` and `/etc/group`. Numbers need not be listed there. A group that is named is the only one. Blocks.
pub(crate) fn resolve_user(layers: &[PathBuf], user: &str) -> Result<User, ImageError> {
    let list = |file: &'static str| {
        let content = merged::read(layers, file, IMAGE_USERS_LEN_MAX);
        content.map(Option::unwrap_or_default).map_err(|error| {
            let why = error.to_string();
            UserFault::File { file, why }
        })
    };
    resolve(user, list).map_err(|fault| ImageError::User {
        user: shown(user.as_bytes()),
        fault,
    })
}

pub(super) fn resolve(
    user: &str,
    list: impl Fn(&'static str) -> Result<Vec<u8>, UserFault>,
) -> Result<User, UserFault> {
    let (name, group) = match user.split_once(':') {
        Some((_, "")) => return Err(UserFault::Malformed),
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    if name.contains(['\0', '\n']) || group.is_some_and(|group| group.contains([':', '\0', '\n'])) {
        return Err(UserFault::Malformed);
    }
    let passwd = list(PASSWD)?;
    let passwd = String::from_utf8_lossy(&passwd);
    let listed = passwd.lines().find_map(|line| listed_user(line, name));
    let (uid, own_gid) = match (&listed, id(name)) {
        (Some(listed), _) => (listed.uid, listed.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) if is_number(name) => return Err(UserFault::Malformed),
        (None, None) => return Err(UserFault::NoUser),
    };
    let groups = list(GROUP)?;
    let groups = String::from_utf8_lossy(&groups);
    if let Some(group) = group {
        let listed = groups.lines().find_map(|line| listed_group(line, group));
        let gid = match (listed, id(group)) {
            (Some(gid), _) | (None, Some(gid)) => gid,
            (None, None) if is_number(group) => return Err(UserFault::Malformed),
            (None, None) => return Err(UserFault::NoGroup),
        };
        return Ok(User {
            uid,
            gid,
            additional_gids: Vec::new(),
        });
    }
    let member_of = listed.map(|listed| {
        let gids = groups
            .lines()
            .filter_map(|line| group_of(line, listed.name));
        gids.collect::<BTreeSet<u32>>()
    });
    let member_of = member_of.into_iter().flatten();
    Ok(User {
        uid,
        gid: own_gid,
        additional_gids: member_of.take(IMAGE_USER_GROUPS_MAX).collect(),
    })
}

struct Listed<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// The user of a line of passwd(5), if it has this name or number.
fn listed_user<'a>(line: &'a str, wanted: &str) -> Option<Listed<'a>> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
    let is_it = !name.is_empty() && (name == wanted || id(wanted) == Some(uid));
    is_it.then_some(Listed { name, uid, gid })
}

/// The number of a line of group(5), if it has this name or number.
fn listed_group(line: &str, wanted: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = id(fields.nth(1)?)?;
    let is_it = !name.is_empty() && (name == wanted || id(wanted) == Some(gid));
    is_it.then_some(gid)
}

/// The number of a line of group(5), if this user is listed in it.
fn group_of(line: &str, member: &str) -> Option<u32> {
    let mut fields = line.split(':');
    let gid = id(fields.nth(2)?)?;
    let members = fields.next()?;
    members
        .split(',')
        .any(|listed| listed == member)
        .then_some(gid)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn id(text: &str) -> Option<u32> {
    // Not `+1`, which the parser takes.
    let number = text.parse().ok().filter(|_| is_number(text));
    number.filter(|id| *id <= ID_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\n:x:7:7::/:\nwww:x:33:34:w:/srv:/bin/false\n\
                         1000:x:5:6::/:\nbroken:x:many:1::/:\nhuge:x:4294967295:1::/:\n";
    const GROUPS: &str = "root:x:0:\nwww-data:x:34:\nlog:x:50:syslog,www\nssl:x:40:www\nnot:x:60:wwww,\nbroken:x:y:www\n";

    fn check(user: &str, expected: Result<(u32, u32, &[u32]), &str>) {
        let list = |file: &'static str| {
            let text = if file == PASSWD { USERS } else { GROUPS };
            Ok(text.as_bytes().to_vec())
        };
        let found = resolve(user, list);
        let found = found.map(|user| (user.uid, user.gid, user.additional_gids));
        let expected = expected.map(|(uid, gid, gids)| (uid, gid, gids.to_vec()));
        let found = found.map_err(|fault| fault.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{user}");
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        let no_user = Err("no user of this name is in its /etc/passwd");
        let no_group = Err("no group of this name is in its /etc/group");
        let malformed = Err("this is not a user, or user:group");
        check("", Ok((0, 0, &[])));
        check("root", Ok((0, 0, &[])));
        check("www", Ok((33, 34, &[40, 50])));
        check("33", Ok((33, 34, &[40, 50])));
        check("www:log", Ok((33, 50, &[])));
        check("www:70", Ok((33, 70, &[])));
        check(":log", Ok((0, 50, &[])));
        check("1234", Ok((1234, 0, &[])));
        check("1234:5678", Ok((1234, 5678, &[])));
        // A name that looks like a number is a name first.
        check("1000", Ok((5, 6, &[])));
        check("nobody", no_user);
        check("broken", no_user);
        check("huge", no_user);
        check("+33", no_user);
        check("www:nobody", no_group);
        check("4294967296", malformed);
        check("2147483648", malformed);
        check("www:", malformed);
        check("www:a:b", malformed);
        check("www\n", malformed);
        check("#", no_user);
    }

    #[test]
    fn an_image_without_lists_has_numbers() {
        let nothing = |_: &'static str| Ok(Vec::new());
        assert_eq!(resolve("", nothing).map(|user| user.uid).ok(), Some(0));
        assert_eq!(resolve("7:8", nothing).map(|user| user.gid).ok(), Some(8));
        assert!(resolve("root", nothing).is_err());
    }
}
