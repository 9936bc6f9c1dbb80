pub fn run(_h: &[crate::spec::plan::HookPlan], _k: &str, _s: &[u8]) -> std::io::Result<()> {
    Ok(())
}
