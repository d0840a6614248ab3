//! Loss of a text whose last layer's states are known.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use serde::{Deserialize, Serialize};

use super::cloze::{Cloze, HeldOutText};
use crate::data::PackedBatch;
use crate::domain::{Domain, TAGS};
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::Route;
use crate::surgery::residual_stream::ResidualStream;
use crate::telemetry::DomainRecord;
use crate::training::batch;

/// Tokens whose logits are in memory at a time.
const TOKENS: usize = 512;

/// Loss of a model on a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextLoss {
    /// `exp(loss)`.
    pub perplexity: f64,
    /// Mean loss in nats per token.
    pub loss: f64,
    /// Number of predicted tokens.
    pub tokens: u64,
    /// Loss of each domain of the text.
    pub domains: Vec<DomainRecord>,
    /// Last words of passages; absent if the text has no word that could be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloze: Option<Cloze>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    nats: f64,
    tokens: u64,
    bytes: u64,
}

impl TextLoss {
    /// Applies the final norm and the head of `model`, which needs no layers, to the last layer's states of a text.
    /// `None` if no token is predicted.
    pub(super) fn of<B, M, R>(
        model: &CausalLm<B, M, R>,
        states: &ResidualStream<B>,
        text: &HeldOutText,
    ) -> Option<Self>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        Self::of_states(model, states.states().cloned(), text)
    }

    /// Loss of `model` on a text. `None` if no token is predicted.
    pub fn measure<B, M, R>(model: &CausalLm<B, M, R>, text: &HeldOutText) -> Option<Self>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let device = model.embed_tokens.device();
        let states = text.rows().iter().map(|rows| {
            let mut trace = model.trace(&batch::sequences(rows, &device));
            trace
                .layers
                .pop()
                .map_or(trace.embedded, |last| last.hidden)
        });
        Self::of_states(model, states, text)
    }

    fn of_states<B, M, R>(
        model: &CausalLm<B, M, R>,
        states: impl Iterator<Item = Tensor<B, 3>>,
        text: &HeldOutText,
    ) -> Option<Self>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let mut sums = [Sum::default(); TAGS];
        let mut right = Vec::new();
        for (number, (states, rows)) in states.zip(text.rows()).enumerate() {
            let [batch, seq, width] = states.dims();
            let states = model.norm.forward(states).reshape([batch * seq, width]);
            right.extend(text.written(model, &states, number));
            for (at, nats) in losses(model, &states, rows) {
                let sum = &mut sums[usize::from(rows.domains[at])];
                sum.nats += nats;
                sum.tokens += 1;
                sum.bytes += u64::from(rows.bytes[at + 1]);
            }
        }
        let nats: f64 = sums.iter().map(|sum| sum.nats).sum();
        let tokens: u64 = sums.iter().map(|sum| sum.tokens).sum();
        if tokens == 0 {
            return None;
        }
        let domains = Domain::ALL.into_iter().map(Some).chain([None]).zip(&sums);
        let domains = domains.filter(|(_, sum)| sum.tokens > 0);
        let record = |(domain, sum): (Option<Domain>, &Sum)| DomainRecord {
            domain,
            loss: sum.nats / sum.tokens as f64,
            bits_per_byte: sum.nats / std::f64::consts::LN_2 / sum.bytes as f64,
            tokens: sum.tokens,
        };
        let loss = nats / tokens as f64;
        Some(Self {
            perplexity: loss.exp(),
            loss,
            tokens,
            domains: domains.map(record).collect(),
            cloze: Cloze::of(&right),
        })
    }
}

/// Loss of every counted prediction, with its index in the batch. `states` are the normed ones of its tokens,
/// `[rows * seq_len, hidden_size]`.
fn losses<B, M, R>(
    model: &CausalLm<B, M, R>,
    states: &Tensor<B, 2>,
    rows: &PackedBatch,
) -> Vec<(usize, f64)>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let targets = batch::targets(rows, 0);
    let counted: Vec<usize> = (0..targets.ids.len())
        .filter(|&at| targets.counted[at])
        .collect();
    let mut losses = Vec::with_capacity(counted.len());
    for some in counted.chunks(TOKENS) {
        let device = states.device();
        let places: Vec<i32> = some.iter().map(|&at| at as i32).collect();
        let places = Tensor::from_data(TensorData::new(places, [some.len()]), &device);
        let logits = model.logits(states.clone().select(0, places).unsqueeze());
        let [_, tokens, vocabulary] = logits.dims();
        let ids = batch::vector::<B>(some.iter().map(|&at| targets.ids[at]), &device);
        let nats = B::cross_entropy(logits.reshape([tokens, vocabulary]), ids).into_data();
        losses.extend(some.iter().copied().zip(nats.iter::<f64>()));
    }
    losses
}
