//! The wish to stop, shared between whoever has it and the loop that grants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asked for once, by anyone who holds a clone: training then ends the step that it is in, saves and returns.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone has asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How training came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every step was done.
    Finished,
    /// Someone asked to stop; the run can be gone on with.
    Stopped,
}
