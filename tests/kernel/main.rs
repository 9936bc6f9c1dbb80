//! What the kernel is asked for and what it then holds: namespaces, mounts, devices, cgroups, seccomp; and that nobody gets
//! out.

mod cgroup_ending;
mod cgroup_lifecycle;
mod cgroup_limits;
mod cgroup_measure;
mod cgroup_support;
mod cgroup_v2;
mod default_profile;
mod escape;
mod filter;
mod foreign_cgroup;
mod image_links;
mod isolation;
mod long_options;
mod many_mounts;
mod masks;
mod mounts;
mod seccomp;
mod supervisor_process;
mod systemd;
mod user_namespace;
