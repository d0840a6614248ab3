//! The model that is evaluated.

use burn::module::Module;
use darkhorse_backends::Ops;

use crate::inference::Limits;
use crate::model::CausalLm;
use crate::model::mixer::{Mixer, TokenMixer};
use crate::model::routing::Router;
use crate::tokenizer::Tokenizer;

/// A model with all that its evaluation needs.
#[derive(Debug, Clone)]
pub struct Subject<'a, B: Ops, M: TokenMixer<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// The network.
    pub model: &'a CausalLm<B, M, R>,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its context and vocabulary. Longer texts lose their beginning.
    pub limits: Limits,
    /// Ids that end a generated text.
    pub stop_ids: Vec<u32>,
}
