//! Diagnosis of non-finite values: the first part of a model that produces NaN or infinity, and why.

use std::fmt;
use std::ops::ControlFlow::{self, Break, Continue};
use std::slice::{from_mut, from_ref};

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::Ops;

use super::cache::{Cache, Extension};
use super::causal_lm::{CausalLm, remember};
use super::context::Context;
use super::mixer::TokenMixer;
use super::routing::Route;
use super::sequences::Sequences;
use super::weights::{self, NamedTensor};

/// Number of positions whose logits are checked at once.
const ROWS: usize = 64;

/// A part of a model, in the order of the forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The embedding table.
    Embedding,
    /// The mixer of a layer (from 0), its norm and residual addition included.
    Mixer(usize),
    /// The feed-forward of a layer (from 0), its norm and residual addition included.
    FeedForward(usize),
    /// Test-time training after the last layer.
    Metacognition,
    /// The norm before the head.
    Norm,
    /// The head.
    Head,
    /// A multi-token prediction module, from 0.
    Mtp(usize),
    /// The cache of earlier tokens, if the values are finite without it.
    Cache,
}

/// Kind of a non-finite value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotANumber {
    /// Not a number, such as 0 / 0.
    NaN,
    /// Positive or negative infinity.
    Infinite,
}

/// Why a value is not finite.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The part has a non-finite weight.
    Weight {
        /// Name of its tensor.
        name: String,
    },
    /// All weights of the part are finite; a computed value exceeds the range of its type.
    Overflow {
        /// Type of the value.
        dtype: DType,
        /// Name of the tensor with the weight of largest magnitude, and that weight.
        largest: Option<(String, f32)>,
    },
    /// Cached keys or values exceed the range of the cache's type.
    Cached,
}

/// Logits that are not finite, so that no token can be chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFinite {
    /// The first part with a non-finite value.
    pub part: Part,
    /// Kind of the value.
    pub found: NotANumber,
    /// The cause.
    pub cause: Cause,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => write!(f, "the embedding"),
            Self::Mixer(layer) => write!(f, "the mixer of layer {layer}"),
            Self::FeedForward(layer) => write!(f, "the feed-forward of layer {layer}"),
            Self::Metacognition => write!(f, "test-time training"),
            Self::Norm => write!(f, "the final norm"),
            Self::Head => write!(f, "the head"),
            Self::Mtp(module) => write!(f, "multi-token prediction module {module}"),
            Self::Cache => write!(f, "the cache"),
        }
    }
}

impl fmt::Display for NotANumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NaN => "NaN",
            Self::Infinite => "infinity",
        })
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, found, cause } = self;
        write!(
            f,
            "the logits are not finite: {found} first comes from {part}, "
        )?;
        match cause {
            Cause::Weight { name } => write!(
                f,
                "whose weights `{name}` are not finite: the file is damaged, or training diverged; take another checkpoint"
            ),
            Cause::Overflow { dtype, largest } => {
                write!(
                    f,
                    "whose weights are finite: values outgrow {}",
                    dtype.name()
                )?;
                match largest {
                    Some((name, weight)) => write!(
                        f,
                        "; its largest weight is {weight:e}, in `{name}`: if that is not meant, take another checkpoint"
                    ),
                    None => Ok(()),
                }
            }
            Cause::Cached => write!(
                f,
                "whose type is too narrow for this model: hold it in a wider one, as by `--cache-dtype f32`"
            ),
        }
    }
}

impl std::error::Error for NotFinite {}

impl Part {
    /// Prefixes of the names of this part's weights.
    fn prefixes(self) -> Vec<String> {
        match self {
            Self::Embedding => vec!["embed_tokens".into()],
            Self::Mixer(layer) => vec![
                format!("layers.{layer}.input_layernorm."),
                format!("layers.{layer}.mixer."),
            ],
            Self::FeedForward(layer) => vec![
                format!("layers.{layer}.post_attention_layernorm."),
                format!("layers.{layer}.feed_forward."),
            ],
            Self::Metacognition => vec!["metacognition.".into()],
            Self::Norm => vec!["norm.".into()],
            // a tied head uses the embedding table
            Self::Head => vec!["lm_head.".into(), "embed_tokens".into()],
            Self::Mtp(module) => vec![format!("mtp.{module}.")],
            Self::Cache => Vec::new(),
        }
    }
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> CausalLm<B, M, R> {
    /// Runs whole sequences and returns the first non-finite value, if any.
    pub fn not_finite(&self, input: &Sequences<B>) -> Option<NotFinite> {
        let adapt = |states: Tensor<B, 3>, context: &Context<B>| self.adapt(states, context.phase);
        self.walk(input, None, adapt).break_value()
    }

    /// Runs the next positions of a sequence, appends them to its cache, and returns the first non-finite value, if
    /// any.
    pub fn not_finite_next(
        &self,
        input: &Sequences<B>,
        past: &mut Cache<B, M>,
    ) -> Option<NotFinite> {
        let [_, new] = input.ids.dims();
        let found = self.walk(input, Some(past), |states, _| states);
        if found.is_continue() {
            past.advance(new);
        }
        found.break_value()
    }

    /// Finds the cause of a non-finite value in a part: the first non-finite weight, or else overflow of `dtype`.
    pub fn explain(&self, part: Part, found: NotANumber, dtype: DType) -> NotFinite {
        let prefixes = part.prefixes();
        let is_of_part = |tensor: &NamedTensor<'_>| {
            let mut prefixes = prefixes.iter();
            prefixes.any(|prefix| tensor.name.starts_with(prefix.as_str()))
        };
        let mut largest: Option<(String, f32)> = None;
        let tensors = weights::collect::<B, Self>(self).into_iter();
        for tensor in tensors.filter(is_of_part) {
            let name = tensor.name.clone();
            if !tensor.dtype.is_float() {
                continue;
            }
            // the tensors are on the device, so reading them does not fail
            let Ok(values) = tensor.read() else { continue };
            let furthest = values.iter::<f32>().fold(0.0_f32, furthest_from_0);
            if !furthest.is_finite() {
                let cause = Cause::Weight { name };
                return NotFinite { part, found, cause };
            }
            if largest
                .as_ref()
                .is_none_or(|(_, most)| furthest.abs() > most.abs())
            {
                largest = Some((name, furthest));
            }
        }
        let cause = Cause::Overflow { dtype, largest };
        NotFinite { part, found, cause }
    }

    /// Runs part after part and stops at the first non-finite output.
    fn walk(
        &self,
        input: &Sequences<B>,
        past: Option<&mut Cache<B, M>>,
        adapt: impl FnOnce(Tensor<B, 3>, &Context<B>) -> Tensor<B, 3>,
    ) -> ControlFlow<NotFinite> {
        let mut states = self.embed(input.ids.clone());
        let [_, new, _] = states.dims();
        let mut next = past.map(|past| Extension::new(past, new));
        let (mut context, codons) = match &next {
            None => (self.whole_context(input), None),
            Some(next) => (self.context(input), self.next_codons(from_ref(next))),
        };
        self.check(Part::Embedding, &states)?;
        for (at, block) in self.layers.iter().enumerate() {
            states = match &mut next {
                None => block.mix(states, &context),
                Some(next) => {
                    let codons = codons.as_ref();
                    let trail = next.past.trail.iter();
                    context.around.codons = codons.map(|codons| codons.in_layer(at, trail));
                    let layer = &mut next.past.layers[at];
                    block.mix_next(states, &context, &mut [Extension::new(layer, new)])
                }
            };
            self.check(Part::Mixer(at), &states)?;
            let output = block.transform(states, &context);
            if let (Some(next), Some(routing)) = (&mut next, &output.routing) {
                remember(at, routing, from_mut(next));
            }
            states = output.hidden;
            self.check(Part::FeedForward(at), &states)?;
        }
        let states = adapt(states, &context);
        self.check(Part::Metacognition, &states)?;
        let states = self.norm.forward(states);
        self.check(Part::Norm, &states)?;
        let [_, seq, _] = states.dims();
        (0..seq).step_by(ROWS).try_for_each(|begin| {
            let rows = states.clone().narrow(1, begin, ROWS.min(seq - begin));
            self.check(Part::Head, &self.logits(rows))
        })
    }

    fn check(&self, part: Part, values: &Tensor<B, 3>) -> ControlFlow<NotFinite> {
        match not_a_number(values) {
            Some(found) => Break(self.explain(part, found, values.dtype())),
            None => Continue(()),
        }
    }
}

/// Kind of the first non-finite value, if any.
pub fn not_a_number<B: Backend, const D: usize>(values: &Tensor<B, D>) -> Option<NotANumber> {
    let values = values.clone().into_data();
    let first = values.iter::<f32>().find(|value| !value.is_finite());
    first.map(|value| {
        if value.is_nan() {
            NotANumber::NaN
        } else {
            NotANumber::Infinite
        }
    })
}

/// Whether all values are finite. Vectorized, so cheaper than computing the values.
pub fn are_finite(values: &[f32]) -> bool {
    // branch-free, so that the compiler vectorizes it
    let exponents = values
        .iter()
        .map(|value| value.to_bits() & f32::INFINITY.to_bits());
    exponents.fold(0, u32::max) < f32::INFINITY.to_bits()
}

/// The value of larger magnitude; non-finite values count as largest.
fn furthest_from_0(most: f32, value: f32) -> f32 {
    if most.is_finite() && (!value.is_finite() || value.abs() > most.abs()) {
        value
    } else {
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_that_is_not_finite_is_found_among_many() {
        assert!(are_finite(&[]));
        for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, 500, 999] {
                let mut values = [f32::MAX, f32::MIN, -0.0, 1e-40].repeat(250);
                assert!(are_finite(&values));
                values[at] = wrong;
                assert!(!are_finite(&values), "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn the_head_is_the_embedding_table_where_they_are_one() {
        let prefixes = Part::Head.prefixes();
        assert!(
            prefixes
                .iter()
                .any(|it| "embed_tokens".starts_with(it.as_str()))
        );
        let layer = Part::Mixer(1).prefixes();
        assert!(
            !layer
                .iter()
                .any(|it| "layers.10.mixer.q_proj.weight".starts_with(it.as_str()))
        );
    }
}
