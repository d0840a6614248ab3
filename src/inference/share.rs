//! Shares of requests in a pass.

use super::event::RequestId;

/// Tokens that a pass has computed for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The request.
    pub request: RequestId,
    /// Phase of these tokens.
    pub phase: Phase,
    /// Number of tokens, rejected drafts included.
    pub tokens: usize,
}

/// Phase of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The prompt is read; the pass that reads its end also gives the first token.
    Prefill,
    /// Tokens are generated.
    Decode,
}
