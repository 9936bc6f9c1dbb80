//! Where a user is at home, by the container's /etc/passwd.
//!
//! The image wrote that file, and whoever is root in a running container can have put anything in its place, to be found by
//! the next `exec`: a pipe that nobody writes to, a device without an end, a file of any size with anything in it. So it is
//! looked at before it is opened and again afterwards, opened without waiting for anybody, and read up to a limit. A line
//! that is odd says nothing of the others. What cannot be read says nothing: then `/` is home.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use crate::sys::open;

/// So much of the file is read, in bytes: a hundred thousand users.
const MOST: u64 = 16 << 20;

/// A longer line is none.
const LONGEST: u64 = 64 << 10;

/// Of the process that asks: as its user, in its root.
pub fn of(uid: u32) -> OsString {
    let found = regular(Path::new("/etc/passwd")).and_then(|file| search(BufReader::new(file.take(MOST)), uid));
    OsString::from_vec(found.unwrap_or_else(|| b"/".to_vec()))
}

/// Open for reading, if it is a file like any other.
fn regular(path: &Path) -> Option<File> {
    let is_file = |fd: i32| fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG);
    let found = open::from_here(path, OFlag::O_PATH).ok()?;
    if !is_file(found.as_raw_fd()) {
        return None;
    }
    let opened = open::from_here(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).ok()?;
    is_file(opened.as_raw_fd()).then(|| File::from(opened))
}

/// The first line of the user decides (passwd(5)); one that names no folder means `/`.
fn search(mut passwd: impl BufRead, uid: u32) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while next_line(&mut passwd, &mut line).ok()? {
        if let Some(home) = home_in(&line, uid) {
            return Some(home.to_vec()).filter(|home| !home.is_empty());
        }
    }
    None
}

/// False: there is no more. A line that is too long is left empty.
fn next_line(passwd: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if passwd.by_ref().take(LONGEST).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    let ends = |line: &[u8]| line.len() < LONGEST as usize || line.last() == Some(&b'\n');
    if !ends(line) {
        let mut rest = Vec::new();
        loop {
            rest.clear();
            passwd.by_ref().take(LONGEST).read_until(b'\n', &mut rest)?;
            if ends(&rest) {
                break;
            }
        }
        line.clear();
    }
    Ok(true)
}

/// `name:password:uid:gid:comment:home:shell`, of which the last may be missing. A NUL could not be in an environment.
fn home_in(line: &[u8], uid: u32) -> Option<&[u8]> {
    let mut fields = line.trim_ascii_end().split(|byte| *byte == b':');
    let number = fields.nth(2)?;
    let number = std::str::from_utf8(number).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    fields.nth(2).filter(|home| number.parse() == Ok(uid) && !home.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uid: u32, passwd: &[u8]) -> Option<String> {
        search(passwd, uid).map(|home| home.escape_ascii().to_string())
    }

    fn home(uid: u32, passwd: &[u8]) -> String {
        found(uid, passwd).unwrap_or_else(|| "/".into())
    }

    #[test]
    fn home_is_what_the_first_line_of_the_user_says() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:\nweb2:x:33:33::/other:\nnone:x:5:5:::\n";
        assert_eq!((home(33, passwd).as_str(), home(7, passwd).as_str()), ("/var/www", "/"));
        assert_eq!(found(5, passwd), None);
        assert_eq!(home(1, b"a:x:1:1::/without-a-shell"), "/without-a-shell");
        assert_eq!(home(1, b"a:x:0001:1::/by-number:"), "/by-number");
    }

    #[test]
    fn an_odd_line_says_nothing_of_the_others() {
        let odd: [&[u8]; 12] = [
            b"caf\xe9:x:9:9:\xff\xfe:/\xe9:\n",
            b"\n",
            b":\n",
            b"::::::::\n",
            b"\0\0\0\n",
            b"a:x:1\n",
            b"a:x:1:1:\n",
            b"a:x:-1:1::/minus:\n",
            b"a:x:1 :1::/space:\n",
            b"a:x:99999999999999999999:1::/huge:\n",
            b"a:x:1:1::/n\0l:\n",
            b"+::::::\n",
        ];
        for line in odd {
            let passwd = [line, b"b:x:1:1::/home/b:/bin/sh\n", line].concat();
            assert_eq!(home(1, &passwd), "/home/b", "{:?}", line.escape_ascii().to_string());
        }
        assert_eq!(home(9, odd[0]), r"/\xe9");
    }

    #[test]
    fn a_line_without_an_end_is_skipped_whatever_its_length_and_what_follows_it_counts() {
        for length in [LONGEST as usize - 1, LONGEST as usize, LONGEST as usize + 1, 3 * LONGEST as usize] {
            let mut passwd = vec![b'x'; length];
            assert_eq!(found(1, &passwd), None);
            passwd.extend(b"\na:x:1:1::/home/a:\n");
            assert_eq!(home(1, &passwd), "/home/a", "{length}");
            let of_user = [b"a:x:1:1:", vec![b'c'; length].as_slice(), b":/far:\n"].concat();
            assert_eq!(found(1, &of_user), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
        std::os::unix::fs::symlink("device2", at("device2")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for name in ["fifo", "socket", "device", "device2", "folder", "nothing"] {
            assert!(regular(&at(name)).is_none(), "{name}");
        }
        assert!(regular(&at("file")).is_some());
    }
}
