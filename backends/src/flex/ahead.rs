//! Prefetching by waiting threads.
//!
//! Token after token, the same weights are read in the same order. Each thread of a team records what it reads in
//! each part. Between two parts, while the leader does sequential work, the thread prefetches what followed last
//! time. A wrong guess only costs unused memory bandwidth.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::prefetch::{Cache, LINE, prefetch};

/// Maximum number of bytes to prefetch for a part; they must stay in the second-level cache until then.
const MOST: usize = 1 << 20;
/// Number of bytes to prefetch before the thread looks for work again.
const STEP: usize = 512;
/// Number of remembered parts, more than a token has.
const PARTS: usize = 1 << 14;

/// A rectangular region of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    /// Address of the first byte.
    pub(crate) start: usize,
    /// Bytes per row.
    pub(crate) width: usize,
    /// Bytes from a row to the next.
    pub(crate) stride: usize,
    pub(crate) rows: usize,
}

thread_local! {
    static NOTES: Cell<Notes> = const { Cell::new(Notes::Nothing) };
    static TRAIL: RefCell<Trail> = RefCell::default();
}

/// Recording state of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notes {
    Nothing,
    /// The next read is the first of a part.
    First,
    More,
}

/// Runs `work`, this thread's share of a part, and records its reads.
pub(crate) fn noting(work: impl FnOnce()) {
    NOTES.set(Notes::First);
    work();
    NOTES.set(Notes::Nothing);
}

/// Records that this thread is about to read a region.
#[inline(always)]
pub(crate) fn reading(region: impl FnOnce() -> Region) {
    let notes = NOTES.get();
    if notes != Notes::Nothing {
        let left = TRAIL.with_borrow_mut(|trail| trail.note(region(), notes == Notes::First));
        NOTES.set(left);
    }
}

/// Prefetches some of what is probably read next. Returns false if there is nothing to prefetch.
pub(crate) fn fetch() -> bool {
    TRAIL.with_borrow_mut(|trail| trail.ask(STEP, |line| prefetch(Cache::Second, line)))
}

/// Record of a thread's reads, part by part.
#[derive(Debug, Default)]
struct Trail {
    /// First address of the part before the current one.
    before: usize,
    /// First regions of the current part.
    present: Vec<Region>,
    /// Regions of the part that followed, by first address of a part.
    after: HashMap<usize, Vec<Region>>,
    /// Progress in the predicted next part, once looked up.
    next: Option<Place>,
}

/// Progress of prefetching the regions of a part.
#[derive(Debug, Default)]
struct Place {
    regions: Vec<Region>,
    region: usize,
    row: usize,
    byte: usize,
    /// Number of bytes prefetched so far.
    asked: usize,
}

/// Address that identifies a part; zero before the first part.
fn begin(part: &[Region]) -> usize {
    part.first().map_or(0, |region| region.start)
}

impl Trail {
    /// Records a region; returns whether further regions should be recorded.
    fn note(&mut self, region: Region, is_first: bool) -> Notes {
        if is_first {
            let past = std::mem::replace(&mut self.before, begin(&self.present));
            if self.after.len() >= PARTS {
                self.after.clear();
            }
            let known = self.after.entry(past).or_default();
            known.clear();
            known.append(&mut self.present);
            self.next = None;
        }
        self.present.push(region);
        let noted: usize = self.present.iter().map(|it| it.width * it.rows).sum();
        if noted < MOST {
            Notes::More
        } else {
            Notes::Nothing
        }
    }

    /// Prefetches up to `bytes` more of the part that followed the current one last time.
    fn ask(&mut self, bytes: usize, mut line: impl FnMut(usize)) -> bool {
        let place = self.next.get_or_insert_with(|| Place {
            regions: self
                .after
                .get(&begin(&self.present))
                .cloned()
                .unwrap_or_default(),
            ..Place::default()
        });
        let end = MOST.min(place.asked + bytes);
        let mut asks = false;
        while place.asked < end {
            let Some(region) = place.regions.get(place.region) else {
                return asks;
            };
            line(region.start + place.row * region.stride + place.byte);
            asks = true;
            place.asked += LINE;
            place.byte += LINE;
            if place.byte >= region.width {
                (place.byte, place.row) = (0, place.row + 1);
            }
            if place.row >= region.rows {
                (place.row, place.region) = (0, place.region + 1);
            }
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Notes, Region, Trail};

    fn region(start: usize) -> Region {
        Region {
            start,
            width: 128,
            stride: 1000,
            rows: 2,
        }
    }

    fn asked(trail: &mut Trail, bytes: usize) -> Vec<usize> {
        let mut lines = Vec::new();
        trail.ask(bytes, |line| lines.push(line));
        lines
    }

    #[test]
    fn what_followed_a_part_the_last_time_is_asked_for_once() {
        let mut trail = Trail::default();
        for _ in 0..2 {
            trail.note(region(10_000), true);
            trail.note(region(20_000), true);
            assert_eq!(trail.note(region(30_000), false), Notes::More);
        }
        trail.note(region(10_000), true);
        assert_eq!(asked(&mut trail, 192), [20_000, 20_064, 21_000]);
        assert_eq!(
            asked(&mut trail, 1 << 20),
            [21_064, 30_000, 30_064, 31_000, 31_064]
        );
        assert!(asked(&mut trail, 64).is_empty());
        trail.note(region(20_000), true);
        assert_eq!(asked(&mut trail, 64), [10_000]);
    }

    #[test]
    fn no_more_is_asked_for_than_stays_in_the_cache() {
        let mut trail = Trail::default();
        let large = |start| Region {
            rows: MOST,
            ..region(start)
        };
        for _ in 0..2 {
            assert_eq!(trail.note(large(10_000), true), Notes::Nothing);
            assert_eq!(trail.note(large(20_000), true), Notes::Nothing);
        }
        assert_eq!(asked(&mut trail, 2 * MOST).len(), MOST / 64);
        assert!(asked(&mut trail, 64).is_empty());
    }
}
