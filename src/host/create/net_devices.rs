//! Interfaces of the host that go to a container, and come back when it could not be made.
//!
//! The command moves them, since they are the host's; the container's init gives them their addresses again and raises
//! them. If we die in between, they are in the network namespace of an init that dies with us: the kernel then gives
//! hardware back to the host, under the name that it has by then, and removes virtual interfaces, as after any container.

use std::fs::File;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, setns};

use crate::container::net::NetDevice;
use crate::host::{HostError, Trying};
use crate::spec::plan::NetDevicePlan;
use crate::sys::netlink::{self, Netlink};

/// What is to be moved, as it is now. Nothing is changed.
pub fn look_at(plans: &[NetDevicePlan]) -> Result<Vec<NetDevice>, HostError> {
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    let link = Netlink::open().trying(|| "speak to the kernel about network interfaces".into())?;
    plans
        .iter()
        .map(|plan| {
            let what = || format!("linux.netDevices.{}: find this interface on the host", plan.host_name);
            let index = netlink::index_of(&plan.host_name).trying(what)?;
            let addresses = link.addresses(index).trying(what)?;
            Ok(NetDevice { plan: plan.clone(), addresses })
        })
        .collect()
}

/// Those that have been moved into the network namespace of a container.
pub struct Moved {
    namespace: File,
    devices: Vec<NetDevice>,
}

impl Moved {
    /// None of them has moved if one cannot be.
    pub fn into(pid: i32, devices: &[NetDevice]) -> Result<Option<Moved>, HostError> {
        if devices.is_empty() {
            return Ok(None);
        }
        let path = format!("/proc/{pid}/ns/net");
        let namespace = File::open(&path).trying(|| format!("open {path}"))?;
        let link = Netlink::open().trying(|| "speak to the kernel about network interfaces".into())?;
        let mut moved = Moved { namespace, devices: Vec::new() };
        for device in devices {
            let NetDevicePlan { host_name, name } = &device.plan;
            let outcome = netlink::index_of(host_name)
                .and_then(|index| link.move_link(index, name, moved.namespace.as_fd()))
                .trying(|| format!("linux.netDevices.{host_name}: move it to the container as {name:?}"));
            if let Err(error) = outcome {
                // Under a name that is taken there, it has moved and kept its own.
                let plan = NetDevicePlan { host_name: host_name.clone(), name: host_name.clone() };
                moved.devices.push(NetDevice { plan, addresses: device.addresses.clone() });
                let _ = moved.bring_back();
                return Err(error);
            }
            moved.devices.push(device.clone());
        }
        Ok(Some(moved))
    }

    /// As they were, by name, with their addresses, and up. One that is not there has not moved.
    pub fn bring_back(self) -> Result<(), HostError> {
        let what = || "go back to the host's network namespace".to_owned();
        let home = File::open("/proc/self/ns/net").trying(what)?;
        setns(self.namespace.as_fd(), CloneFlags::CLONE_NEWNET).trying(|| "enter the container's network".into())?;
        let leave = |device: &NetDevice| {
            Netlink::open()?.move_link(netlink::index_of(&device.plan.name)?, &device.plan.host_name, home.as_fd())
        };
        let outcomes: Vec<_> = self.devices.iter().map(leave).collect();
        setns(home.as_fd(), CloneFlags::CLONE_NEWNET).trying(what)?;
        let mut failed = Ok(());
        for (device, left) in self.devices.iter().zip(outcomes) {
            let name = &device.plan.host_name;
            let back = match left {
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
                Err(error) => Err(error),
                Ok(()) => device.set_up(name),
            };
            failed = failed.and(back.trying(|| format!("give the interface {name:?} back to the host")));
        }
        failed
    }
}
