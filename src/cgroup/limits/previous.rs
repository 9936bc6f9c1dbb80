//! What has to be written to a cgroup file so that it says again what it says now. Pure: the formats that files are read
//! in are not always those that they are written in.

/// `text` is what the file `name` says, `value` what is about to be written to it.
pub(super) fn previous(name: &str, value: &str, text: &str) -> String {
    if name == "memory.oom_control" {
        return word_after(text, "oom_kill_disable").unwrap_or("0").to_owned();
    }
    match (key_of(name, value), text.trim()) {
        (Some(key), _) => {
            let rest = text.lines().find_map(|line| rest_of(line, key));
            format!("{key} {}", rest.unwrap_or_else(|| unset(name)))
        }
        // write(2) of nothing would write nothing.
        (None, "") => "\n".to_owned(),
        (None, text) if is_keyed(name) => {
            // A plain number is short for the default's line.
            text.lines().find_map(|line| rest_of(line, "default")).unwrap_or(text).to_owned()
        }
        (None, text) => text.to_owned(),
    }
}

/// The name that begins the line which is about to change, in files with a line for each device or interface.
fn key_of<'v>(name: &str, value: &'v str) -> Option<&'v str> {
    if !is_keyed(name) {
        return None;
    }
    let (key, _) = value.trim().split_once(char::is_whitespace)?;
    Some(key)
}

fn is_keyed(name: &str) -> bool {
    name.starts_with("io.")
        || name.starts_with("blkio.throttle.")
        || name.ends_with("weight_device")
        || ["rdma.max", "misc.max", "net_prio.ifpriomap", "dmem.max", "dmem.min", "dmem.low"].contains(&name)
}

/// What a line that is not there means.
fn unset(name: &str) -> &'static str {
    match name {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" => "default",
        "io.latency" => "target=0",
        "rdma.max" => "hca_handle=max hca_object=max",
        "misc.max" | "dmem.max" => "max",
        _ => "0",
    }
}

fn rest_of<'t>(line: &'t str, key: &str) -> Option<&'t str> {
    let (first, rest) = line.trim().split_once(char::is_whitespace)?;
    (first == key).then_some(rest.trim())
}

fn word_after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| rest_of(line, key))
}

#[cfg(test)]
mod tests {
    use super::previous;

    #[test]
    fn a_file_of_one_value_is_written_as_it_was_read() {
        assert_eq!(previous("memory.max", "5", "max\n"), "max");
        assert_eq!(previous("cpu.max", "5000 100000", "max 100000\n"), "max 100000");
        assert_eq!(previous("cpuset.cpus", "0-1", "\n"), "\n", "no cpus of its own");
        assert_eq!(previous("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), "0");
    }

    #[test]
    fn of_a_file_with_many_lines_only_the_one_that_changes_is_written() {
        let throttle = "8:0 100\n8:16 200\n";
        assert_eq!(previous("blkio.throttle.read_bps_device", "8:16 5", throttle), "8:16 200");
        assert_eq!(previous("blkio.throttle.read_bps_device", "8:1 5", throttle), "8:1 0", "no limit");
        let max = "8:0 rbps=9 wbps=max riops=max wiops=max\n";
        assert_eq!(previous("io.max", "8:0 wbps=7", max), "8:0 rbps=9 wbps=max riops=max wiops=max");
        assert_eq!(previous("io.max", "8:16 wbps=7", max), "8:16 rbps=max wbps=max riops=max wiops=max");
        assert_eq!(previous("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n"), "eth0 3");
        assert_eq!(
            previous("rdma.max", "mlx hca_handle=1", "mlx hca_handle=2 hca_object=max\n"),
            "mlx hca_handle=2 hca_object=max"
        );
        assert_eq!(previous("misc.max", "sev 4", "sev max\n"), "sev max");
    }

    #[test]
    fn a_weight_is_that_of_all_devices_or_of_one() {
        let weights = "default 100\n8:0 300\n";
        assert_eq!(previous("io.weight", "500", weights), "100");
        assert_eq!(previous("io.weight", "default 500", weights), "default 100");
        assert_eq!(previous("io.bfq.weight", "8:0 500", weights), "8:0 300");
        assert_eq!(previous("io.bfq.weight", "8:16 500", weights), "8:16 default");
        assert_eq!(previous("blkio.bfq.weight", "500", "100\n"), "100");
    }
}
