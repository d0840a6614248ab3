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

/// [`awake`] for work that computes gradients. Only one such work runs at a time, in a pool of its own.
///
/// burn 0.21's backward pass holds a lock of its graph while its operations run, and locks all graphs at its end. In a
/// shared pool, a thread that waits for a part of one backward pass may take up another one, which then waits for the
/// lock of the first for ever.
#[cfg(feature = "flex")]
pub fn awake_gradients<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rayon::{ThreadPool, ThreadPoolBuilder};

    static ALONE: Mutex<()> = Mutex::new(());
    static POOL: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
        let threads = rayon::current_num_threads();
        ThreadPoolBuilder::new().num_threads(threads).build().ok()
    });

    // a thread of a pool that waits for this work may take up other work, too
    if rayon::current_thread_index().is_some() {
        return awake(work);
    }
    // the lock guards no data
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    match &*POOL {
        Some(pool) => pool.install(|| awake(work)),
        None => awake(work),
    }
}

/// Runs `work`.
#[cfg(not(feature = "flex"))]
pub fn awake_gradients<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

/// Runs `work`.
#[cfg(not(feature = "flex"))]
pub fn awake<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    work()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rayon::prelude::*;

    use super::{awake, awake_gradients};

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

    #[test]
    fn work_with_gradients_is_taken_up_neither_within_other_work_nor_beside_its_like() {
        thread_local! {
            static DEPTH: Cell<usize> = const { Cell::new(0) };
        }
        let running = AtomicUsize::new(0);
        let parts = || {
            (0..64u64)
                .into_par_iter()
                .map(|it| (0..it * 50).sum::<u64>())
        };
        let within = |work: &dyn Fn()| {
            DEPTH.set(DEPTH.get() + 1);
            work();
            DEPTH.set(DEPTH.get() - 1);
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        awake_gradients(|| {
                            assert_eq!(DEPTH.get(), 0, "within other work");
                            assert_eq!(running.fetch_add(1, Ordering::Relaxed), 0);
                            within(&|| drop(parts().collect::<Vec<_>>()));
                            running.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                });
                // work outside of it, in the shared pool
                scope.spawn(|| {
                    for _ in 0..200 {
                        (0..8).into_par_iter().for_each(|_| {
                            within(&|| drop(parts().collect::<Vec<_>>()));
                        });
                    }
                });
            }
        });
    }
}
