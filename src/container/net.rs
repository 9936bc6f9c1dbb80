//! Interfaces that have come from the host: they have lost their addresses on the way, and get them again.

use std::io;

use serde::{Deserialize, Serialize};

use super::{SetupError, Step};
use crate::spec::plan::NetDevicePlan;
use crate::sys::netlink::{self, Address, Netlink};

/// An interface, and the addresses that it had on the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetDevice {
    /// What the configuration says of it: its name on the host, and inside.
    pub plan: NetDevicePlan,
    /// To be given to it again inside: a move takes them away.
    pub addresses: Vec<Address>,
}

impl NetDevice {
    /// In our network namespace, where it goes by this name: its addresses, and up.
    pub fn set_up(&self, name: &str) -> io::Result<()> {
        let link = Netlink::open()?;
        let index = netlink::index_of(name)?;
        for address in &self.addresses {
            link.add_address(index, address)?;
        }
        link.raise(index)
    }
}

/// In the container's init, once they are there.
pub(super) fn set_up_all(devices: &[NetDevice]) -> Result<(), SetupError> {
    devices.iter().try_for_each(|device| {
        let NetDevicePlan { host_name, name } = &device.plan;
        device.set_up(name).step(|| format!("linux.netDevices.{host_name}: set up the interface {name:?}"))
    })
}
