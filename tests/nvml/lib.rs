//! A fake of NVIDIA's management library (`libnvidia-ml.so.1`) that answers from a script, the file `nvml.txt` beside
//! the library. The script is read again at every call, so that tests set the clock by writing the file. Each call
//! appends the function's name to the file `calls`. A test uses a copy of the library in its own folder.
//!
//! Structures and codes are those of `nvml.h`.

#![cfg(unix)]
// a library with a C interface needs unsafe code
#![allow(unsafe_code)]

mod script;

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use script::{Device, Script};

const SUCCESS: c_uint = 0;
const INVALID_ARGUMENT: c_uint = 2;
const NOT_SUPPORTED: c_uint = 3;

const POWER_INSTANT: c_uint = 186;
const VALUE_UNSIGNED_INT: c_uint = 1;

static BORN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Folder that this copy of the library was loaded from.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // SAFETY: `dladdr` fills in the structure for an address of this library; the name lives as long as the library.
    let name = unsafe {
        let mut found: libc::Dl_info = std::mem::zeroed();
        let own = nvmlInit_v2 as extern "C" fn() -> c_uint;
        assert_ne!(libc::dladdr(own as *const c_void, &mut found), 0);
        CStr::from_ptr(found.dli_fname)
    };
    let file = Path::new(OsStr::from_bytes(name.to_bytes()));
    file.parent().unwrap_or(Path::new(".")).into()
});

/// Records a call; returns the script, or the error code that it demands.
fn call(function: &str) -> Result<Script, c_uint> {
    let mut options = OpenOptions::new();
    let options = options.create(true).append(true);
    let mut calls = options.open(FOLDER.join("calls")).expect("calls");
    writeln!(calls, "{function}").expect("calls");
    let script = Script::read(&FOLDER.join("nvml.txt"), *BORN);
    match script.failures.get(function) {
        Some(code) => Err(*code),
        None => Ok(script),
    }
}

/// Records a call for a device, whose handle is its index + 1.
fn of_device(
    function: &str,
    handle: *mut c_void,
    answer: impl FnOnce(&Device, u64) -> Result<(), c_uint>,
) -> c_uint {
    code(call(function).and_then(|script| {
        let number = (handle as usize).wrapping_sub(1);
        let device = script.devices.get(number).ok_or(INVALID_ARGUMENT)?;
        match device.failures.get(function) {
            Some(code) => Err(*code),
            None => answer(device, script.now),
        }
    }))
}

fn code(result: Result<(), c_uint>) -> c_uint {
    result.err().unwrap_or(SUCCESS)
}

/// # Safety
///
/// `to` must point to `room` writable bytes.
unsafe fn write_text(text: &str, to: *mut c_char, room: c_uint) -> Result<(), c_uint> {
    if text.len() >= room as usize {
        return Err(7);
    }
    // SAFETY: the text fits, and the caller guarantees a buffer of `room` bytes
    unsafe {
        to.copy_from(text.as_ptr().cast(), text.len());
        to.add(text.len()).write(0);
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> c_uint {
    LazyLock::force(&BORN);
    code(call("nvmlInit_v2").map(drop))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> c_uint {
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, room: c_uint) -> c_uint {
    let script = call("nvmlSystemGetDriverVersion");
    // SAFETY: NVML's callers pass valid pointers
    code(script.and_then(|script| unsafe { write_text(&script.driver, to, room) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_uint {
    let script = call("nvmlDeviceGetCount_v2");
    // SAFETY: NVML's callers pass valid pointers
    code(script.map(|script| unsafe { count.write(script.devices.len() as c_uint) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    handle: *mut *mut c_void,
) -> c_uint {
    let number = index as usize + 1;
    let own = number as *mut c_void;
    of_device("nvmlDeviceGetHandleByIndex_v2", own, |_, _| {
        // SAFETY: NVML's callers pass valid pointers
        unsafe { handle.write(own) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetName(
    device: *mut c_void,
    to: *mut c_char,
    room: c_uint,
) -> c_uint {
    of_device("nvmlDeviceGetName", device, |device, _| {
        // SAFETY: NVML's callers pass valid pointers
        unsafe { write_text(&device.name, to, room) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetUUID(
    device: *mut c_void,
    to: *mut c_char,
    room: c_uint,
) -> c_uint {
    let uuid = format!("GPU-{:04}", device as usize - 1);
    of_device("nvmlDeviceGetUUID", device, |_, _| {
        // SAFETY: NVML's callers pass valid pointers
        unsafe { write_text(&uuid, to, room) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    device: *mut c_void,
    energy: *mut c_ulonglong,
) -> c_uint {
    let function = "nvmlDeviceGetTotalEnergyConsumption";
    of_device(function, device, |device, now| {
        // SAFETY: NVML's callers pass valid pointers
        unsafe { energy.write(device.energy_mj(now)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: *mut c_void, power: *mut c_uint) -> c_uint {
    of_device("nvmlDeviceGetPowerUsage", device, |device, now| {
        let mean = device.power.at(now).ok_or(NOT_SUPPORTED)?;
        // SAFETY: NVML's callers pass valid pointers
        unsafe { power.write(mean as c_uint) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(
    device: *mut c_void,
    limit: *mut c_uint,
) -> c_uint {
    of_device("nvmlDeviceGetEnforcedPowerLimit", device, |device, _| {
        // SAFETY: NVML's callers pass valid pointers
        unsafe { limit.write(device.limit_mw.ok_or(NOT_SUPPORTED)?) };
        Ok(())
    })
}

/// `nvmlFieldValue_t`.
#[repr(C)]
struct FieldValue {
    field: c_uint,
    scope: c_uint,
    timestamp: i64,
    latency: i64,
    value_type: c_uint,
    returned: c_uint,
    /// A union of eight bytes.
    value: u64,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: *mut c_void,
    count: c_int,
    values: *mut c_void,
) -> c_uint {
    of_device("nvmlDeviceGetFieldValues", device, |device, now| {
        // SAFETY: NVML's callers pass valid pointers
        let values =
            unsafe { std::slice::from_raw_parts_mut(values.cast::<FieldValue>(), count as usize) };
        for value in values {
            let power = device.instant.at(now);
            value.returned = match power.filter(|_| value.field == POWER_INSTANT) {
                Some(power) => {
                    value.value_type = VALUE_UNSIGNED_INT;
                    value.value = power;
                    SUCCESS
                }
                None => NOT_SUPPORTED,
            };
        }
        Ok(())
    })
}
