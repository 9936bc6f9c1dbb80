pub fn load(_bpf: &[u8], _flags: u32) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
    Ok(None)
}
