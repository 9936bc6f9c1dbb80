//! How the kernel schedules the process: its CPU scheduler, its I/O priority, and its resource limits.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimit, PosixRlimitType, Scheduler,
};

use super::SpecError;
use super::plan::SchedulerPlan;

/// (class << 13) | level, as ioprio_set(2) takes it.
pub(super) fn io_priority(given: Option<&LinuxIOPriority>) -> Result<Option<u16>, SpecError> {
    let Some(given) = given else { return Ok(None) };
    let class: u16 = match given.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(given.priority()) {
        Ok(level) if level <= 7 => Ok(Some(class << 13 | level)),
        _ => {
            let problem = format!("{} is not in 0..=7", given.priority());
            Err(SpecError::invalid("process.ioPriority.priority", problem))
        }
    }
}

/// As sched_setattr(2) will judge it (sched(7)).
pub(super) fn scheduler(given: Option<&Scheduler>) -> Result<Option<SchedulerPlan>, SpecError> {
    let Some(given) = given else { return Ok(None) };
    let field = |name: &str| format!("process.scheduler.{name}");
    let policy = match given.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedDeadline => libc::SCHED_DEADLINE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(SpecError::unsupported(field("policy"), "no kernel implements SCHED_ISO"));
        }
    };
    let nice = given.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(SpecError::invalid(field("nice"), format!("{nice} is not in -20..=19")));
    }
    let realtime = [libc::SCHED_FIFO, libc::SCHED_RR].contains(&policy);
    let priorities = if realtime { 1..=99 } else { 0..=0 };
    let priority = given.priority().unwrap_or(0);
    if !priorities.contains(&priority) {
        let (low, high) = (priorities.start(), priorities.end());
        return Err(SpecError::invalid(field("priority"), format!("{priority} is not in {low}..={high}")));
    }
    let (runtime, deadline, period) =
        (given.runtime().unwrap_or(0), given.deadline().unwrap_or(0), given.period().unwrap_or(0));
    if policy == libc::SCHED_DEADLINE {
        // The kernel reads a period of 0 as "the deadline".
        let longest = if period == 0 { deadline } else { period };
        if !(1 <= runtime && runtime <= deadline && deadline <= longest) {
            let problem = "SCHED_DEADLINE needs 0 < runtime <= deadline <= period";
            return Err(SpecError::invalid(field("runtime"), problem));
        }
    } else if (runtime, deadline, period) != (0, 0, 0) {
        return Err(SpecError::invalid(field("runtime"), "runtime, deadline and period are for SCHED_DEADLINE"));
    }
    let flags = given.flags().iter().flatten().fold(0, |bits, flag| bits | flag_bit(*flag));
    let (policy, priority) = (policy.unsigned_abs(), priority.unsigned_abs());
    Ok(Some(SchedulerPlan { policy, nice, priority, flags, runtime, deadline, period }))
}

/// (RLIMIT_* number, soft, hard), each type once.
pub(super) fn rlimits(given: &[PosixRlimit]) -> Result<Vec<(u32, u64, u64)>, SpecError> {
    let mut planned: Vec<(u32, u64, u64)> = Vec::with_capacity(given.len());
    for (index, limit) in given.iter().enumerate() {
        let number = rlimit_number(limit.typ());
        if planned.iter().any(|(earlier, ..)| *earlier == number) {
            let problem = format!("{} is given twice", limit.typ());
            return Err(SpecError::invalid(format!("process.rlimits[{index}].type"), problem));
        }
        if limit.soft() > limit.hard() {
            let problem = format!("{} is above the hard limit {} of {}", limit.soft(), limit.hard(), limit.typ());
            return Err(SpecError::invalid(format!("process.rlimits[{index}].soft"), problem));
        }
        planned.push((number, limit.soft(), limit.hard()));
    }
    Ok(planned)
}

/// SCHED_FLAG_* of sched_setattr(2).
fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// RLIMIT_* of setrlimit(2).
const RLIMITS: [(PosixRlimitType, u32); 16] = [
    (PosixRlimitType::RlimitCpu, libc::RLIMIT_CPU),
    (PosixRlimitType::RlimitFsize, libc::RLIMIT_FSIZE),
    (PosixRlimitType::RlimitData, libc::RLIMIT_DATA),
    (PosixRlimitType::RlimitStack, libc::RLIMIT_STACK),
    (PosixRlimitType::RlimitCore, libc::RLIMIT_CORE),
    (PosixRlimitType::RlimitRss, libc::RLIMIT_RSS),
    (PosixRlimitType::RlimitNproc, libc::RLIMIT_NPROC),
    (PosixRlimitType::RlimitNofile, libc::RLIMIT_NOFILE),
    (PosixRlimitType::RlimitMemlock, libc::RLIMIT_MEMLOCK),
    (PosixRlimitType::RlimitAs, libc::RLIMIT_AS),
    (PosixRlimitType::RlimitLocks, libc::RLIMIT_LOCKS),
    (PosixRlimitType::RlimitSigpending, libc::RLIMIT_SIGPENDING),
    (PosixRlimitType::RlimitMsgqueue, libc::RLIMIT_MSGQUEUE),
    (PosixRlimitType::RlimitNice, libc::RLIMIT_NICE),
    (PosixRlimitType::RlimitRtprio, libc::RLIMIT_RTPRIO),
    (PosixRlimitType::RlimitRttime, libc::RLIMIT_RTTIME),
];

fn rlimit_number(typ: PosixRlimitType) -> u32 {
    RLIMITS.iter().find(|(known, _)| *known == typ).map_or(u32::MAX, |(_, number)| *number)
}

/// As `process.rlimits` calls it.
pub fn rlimit_name(number: u32) -> String {
    let known = RLIMITS.iter().find(|(_, known)| *known == number);
    known.map_or(format!("RLIMIT {number}"), |(typ, _)| typ.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn io_priority_packs_class_and_level() {
        let given = serde_json::from_value(json!({"class": "IOPRIO_CLASS_IDLE", "priority": 5})).unwrap();
        assert_eq!(io_priority(Some(&given)).unwrap(), Some(3 << 13 | 5));
    }

    #[test]
    fn every_limit_has_its_number_and_its_name() {
        for (typ, number) in RLIMITS {
            assert_eq!((rlimit_number(typ), rlimit_name(number)), (number, typ.to_string()));
        }
        assert_eq!(rlimit_name(libc::RLIMIT_NOFILE), "RLIMIT_NOFILE");
    }

    #[test]
    fn a_deadline_needs_its_three_times_in_order() {
        let plan = |value| scheduler(Some(&serde_json::from_value(value).unwrap()));
        let given = json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3});
        assert_eq!(plan(given).unwrap().unwrap().period, 3);
        assert!(plan(json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2, "period": 3})).is_err());
        assert!(plan(json!({"policy": "SCHED_FIFO"})).is_err());
        assert_eq!(plan(json!({"policy": "SCHED_RR", "priority": 9})).unwrap().unwrap().policy, 2);
    }
}
