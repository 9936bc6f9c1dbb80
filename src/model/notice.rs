//! What a service says to its service manager (sd_notify(3)), and how much of that leaves a container.
//!
//! Passed on is what a service says of itself. What gives the manager something to keep or to do for it, or changes whom it
//! believes, is not: a process by its number (which is of another PID namespace), descriptors, who may speak. A manager that
//! takes in what is here may still be told lies, but none that reach beyond this one service.

/// The longest message, in bytes: what systemd reads of one (PIPE_BUF).
pub const LONGEST: usize = 4096;

/// Whoever speaks of anything else is not heard.
const PASSED_ON: [&[u8]; 12] = [
    b"READY",
    b"RELOADING",
    b"STOPPING",
    b"MONOTONIC_USEC",
    b"STATUS",
    b"ERRNO",
    b"BUSERROR",
    b"VARLINKERROR",
    b"EXIT_STATUS",
    b"WATCHDOG",
    b"WATCHDOG_USEC",
    b"EXTEND_TIMEOUT_USEC",
];

/// The lines of one datagram that are passed on; none: nothing of it is.
pub fn passed_on(datagram: &[u8]) -> Vec<&[u8]> {
    if datagram.len() > LONGEST || datagram.contains(&0) {
        return Vec::new();
    }
    let known = |line: &&[u8]| {
        let name = line.iter().position(|byte| *byte == b'=').map(|end| &line[..end]);
        name.is_some_and(|name| PASSED_ON.contains(&name))
    };
    datagram.split(|byte| *byte == b'\n').filter(known).collect()
}

/// Whether one of these lines says that the service is ready.
pub fn says_ready(lines: &[&[u8]]) -> bool {
    lines.contains(&b"READY=1".as_slice())
}

/// That it is, and whom the manager is to watch.
pub fn ready(main: i32) -> String {
    format!("READY=1\n{}", main_process(main))
}

/// Whom the manager is to watch, by its pid in the manager's namespace.
pub fn main_process(main: i32) -> String {
    format!("MAINPID={main}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(datagram: &[u8]) -> String {
        String::from_utf8_lossy(&passed_on(datagram).join(&b'\n')).into_owned()
    }

    #[test]
    fn what_a_service_says_of_itself_is_passed_on_as_it_is() {
        let all = "READY=1\nSTATUS=a = b\nWATCHDOG=1\nSTOPPING=1\nRELOADING=1\nMONOTONIC_USEC=5\nEXTEND_TIMEOUT_USEC=9";
        assert_eq!(text(all.as_bytes()), all);
        assert_eq!(passed_on(b"STATUS=\xff"), [b"STATUS=\xff"]);
        assert!(says_ready(&passed_on(b"STATUS=x\nREADY=1\n")));
        assert!(!says_ready(&passed_on(b"STATUS=READY=1")) && !says_ready(&passed_on(b"READY=0")));
    }

    #[test]
    fn nothing_is_passed_on_that_reaches_beyond_the_service() {
        for line in [
            "MAINPID=1",
            "MAINPIDFD=1",
            "MAINPIDFDID=7",
            "FDSTORE=1",
            "FDSTOREREMOVE=1",
            "FDNAME=x",
            "BARRIER=1",
            "NOTIFYACCESS=all",
            "X_ANY=1",
            "READY",
            "=1",
            "",
            " READY=1",
        ] {
            assert_eq!(text(line.as_bytes()), "", "{line}");
            assert_eq!(text(format!("{line}\nSTATUS=s\n{line}").as_bytes()), "STATUS=s", "{line}");
        }
    }

    #[test]
    fn what_the_manager_would_not_read_whole_is_left_out_whole() {
        let long = |length: usize| [b"STATUS=".as_slice(), &vec![b'x'; length]].concat();
        assert_eq!(passed_on(&long(LONGEST - 7)).len(), 1);
        assert!(passed_on(&long(LONGEST - 6)).is_empty());
        assert!(passed_on(b"READY=1\0\n").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            passed_on(&bytes);
        }
    }
}
