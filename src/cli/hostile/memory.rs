//! Measures the memory that is allocated while a file is read.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Largest allocation that succeeds; larger ones fail, as on a machine with little memory, and end the process.
const LARGEST: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a counter that is off unless requested, so that other tests pay for one load only.
struct Counting;

// SAFETY: every request goes to the system's allocator as it is, or is refused by null
#[allow(unsafe_code, reason = "the trait of allocators is unsafe")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if enter(layout.size()) {
            // SAFETY: the caller's layout
            unsafe { System.alloc(layout) }
        } else {
            ptr::null_mut()
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if enter(layout.size()) {
            // SAFETY: the caller's layout
            unsafe { System.alloc_zeroed(layout) }
        } else {
            ptr::null_mut()
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        leave(layout.size());
        // SAFETY: the caller's pointer and layout, which came from the system's allocator
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn enter(size: usize) -> bool {
    if !COUNTS.load(Ordering::Relaxed) {
        return true;
    }
    if size > LARGEST {
        return false;
    }
    let now = NOW.fetch_add(size, Ordering::Relaxed) + size;
    PEAK.fetch_max(now, Ordering::Relaxed);
    true
}

fn leave(size: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        NOW.fetch_sub(size, Ordering::Relaxed);
    }
}

/// Starts counting; memory allocated before may be freed later.
pub(super) fn begin() {
    NOW.store(1 << 40, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
}

/// Runs `work` and returns the peak of bytes allocated beyond the start.
pub(super) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    let peak = PEAK.load(Ordering::Relaxed);
    (result, peak.saturating_sub(before))
}
