//! Detection of a device's memory.

use std::fs;
use std::process::Command;

use crate::config::fit;
use crate::config::memory::Purpose;
use crate::model::ModelConfig;
use darkhorse_backends::select;

use crate::cli::args::DeviceName;
use crate::cli::failure::{Failure, OrInput};

/// Memory of a device, or of the backend's first one, in bytes; `None` if it cannot be determined.
pub(crate) fn memory_bytes(device: Option<&DeviceName>) -> Option<u64> {
    let kind = device.map_or(select::name(), |device| device.kind.as_str());
    match kind {
        "cuda" => nvidia_bytes(device.and_then(|device| device.index).unwrap_or(0)),
        "flex" | "cpu" | "tch" | "mps" | "metal" => host_bytes(),
        _ => None,
    }
}

/// Refuses a model that does not fit the device's memory, if that is known.
pub(crate) fn refuse_what_cannot_fit(
    model: &ModelConfig,
    purpose: Purpose,
    device: Option<&DeviceName>,
) -> Result<(), Failure> {
    if let Some(memory) = memory_bytes(device) {
        fit::fits(model, purpose, memory).or_input()?;
    }
    Ok(())
}

/// Memory of an NVIDIA device in bytes, from `nvidia-smi`.
fn nvidia_bytes(index: usize) -> Option<u64> {
    let query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits"];
    let mut command = Command::new("nvidia-smi");
    let output = command.args(query).arg(format!("--id={index}")).output();
    let mib = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(mib.trim().parse::<u64>().ok()? << 20)
}

/// Memory of the machine in bytes, or the limit of its container.
fn host_bytes() -> Option<u64> {
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = limits.into_iter().filter_map(|path| {
        let limit = fs::read_to_string(path).ok()?;
        limit.trim().parse::<u64>().ok()
    });
    limits.chain(linux_bytes()).chain(macos_bytes()).min()
}

fn linux_bytes() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let total = table
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = total.trim().trim_end_matches("kB").trim();
    Some(kib.parse::<u64>().ok()? << 10)
}

fn macos_bytes() -> Option<u64> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = Command::new("sysctl").args(["-n", "hw.memsize"]).output();
    let bytes = String::from_utf8(output.ok()?.stdout).ok()?;
    bytes.trim().parse().ok()
}
