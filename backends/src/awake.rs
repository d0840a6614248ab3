//! Keeps the worker threads spinning while an operation with many small parallel parts runs.

/// Runs `work` so that its parallel parts start at once. On burn-flex, the other threads of the pool spin instead of
/// sleeping, and prefetch the memory that they will probably read next. On other backends it just calls `work`.
///
/// Waking a thread takes as long as a small matrix product; a token has dozens of them, a training step thousands.
#[cfg(feature = "flex")]
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::flex::ahead;
    use crate::flex::team::Team;

    /// Number of checks for a team's task per check for other work of the pool.
    const LOOKS: u32 = 256;

    /// Sets the flag when dropped, also when `work` panics.
    struct Done<'a>(&'a AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    let done = AtomicBool::new(false);
    let team = Team::new();
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| {
                let mut looks = 0u32;
                while !done.load(Ordering::Acquire) {
                    if team.help() {
                        looks = 0;
                        continue;
                    }
                    if ahead::fetch() {
                        continue;
                    }
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(LOOKS) {
                        _ = rayon::yield_now()
                    } else {
                        std::hint::spin_loop()
                    }
                }
            });
        }
        let _done = Done(&done);
        team.lead(work)
    })
}

/// Runs `work`.
#[cfg(not(feature = "flex"))]
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::awake;
    use rayon::prelude::*;

    #[test]
    fn parallel_parts_run_within_and_everything_ends() {
        let sums: Vec<u64> = (0..50)
            .map(|_| awake(|| (0..1000u64).into_par_iter().sum()))
            .collect();
        assert_eq!(sums, vec![499_500; 50]);
    }

    #[test]
    fn a_panic_comes_out() {
        let outcome = std::panic::catch_unwind(|| awake(|| panic!("as expected")));
        assert!(outcome.is_err());
    }
}
