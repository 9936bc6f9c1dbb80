//! Whether somebody in a network namespace has asked for what no way leads to: the kernel counts it there (snmp_counter.rst).

use std::fs::File;

use crate::sys::text;

/// Counters of a network namespace. They can be read after its last process has ended.
pub struct Unreached(Vec<File>);

impl Unreached {
    /// Of the process's namespace, which is new and has no way out. None: it is gone already.
    pub fn watch(pid: i32) -> Option<Unreached> {
        let open = |name: &str| File::open(format!("/proc/{pid}/net/{name}")).ok();
        Some(Unreached(vec![open("snmp")?, open("snmp6")?]))
    }

    /// A counter that cannot be read counts nothing.
    pub fn was_asked_for(self) -> bool {
        self.0.into_iter().any(|mut file| text::all_of(&mut file).is_ok_and(|text| says_so(&text)))
    }
}

/// Packets without a route, or, when a name server was looked for on the loopback interface, without a listener.
fn says_so(counters: &str) -> bool {
    let of_version_6 = counters.lines().any(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, value] => ["Ip6OutNoRoutes", "Udp6NoPorts"].contains(&name) && value != "0",
        _ => false,
    });
    of_version_6 || value_of(counters, "Ip:", "OutNoRoutes") || value_of(counters, "Udp:", "NoPorts")
}

/// /proc/net/snmp: a line of names, and a line of values, each with the protocol in front.
fn value_of(counters: &str, protocol: &str, name: &str) -> bool {
    let mut lines = counters.lines().filter(|line| line.starts_with(protocol));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return false };
    names.split(' ').zip(values.split(' ')).any(|(found, value)| found == name && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_found_no_way_counts() {
        let quiet = "Ip: Forwarding OutNoRoutes\nIp: 1 0\nUdp: InDatagrams NoPorts\nUdp: 3 0\n";
        assert!(!says_so(quiet));
        assert!(says_so(&quiet.replace("Ip: 1 0", "Ip: 1 2")));
        assert!(says_so(&quiet.replace("Udp: 3 0", "Udp: 3 1")));
        assert!(says_so("Ip6OutNoRoutes                  \t1\n"));
        assert!(!says_so("Ip6OutNoRoutes                  \t0\nUdp6NoPorts 0\n"));
        assert!(!says_so(""));
    }
}
