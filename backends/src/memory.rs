//! Configuration of the memory allocator.

/// Keeps freed memory in the process, for work that allocates the same large tensors in every step. By default the C
/// library returns freed blocks of tens of megabytes to the system at once, which clears their pages when the next
/// step touches them. That costs about a tenth of a training step on a CPU, and some percent of a token of a model
/// with recurrent states.
///
/// Affects glibc on Linux only.
pub fn keep_freed() {
    #[cfg(all(feature = "flex", target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: libc::c_int = 1 << 30;
        // SAFETY: both parameters take any size, and may be set at any time
        #[allow(unsafe_code, reason = "settings of the C library's allocator")]
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
}
