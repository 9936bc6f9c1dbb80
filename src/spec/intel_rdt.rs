//! Shares of a CPU's caches and memory bandwidth (runtime-spec, config-linux.md, "IntelRdt"), by way of resctrl.

use oci_spec::runtime::Linux;

use super::plan::IntelRdtPlan;
use super::{SpecError, check};

pub(super) fn plan(linux: &Linux) -> Result<Option<IntelRdtPlan>, SpecError> {
    let Some(given) = linux.intel_rdt() else { return Ok(None) };
    let field = |name: &str| format!("linux.intelRdt.{name}");
    let group = check::non_empty(&field("closID"), given.clos_id())?;
    if let Some(name) = &group
        && (name.contains('/') || [".", "..", "info", "mon_groups", "mon_data"].contains(&name.as_str()))
    {
        let problem = format!("{} cannot be the name of a group", check::quote(name));
        return Err(SpecError::invalid(field("closID"), problem));
    }
    let mut schemata = Vec::new();
    schemata.extend(line(&field("l3CacheSchema"), given.l3_cache_schema())?);
    schemata.extend(line(&field("memBwSchema"), given.mem_bw_schema())?);
    for (index, text) in given.schemata().iter().flatten().enumerate() {
        schemata.extend(line(&field(&format!("schemata[{index}]")), &Some(text.clone()))?);
    }
    // The older words for the same.
    #[allow(deprecated)]
    let monitoring = [given.enable_monitoring(), given.enable_cmt(), given.enable_mbm()].contains(&&Some(true));
    Ok(Some(IntelRdtPlan { group, schemata, monitoring }))
}

/// What is one line to the kernel must be one here.
fn line(field: &str, given: &Option<String>) -> Result<Option<String>, SpecError> {
    let Some(text) = check::non_empty(field, given)? else { return Ok(None) };
    match text.contains('\n') || !text.contains(':') {
        true => Err(SpecError::invalid(field, format!("{} is not a line such as L3:0=ff;1=ff", check::quote(&text)))),
        false => Ok(Some(text)),
    }
}
