//! Rules for what may be generated, such as a grammar.

use std::fmt::Debug;

use super::sampling::Sampler;

/// A rule for the tokens of one sequence, from the first generated one on.
pub trait Constraint: Debug + Send {
    /// Sets the logits of all tokens that must not come next to minus infinity. If none may, leaves the logits as they
    /// are and returns [`Progress::Complete`].
    ///
    /// # Errors
    ///
    /// [`ConstraintError`] if the rule cannot be evaluated.
    fn restrict(&mut self, logits: &mut [f32]) -> Result<Progress, ConstraintError>;

    /// Appends a token that was chosen.
    ///
    /// # Errors
    ///
    /// [`ConstraintError`] if the rule forbids it or cannot be evaluated.
    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError>;
}

/// Whether a text that follows a rule can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More tokens may follow.
    Open,
    /// The text is complete, and no token may follow.
    Complete,
}

/// A rule that cannot be evaluated, for example because that would take too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the grammar of the answer cannot be followed: {reason}")]
pub struct ConstraintError {
    /// The cause, in one line.
    pub reason: String,
}

/// The rule of a sequence, and how far it has come.
#[derive(Debug)]
pub(super) struct Constrained {
    rule: Box<dyn Constraint>,
    logits: Vec<f32>,
    /// Why no more tokens are chosen.
    pub(super) end: Option<Result<(), ConstraintError>>,
}

impl Constrained {
    pub(super) fn new(rule: Box<dyn Constraint>) -> Self {
        Self {
            rule,
            logits: Vec::new(),
            end: None,
        }
    }

    /// Chooses the token after `past` among those that the rule allows; `None` if no token may follow.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        past: &[u32],
        sampler: &Sampler,
    ) -> Option<u32> {
        if self.end.is_some() {
            return None;
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        match self.rule.restrict(&mut self.logits) {
            Ok(Progress::Open) => {}
            Ok(Progress::Complete) => {
                self.end = Some(Ok(()));
                return None;
            }
            Err(error) => {
                self.end = Some(Err(error));
                return None;
            }
        }
        let id = sampler.choose(&self.logits, past);
        match self.rule.accept(id) {
            Ok(Progress::Open) => {}
            Ok(Progress::Complete) => self.end = Some(Ok(())),
            Err(error) => {
                self.end = Some(Err(error));
                return None;
            }
        }
        Some(id)
    }
}
