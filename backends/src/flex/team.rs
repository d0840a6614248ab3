//! Team: worker threads that spin between small parallel parts.
//!
//! A token has dozens of products of a few microseconds each, a training step of a small model thousands. Within
//! [`awake`](crate::awake) the threads of the pool watch one atomic word for tasks, so that a part starts and ends
//! within a fraction of a microsecond. Elsewhere parts run on rayon, which takes several microseconds, or more if it
//! must wake a thread.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::ahead;

/// Calls `work` on every item, on all threads. A thread reuses the scratch value that `init` creates.
///
/// # Panics
///
/// If `work` panics, after all other threads are done.
pub(crate) fn each<T: Send, S>(
    items: Vec<T>,
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, T) + Sync + Send,
) {
    match Team::at_hand() {
        Some(team) if items.len() <= Word::MOST_TASKS => team.each(items, init, work),
        _ => items
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(init, work),
    }
}

/// Whether a team is available, so that starting a part costs next to nothing.
pub(crate) fn at_hand() -> bool {
    !CURRENT.get().is_null()
}

thread_local! {
    /// Team to which the work on this thread may give parts; null while the team is busy with one.
    static CURRENT: Cell<*const Team> = const { Cell::new(ptr::null()) };
}

/// Threads that wait for parts of one thread's work.
#[derive(Debug)]
pub(crate) struct Team {
    word: AtomicU64,
    /// Number of members, without the owner, that may be running a task.
    inside: AtomicUsize,
    part: UnsafeCell<Option<Part>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A part of the owner's work: runs tasks as long as there are any.
type Part = *const (dyn Fn(&Tasks<'_>) + Sync);

// SAFETY: `part` is written by the owner only, while no task of it can be taken and nobody is inside; a
// member reads it after taking a task, which orders the read behind the write.
#[allow(
    unsafe_code,
    reason = "a part lives on the stack of the owner, who waits for it"
)]
unsafe impl Sync for Team {}
// SAFETY: as above; a team is not bound to the thread that made it.
#[allow(
    unsafe_code,
    reason = "a part lives on the stack of the owner, who waits for it"
)]
unsafe impl Send for Team {}

/// State that the members of a team watch: number of the part, and range of its remaining tasks.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl Word {
    const MOST_TASKS: usize = u16::MAX as usize - 1;

    fn new(part: u32, tasks: usize) -> Self {
        Self(u64::from(part) << 32 | (tasks as u64) << 16)
    }

    fn part(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn end(self) -> usize {
        (self.0 >> 16 & 0xFFFF) as usize
    }

    fn next(self) -> usize {
        (self.0 & 0xFFFF) as usize
    }

    fn has_tasks(self) -> bool {
        self.next() < self.end()
    }

    /// Takes a task from one end; returns it and the remaining state.
    fn without(self, end: End) -> (usize, Self) {
        match end {
            End::Front => (self.next(), Self(self.0 + 1)),
            End::Back => (self.end() - 1, Self(self.0 - (1 << 16))),
        }
    }
}

/// End from which tasks are taken. The leader takes the first ones, members the last ones, so that a thread mostly
/// reads the same weights for every token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

/// The tasks of a part, each of which is taken once.
struct Tasks<'a> {
    team: &'a Team,
    part: u32,
    /// End from which this thread takes tasks.
    end: End,
    /// Task that was taken before the part was read.
    first: Cell<Option<usize>>,
}

impl Tasks<'_> {
    fn next(&self) -> Option<usize> {
        self.first
            .take()
            .or_else(|| self.team.take(self.part, self.end))
    }
}

impl Team {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(Word::new(0, 0).0),
            inside: AtomicUsize::new(0),
            part: UnsafeCell::new(None),
            panic: Mutex::new(None),
        }
    }

    /// Makes this the team that [`each`] uses on this thread, while `work` runs.
    pub(crate) fn lead<R>(&self, work: impl FnOnce() -> R) -> R {
        let _before = Restore(CURRENT.replace(self));
        work()
    }

    fn at_hand<'a>() -> Option<&'a Self> {
        // SAFETY: `lead` borrows the team for as long as the pointer is there.
        #[allow(unsafe_code, reason = "a thread-local variable has no lifetime")]
        unsafe {
            CURRENT.get().as_ref()
        }
    }

    /// Runs tasks of the current part, if there are any.
    pub(crate) fn help(&self) -> bool {
        let word = Word(self.word.load(Ordering::Relaxed));
        if !word.has_tasks() {
            return false;
        }
        self.inside.fetch_add(1, Ordering::SeqCst);
        let first = self.take(word.part(), End::Back);
        if first.is_some() {
            // SAFETY: the owner waits until nobody is inside before it goes on, and it cannot have gone on
            // before the task that was just taken is done.
            #[allow(
                unsafe_code,
                reason = "a part lives on the stack of the owner, who waits for it"
            )]
            let part = unsafe { (*self.part.get()).map(|part| &*part) };
            let tasks = Tasks {
                team: self,
                part: word.part(),
                end: End::Back,
                first: Cell::new(first),
            };
            if let Some(part) = part {
                ahead::noting(|| self.run(part, &tasks));
            }
        }
        self.inside.fetch_sub(1, Ordering::Release);
        first.is_some()
    }

    fn take(&self, part: u32, end: End) -> Option<usize> {
        let mut word = Word(self.word.load(Ordering::Acquire));
        while word.part() == part && word.has_tasks() {
            let (task, rest) = word.without(end);
            let taken = self.word.compare_exchange_weak(
                word.0,
                rest.0,
                Ordering::SeqCst,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => return Some(task),
                Err(now) => word = Word(now),
            }
        }
        None
    }

    /// Runs a part. Stores the first panic for the owner and discards the remaining tasks after one.
    fn run(&self, part: &(dyn Fn(&Tasks<'_>) + Sync), tasks: &Tasks<'_>) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| part(tasks))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
            while self.take(tasks.part, tasks.end).is_some() {}
        }
    }

    fn each<T: Send, S>(
        &self,
        items: Vec<T>,
        init: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, T) + Sync,
    ) {
        let items: Vec<_> = items
            .into_iter()
            .map(|item| Mutex::new(Some(item)))
            .collect();
        let part = |tasks: &Tasks<'_>| {
            let mut scratch = init();
            while let Some(task) = tasks.next() {
                let mut item = items[task].lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(item) = item.take() {
                    work(&mut scratch, item);
                }
            }
        };
        self.complete(items.len(), &part);
    }

    /// Runs all tasks of a part, on the owner's thread and on those that help.
    fn complete<'a>(&'a self, tasks: usize, part: &'a (dyn Fn(&Tasks<'_>) + Sync + 'a)) {
        // nested parts of a task run on rayon
        let _busy = Restore(CURRENT.replace(ptr::null()));
        let number = Word(self.word.load(Ordering::Relaxed))
            .part()
            .wrapping_add(1);
        // SAFETY: nobody is inside and no task is left, so that nobody reads it. The lifetime is that of
        // this call, which waits below for whoever took a task.
        #[allow(
            unsafe_code,
            reason = "a part lives on the stack of the owner, who waits for it"
        )]
        unsafe {
            let part: Part =
                std::mem::transmute::<*const (dyn Fn(&Tasks<'_>) + Sync + 'a), Part>(part);
            *self.part.get() = Some(part);
        }
        self.word
            .store(Word::new(number, tasks).0, Ordering::SeqCst);
        let own = Tasks {
            team: self,
            part: number,
            end: End::Front,
            first: Cell::new(None),
        };
        self.run(part, &own);
        let mut rounds = 0u32;
        while self.inside.load(Ordering::SeqCst) > 0 {
            rounds += 1;
            if rounds.is_multiple_of(PATIENCE) {
                // a member may be waiting for a processor
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let panic = self
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Number of spins before the thread yields its processor.
const PATIENCE: u32 = 4096;

/// Restores the previous team when dropped, also when the work panics.
struct Restore(*const Team);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{at_hand, each};
    use crate::awake;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn squares(count: usize) -> Vec<usize> {
        let mut out = vec![0; count];
        let items: Vec<_> = out.iter_mut().enumerate().collect();
        each(items, || (), |(), (at, out)| *out += at * at);
        out
    }

    #[test]
    fn every_item_is_worked_on_once_part_after_part() {
        let expected = |count: usize| -> Vec<usize> { (0..count).map(|at| at * at).collect() };
        assert!(!at_hand());
        assert_eq!(squares(100), expected(100));
        awake(|| {
            assert!(at_hand());
            for round in 0..20_000 {
                let count = round % 7;
                assert_eq!(squares(count), expected(count));
            }
            assert_eq!(squares(70_000), expected(70_000));
        });
        assert!(!at_hand());
    }

    #[test]
    fn a_thread_keeps_what_it_prepared() {
        let prepared = AtomicUsize::new(0);
        awake(|| {
            for _ in 0..200 {
                let init = || prepared.fetch_add(1, Ordering::Relaxed);
                each((0..64).collect(), init, |_, _: usize| {});
            }
        });
        let most = 200 * rayon::current_num_threads();
        assert!((200..=most).contains(&prepared.into_inner()));
    }

    #[test]
    fn a_task_may_have_parts_of_its_own() {
        let sums = AtomicUsize::new(0);
        awake(|| {
            each(
                (0..8).collect(),
                || (),
                |(), count: usize| {
                    sums.fetch_add(squares(count).iter().sum(), Ordering::Relaxed);
                },
            );
        });
        let expected: usize = (0..8).flat_map(|count| (0..count).map(|at| at * at)).sum();
        assert_eq!(sums.into_inner(), expected);
    }

    #[test]
    fn a_panic_comes_out_and_the_next_part_is_whole() {
        awake(|| {
            for bad in 0..200 {
                let outcome = std::panic::catch_unwind(|| {
                    each(
                        (0..8).collect(),
                        || (),
                        |(), at: usize| {
                            assert!(at != bad % 8, "as expected");
                        },
                    );
                });
                assert!(outcome.is_err());
                assert_eq!(squares(5), [0, 1, 4, 9, 16]);
            }
        });
    }
}
