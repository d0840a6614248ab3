//! Asks memory for what is needed soon. Hints, which read nothing, wherever they point.

/// Bytes that one hint brings.
pub(crate) const LINE: usize = 64;

/// Into the nearest cache.
#[inline(always)]
pub(crate) fn soon(address: usize) {
    #[cfg(target_arch = "x86_64")]
    hint::<{ std::arch::x86_64::_MM_HINT_T0 }>(address);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Into the second cache.
#[inline(always)]
pub(crate) fn later(address: usize) {
    #[cfg(target_arch = "x86_64")]
    hint::<{ std::arch::x86_64::_MM_HINT_T1 }>(address);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code, reason = "the instruction takes a pointer")]
fn hint<const LEVEL: i32>(address: usize) {
    // SAFETY: prefetching does not fault, and every x86-64 machine has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<LEVEL>(std::ptr::without_provenance(address));
    }
}
