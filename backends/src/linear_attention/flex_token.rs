//! A linear-attention layer for a single position in one pass, as in decoding.

use burn::tensor::Tensor;
use burn_flex::Flex;

use super::UpdateRule;
use super::layer::{Decay, HeadNorm, Layer, Mixed, Moment, Positions};
use crate::flex::product::threads_worth;
use crate::flex::rows::{View, all_f32, tensor};
use crate::flex::simd::{dot, kernel, sigmoid, sum};
use crate::flex::team;
use crate::unit::UnitEps;

/// Whether the form applies: a single position, all tensors f32, and a rule without chunks.
pub(crate) fn applies(layer: &Layer<Flex>, positions: &Positions<Flex>) -> bool {
    let [_, seq, _] = positions.decay.dims();
    let is_stepwise = match layer.options.rule {
        UpdateRule::Additive => true,
        UpdateRule::Delta => positions.write.is_some(),
        UpdateRule::ChunkDelta { .. } => false,
    };
    let mut types = vec![positions.decay.dtype()];
    types.extend(positions.write.iter().map(|it| it.dtype()));
    types.extend(positions.projected.iter().map(|it| it.dtype()));
    types.extend(layer.convolutions.iter().map(|it| it.dtype()));
    types.extend(positions.rotation.iter().flatten().map(|it| it.dtype()));
    if let HeadNorm::Rms { weights, .. } = &layer.norm {
        types.extend(weights.iter().map(|it| it.dtype()));
    }
    if let Decay::Softplus { a_log, dt_bias } = &layer.decay {
        types.extend([a_log.dtype(), dt_bias.dtype()]);
    }
    if let Some(Moment { state, tails }) = &positions.past {
        types.push(state.dtype());
        types.extend(tails.iter().map(|it| it.dtype()));
    }
    seq == 1 && is_stepwise && all_f32(&types)
}

/// State and output of one head.
struct Head<'a> {
    at: usize,
    state: &'a mut [f32],
    output: &'a mut [f32],
}

/// See [`Ops::mix_linear`](crate::Ops::mix_linear).
pub(crate) fn mix_token(layer: &Layer<Flex>, positions: Positions<Flex>) -> Mixed<Flex> {
    let Layer {
        heads,
        key_dim,
        value_dim,
        options,
        ..
    } = *layer;
    let [batch, _, _] = positions.decay.dims();
    let (state, tails) = match positions.past {
        Some(Moment { state, tails }) => (Some(state), Some(tails)),
        None => (None, None),
    };
    let (mut channels, mut next) = (Vec::new(), Vec::new());
    for (at, projected) in positions.projected.into_iter().enumerate() {
        let tail = tails.as_ref().map(|tails| tails[at].clone());
        let (out, tail) = convolve(projected, layer.convolutions[at].clone(), tail);
        channels.push(out);
        next.push(tail);
    }
    let next: [Tensor<Flex, 3>; 3] = next.try_into().expect("there are three");
    let rotation = positions.rotation.map(|angles| angles.map(View::rows));
    for (which, channels) in channels.iter_mut().take(2).enumerate() {
        let width = channels.len() / batch.max(1);
        for (item, channels) in channels.chunks_exact_mut(width.max(1)).enumerate() {
            normalize(layer, which, channels);
            if let Some([cos, sin]) = &rotation {
                let [_, _, half] = cos.shape();
                let [cos, sin] = [cos, sin].map(|it| &it.data()[item * it.stride(0)..][..half]);
                for head in channels.chunks_exact_mut(key_dim) {
                    turn(head, cos, sin);
                }
            }
        }
    }
    let decays = decays(layer, positions.decay);
    let writes: Option<Vec<f32>> = positions.write.map(|write| {
        let write = View::contiguous(write);
        let write = &write.data()[..batch * heads];
        write.iter().map(|it| sigmoid(*it)).collect()
    });

    let size = key_dim * value_dim;
    let before = state.map(View::contiguous);
    let nothing = vec![0.0; if before.is_some() { 0 } else { size }];
    let mut states = vec![0.0; batch * heads * size];
    let mut outputs = vec![0.0; batch * heads * value_dim];
    let mut work: Vec<Head<'_>> = states
        .chunks_exact_mut(size)
        .zip(outputs.chunks_exact_mut(value_dim))
        .enumerate()
        .map(|(at, (state, output))| Head { at, state, output })
        .collect();
    let run = |head: &mut Head<'_>| {
        let (item, number) = (head.at / heads, head.at % heads);
        let before = match &before {
            Some(before) => &before.data()[head.at * size..][..size],
            None => &nothing[..],
        };
        let own = |channels: &[f32], dim: usize| {
            let count = channels.len() / dim / batch;
            let which = layer.sharing.source(number, count, heads / count);
            let start = (item * count + which) * dim;
            start..start + dim
        };
        let [query, key] = [0, 1].map(|at| &channels[at][own(&channels[at], key_dim)]);
        let value = &channels[2][own(&channels[2], value_dim)];
        let (decay, write) = (decays[head.at], writes.as_ref().map(|it| it[head.at]));
        let factors = [decay, options.scale as f32];
        let mut news = Vec::new();
        let added = match (options.rule, write) {
            (UpdateRule::Delta, Some(write)) => {
                news.resize(value_dim, 0.0);
                what_is_new(&mut news, before, key, value, [decay, write]);
                &news[..]
            }
            _ => value,
        };
        step(
            before,
            head.state,
            head.output,
            [query, key],
            added,
            factors,
        );
    };
    match threads_worth(batch * heads * size * 2) {
        1 => work.iter_mut().for_each(run),
        _ => team::each(work.iter_mut().collect(), || (), |(), head| run(head)),
    }
    Mixed {
        output: tensor(outputs, [batch, 1, heads, value_dim]),
        now: Moment {
            state: tensor(states, [batch, heads, key_dim, value_dim]),
            tails: next,
        },
        given: None,
    }
}

/// Convolves one token per row, with SiLU; also returns the inputs that the next token needs.
fn convolve(
    projected: Tensor<Flex, 3>,
    weight: Tensor<Flex, 2>,
    tail: Option<Tensor<Flex, 3>>,
) -> (Vec<f32>, Tensor<Flex, 3>) {
    let [batch, _, channels] = projected.dims();
    let [_, taps] = weight.dims();
    let (projected, weight) = (View::rows(projected), View::contiguous(weight));
    let tail = tail.map(View::rows);
    let mut out = vec![0.0; batch * channels];
    let mut window = vec![0.0; batch * taps * channels];
    let items = window.chunks_exact_mut((taps * channels).max(1));
    for ((item, window), out) in items.enumerate().zip(out.chunks_exact_mut(channels.max(1))) {
        let (before, own) = window.split_at_mut((taps - 1) * channels);
        own.copy_from_slice(&projected.data()[item * projected.stride(0)..][..channels]);
        if let Some(tail) = &tail {
            for (row, to) in before.chunks_exact_mut(channels).enumerate() {
                let start = item * tail.stride(0) + row * tail.stride(1);
                to.copy_from_slice(&tail.data()[start..start + channels]);
            }
        }
        activate(out, window, &weight.data()[..channels * taps]);
    }
    let window: Tensor<Flex, 3> = tensor(window, [batch, taps, channels]);
    (out, window.narrow(1, 1, taps - 1))
}

kernel! {
    /// `silu(sum_j w_cj x_jc)`.
    fn activate<'a>(out: &'a mut [f32], window: &'a [f32], weight: &'a [f32]) {
        let channels = out.len();
        let taps = weight.len() / channels;
        for tap in 0..taps {
            let row = &window[tap * channels..(tap + 1) * channels];
            let factors = weight.chunks_exact(taps);
            for ((out, x), factors) in out.iter_mut().zip(row).zip(factors) {
                *out += x * factors[tap];
            }
        }
        for out in out.iter_mut() {
            *out *= sigmoid(*out);
        }
    }
}

/// Normalizes the query heads (`which` is 0) or key heads (1) of one token.
fn normalize(layer: &Layer<Flex>, which: usize, channels: &mut [f32]) {
    match &layer.norm {
        HeadNorm::Unit(eps) => unit(channels, layer.key_dim, *eps),
        HeadNorm::Rms { weights, eps } => {
            let weight = View::contiguous(weights[which].clone());
            rms(channels, weight.slice(), *eps as f32);
        }
    }
}

kernel! {
    fn unit<'a>(channels: &'a mut [f32], dim: usize, eps: UnitEps) {
        for head in channels.chunks_exact_mut(dim) {
            let square = dot(head, head);
            let factor = match eps {
                UnitEps::Length(eps) => 1.0 / ((square + 1e-24).sqrt() + eps as f32),
                UnitEps::Square(eps) => 1.0 / (square + eps as f32).sqrt(),
            };
            head.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

kernel! {
    fn rms<'a>(channels: &'a mut [f32], weight: &'a [f32], eps: f32) {
        for head in channels.chunks_exact_mut(weight.len()) {
            let mean = sum(head, |value| value * value) / head.len() as f32;
            let factor = 1.0 / (mean + eps).sqrt();
            for (value, weight) in head.iter_mut().zip(weight) {
                *value *= factor * weight;
            }
        }
    }
}

/// Rotates the leading dimensions, paired as halves.
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (left, right) = head.split_at_mut(cos.len());
    for (((x, y), cos), sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
        let (a, b) = (*x, *y);
        *x = a * cos - b * sin;
        *y = b * cos + a * sin;
    }
}

/// Decays of the states, by row and head.
fn decays(layer: &Layer<Flex>, projected: Tensor<Flex, 3>) -> Vec<f32> {
    let count: usize = projected.dims().iter().product();
    let raw = View::contiguous(projected);
    let raw = raw.data()[..count].iter().copied();
    // log(1 + e^x), without overflow
    let softplus = |x: f32| x.max(0.0) + (-x.abs()).exp().ln_1p();
    match &layer.decay {
        Decay::Softplus { a_log, dt_bias } => {
            let [rate, bias] = [a_log, dt_bias].map(|it| View::contiguous(it.clone()));
            let parameters = rate.slice().iter().zip(bias.slice()).cycle();
            raw.zip(parameters)
                .map(|(x, (rate, bias))| (-rate.exp() * softplus(x + bias)).exp())
                .collect()
        }
        Decay::LogSigmoid { normalizer } => raw
            .map(|x| (-softplus(-x) / *normalizer as f32).exp())
            .collect(),
    }
}

kernel! {
    /// `news = b (v - d S^T k)`.
    fn what_is_new<'a>(
        news: &'a mut [f32],
        state: &'a [f32],
        key: &'a [f32],
        value: &'a [f32],
        factors: [f32; 2],
    ) {
        let [decay, write] = factors;
        for (row, key) in state.chunks_exact(news.len()).zip(key) {
            for (sum, state) in news.iter_mut().zip(row) {
                *sum += key * state;
            }
        }
        for (news, value) in news.iter_mut().zip(value) {
            *news = write * (value - decay * *news);
        }
    }
}

kernel! {
    /// `S = d S + k v^T`, `o = s q^T S`.
    fn step<'a>(
        before: &'a [f32],
        state: &'a mut [f32],
        output: &'a mut [f32],
        heads: [&'a [f32]; 2],
        value: &'a [f32],
        factors: [f32; 2],
    ) {
        let [query, key] = heads;
        let [decay, scale] = factors;
        let rows = before.chunks_exact(value.len());
        let rows = rows.zip(state.chunks_exact_mut(value.len()));
        for (((before, row), query), key) in rows.zip(query).zip(key) {
            let query = query * scale;
            let outputs = output.iter_mut().zip(value);
            for ((state, before), (output, value)) in row.iter_mut().zip(before).zip(outputs) {
                *state = before * decay + key * value;
                *output += query * *state;
            }
        }
    }
}
