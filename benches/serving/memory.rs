//! Memory of this process, as Linux reports it.

use std::fs;

use crate::Outcome;

/// Resident memory in bytes.
pub(crate) fn resident() -> Outcome<u64> {
    field("VmRSS:")
}

/// Peak since [`forget_peak`], in bytes.
pub(crate) fn peak() -> Outcome<u64> {
    field("VmHWM:")
}

/// Resets the peak.
pub(crate) fn forget_peak() -> Outcome {
    Ok(fs::write("/proc/self/clear_refs", "5")?)
}

pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn field(name: &str) -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = number.ok_or("Linux does not tell")?.parse()?;
    Ok(kib << 10)
}
