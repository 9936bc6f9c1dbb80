pub struct Program {
    pub bpf: Vec<u8>,
    pub flags: u32,
}
