//! Losses at the head, some tokens at a time: logits of a whole step would not fit beside its activations.

use burn::tensor::{DType, IndexingUpdateOp, Tensor};
use darkhorse_backends::Ops;

use crate::model::CausalLm;
use crate::training::TrainingBackend;
use crate::training::batch::{self, MicroBatch};

/// Tokens whose logits are held at a time.
const TOKENS: usize = 256;

/// Losses of the next token, and their gradient.
#[derive(Debug)]
pub(super) struct AtHead<I: Ops> {
    /// Loss on the text, in nats per counted token.
    pub(super) loss: f64,
    /// `KL(teacher || student)`, in nats per counted token.
    pub(super) divergence: f64,
    /// Gradient of the loss plus the weighted divergence by the student's states, `[rows, seq, hidden_size]`.
    pub(super) gradient: Tensor<I, 3>,
}

/// Losses for the normalized states of teacher and student, `[rows, seq, hidden_size]`. The head itself gets no
/// gradient.
///
/// With `q` and `p` the distributions of teacher and student and `t` the target, the gradient by the student's logits
/// is `(1 + w) p - w q - onehot(t)`, where `w` is the weight of the divergence.
pub(super) fn at_head<B: TrainingBackend>(
    (teacher, taught): (&CausalLm<B::InnerBackend>, Tensor<B::InnerBackend, 3>),
    (student, own): (&CausalLm<B>, Tensor<B, 3>),
    batch: &MicroBatch,
    weight: f64,
) -> AtHead<B::InnerBackend> {
    let [rows, seq, hidden] = own.dims();
    let (all, device) = (rows * seq, own.device());
    let flat = [1, all, hidden];
    let (own, taught) = (own.inner().reshape(flat), taught.reshape(flat));
    let targets = batch::targets(&batch.rows, 0);
    let total = batch.totals.targets[0].max(1) as f64;
    let (mut loss, mut divergence, mut gradients) = (0.0, 0.0, Vec::new());
    let head = student.clone();
    for from in (0..all).step_by(TOKENS) {
        let count = TOKENS.min(all - from);
        let place = from..from + count;
        let ids = targets.ids[place.clone()].iter().copied();
        let ids = batch::vector::<B::InnerBackend>(ids, &device);
        let counted =
            batch::indicator::<B::InnerBackend, 1>(&targets.counted[place], [count], &device);
        let states = own.clone().narrow(1, from, count);
        let states = Tensor::<B, 3>::from_inner(states).require_grad();
        let logits = head.logits(states.clone());
        let [_, _, vocab] = logits.dims();
        let of_rows =
            |logits: Tensor<B::InnerBackend, 3>| logits.cast(DType::F32).reshape([count, vocab]);
        let student = of_rows(logits.clone().inner());
        let teacher = of_rows(teacher.logits(taught.clone().narrow(1, from, count)));
        let chunk = Chunk::of(student, teacher, ids);

        let sum = |of_tokens: Tensor<B::InnerBackend, 1>| -> f64 {
            let counted = (of_tokens * counted.clone()).sum();
            counted.into_data().iter::<f64>().sum::<f64>() / total
        };
        loss += sum(chunk.losses);
        divergence += sum(chunk.divergences);
        let by_logits = chunk.own.mul_scalar(1.0 + weight) - chunk.taught.mul_scalar(weight);
        let ones = Tensor::<B::InnerBackend, 2>::ones([count, 1], &device).neg();
        let by_logits = by_logits.scatter(1, chunk.targets, ones, IndexingUpdateOp::Add);
        let by_logits = by_logits * counted.div_scalar(total).reshape([count, 1]);
        let by_logits = by_logits.reshape([1, count, vocab]).cast(logits.dtype());
        let back = (logits * Tensor::from_inner(by_logits)).sum().backward();
        let by_states = states.grad(&back);
        gradients.push(by_states.expect("the logits depend on the states"));
    }
    AtHead {
        loss,
        divergence,
        gradient: Tensor::cat(gradients, 1).reshape([rows, seq, hidden]),
    }
}

/// Distributions of some tokens.
struct Chunk<I: Ops> {
    /// Probabilities of the student, `[tokens, vocab]`.
    own: Tensor<I, 2>,
    /// Probabilities of the teacher, `[tokens, vocab]`.
    taught: Tensor<I, 2>,
    /// Negative log-likelihood of the targets, `[tokens]`.
    losses: Tensor<I, 1>,
    /// Divergences, `[tokens]`.
    divergences: Tensor<I, 1>,
    /// Targets, `[tokens, 1]`.
    targets: Tensor<I, 2, burn::tensor::Int>,
}

impl<I: Ops> Chunk<I> {
    fn of(own: Tensor<I, 2>, taught: Tensor<I, 2>, ids: Tensor<I, 1, burn::tensor::Int>) -> Self {
        let [count, _] = own.dims();
        let targets = ids.clone().reshape([count, 1]);
        let normalizer = |logits: &Tensor<I, 2>| {
            let losses = I::cross_entropy(logits.clone(), ids.clone());
            let at_target = logits.clone().gather(1, targets.clone());
            (losses.clone(), losses.reshape([count, 1]) + at_target)
        };
        let (losses, own_sum) = normalizer(&own);
        let (_, taught_sum) = normalizer(&taught);
        let apart = taught.clone() - own.clone();
        let own = (own - own_sum.clone()).exp();
        let taught = (taught - taught_sum.clone()).exp();
        let divergences = (taught.clone() * apart).sum_dim(1) + own_sum - taught_sum;
        Self {
            own,
            taught,
            losses,
            divergences: divergences.reshape([count]),
            targets,
        }
    }
}
