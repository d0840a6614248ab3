//! What happens to memory that is given back.

/// Keeps freed memory with the process, however large the pieces: for work whose every step asks for the same
/// large tensors. Otherwise the C library gives pieces of tens of megabytes back to the system at once, which
/// clears each page again when the next step touches it; that takes about a tenth of a training step on a CPU, and some
/// percent of a token of a model with recurrent states.
///
/// Does something with glibc on Linux, and nothing elsewhere.
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
