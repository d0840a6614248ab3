//! Single components of the model.

use burn::tensor::{Int, Tensor};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::linear_attention::{LinearAttention, LinearAttentionOptions, UpdateRule};
use darkhorse_backends::select::Selected;
use darkhorse_genesis::model::cache::{CacheConfig, Extension, Past};
use darkhorse_genesis::model::feed_forward::FeedForward;
use darkhorse_genesis::model::feed_forward::selective::SelectiveMask;
use darkhorse_genesis::model::mixer::fox::Fox;
use darkhorse_genesis::model::mixer::gla::Gla;
use darkhorse_genesis::model::mixer::{Mixer, TokenMixer};
use darkhorse_genesis::model::rope::{Rope, RotaryPairs};
use darkhorse_genesis::model::ttt::{Metacognition, TttMode, TttViews};
use darkhorse_genesis::model::{CausalLm, Context, ModelConfig, Phase};

use crate::fixture::{Fixture, read, values};

type B = Selected;

/// Context of a layer for positions from `offset` on.
fn context(config: &ModelConfig, batch: usize, positions: std::ops::Range<i64>) -> Context<B> {
    let len = (positions.end - positions.start) as usize;
    let positions = Tensor::<B, 1, Int>::arange(positions, &Default::default())
        .unsqueeze::<2>()
        .expand([batch, len]);
    Context {
        rotation: Rope::new(&config.rope, config.rope_dim()).at(positions),
        mask: AttentionMask::Causal,
        around: Default::default(),
        phase: Phase::Inference,
        step: None,
    }
}

fn linear(fixture: &Fixture) -> Gla<B> {
    match fixture.model::<B>().layers.remove(0).mixer {
        Mixer::Gla(linear) => linear,
        other => panic!("{other}"),
    }
}

fn fox(fixture: &Fixture) -> Fox<B> {
    match fixture.model::<B>().layers.remove(3).mixer {
        Mixer::Fox(fox) => fox,
        other => panic!("{other}"),
    }
}

/// Swaps the dimensions of positions and heads.
fn by_head(tensor: Tensor<B, 4>) -> Tensor<B, 4> {
    tensor.swap_dims(1, 2)
}

#[test]
fn the_parts_of_gated_linear_attention() {
    let fixture = read();
    let linear = linear(&fixture);
    let x: Tensor<B, 3> = fixture.tensor("gla/x");
    let context = context(fixture.config(), 2, 0..70);
    let inputs = linear.inputs(x.clone(), &context);
    fixture.compare_tensor("gla/q", by_head(inputs.query));
    fixture.compare_tensor("gla/k", by_head(inputs.key));
    fixture.compare_tensor("gla/v", by_head(inputs.value));
    let gates = |gates: Tensor<B, 3>| by_head(gates.unsqueeze_dim::<4>(3));
    fixture.compare_tensor("gla/log_decay", gates(inputs.log_decay));
    fixture.compare_tensor("gla/beta", gates(inputs.write));
    let raw = linear.q_proj.forward(x.clone());
    let (convolved, _) = linear.q_conv.forward(raw, None, &AttentionMask::Causal);
    fixture.compare_tensor("gla/conv_q_out", convolved);
    fixture.compare_tensor("gla/eval_out", linear.forward(x, &context));
}

#[test]
fn a_state_is_taken_over_at_once_and_token_by_token() {
    let fixture = read();
    let linear = linear(&fixture);
    let x: Tensor<B, 3> = fixture.tensor("gla/x");
    let state: Tensor<B, 4> = fixture.tensor("gla/state0");
    let config = fixture.config();

    let mut cache = linear.cache_from(state.clone(), 5);
    let output = extend(&linear, x.clone(), &context(config, 2, 5..75), &mut cache);
    fixture.compare_tensor("gla/s0_out", output);
    fixture.compare_tensor(
        "gla/s0_final_state",
        cache.state().cloned().expect("it is there"),
    );
    assert_eq!(cache.len(), 75);

    let mut cache = linear.cache_from(state, 5);
    let steps = (0..70).map(|at| {
        let context = context(config, 2, at as i64 + 5..at as i64 + 6);
        extend(&linear, x.clone().narrow(1, at, 1), &context, &mut cache)
    });
    let steps = Tensor::cat(steps.collect(), 1);
    fixture.compare_tensor("gla/s0_out", steps);
    fixture.compare_tensor(
        "gla/s0_final_state",
        cache.state().cloned().expect("it is there"),
    );
}

#[test]
fn the_chunk_level_delta_takes_over_a_state() {
    let fixture = read();
    let linear = linear(&fixture);
    let x: Tensor<B, 3> = fixture.tensor("gla/x");
    let state: Tensor<B, 4> = fixture.tensor("gla/state0");
    let rule = UpdateRule::ChunkDelta { chunk: 64 };
    for (name, len, start) in [("delta_s0", 70, 5), ("delta_short_s0", 11, 0)] {
        let mut cache = linear.cache_from(state.clone(), start);
        let positions = start as i64..(start + len) as i64;
        let context = context(fixture.config(), 2, positions);
        let part = x.clone().narrow(1, 0, len);
        let output = linear.extend_by(part, &context, &mut cache, rule);
        fixture.compare_tensor(&format!("gla/{name}_out"), output);
        let state = cache.state().cloned().expect("it is there");
        fixture.compare_tensor(&format!("gla/{name}_final_state"), state);
    }
}

#[test]
fn the_core_of_gated_linear_attention() {
    let fixture = read();
    let heads = |name: &str| by_head(fixture.tensor::<B, 4>(&format!("gla_core/{name}")));
    let gates = |name: &str| heads(name).squeeze_dim::<3>(3);
    for (name, rule) in [
        ("plain", UpdateRule::Additive),
        ("delta", UpdateRule::ChunkDelta { chunk: 64 }),
    ] {
        let input = LinearAttention {
            query: heads("q"),
            key: heads("k"),
            value: heads("v"),
            log_decay: gates("log_decay"),
            write: gates("beta"),
            state: fixture.tensor("gla_core/state0"),
        };
        let scale = 8f64.powf(-0.5);
        let options = LinearAttentionOptions { rule, scale };
        let attended = B::linear_attention(input, options, &AttentionMask::Causal);
        fixture.compare_tensor(&format!("gla_core/{name}_out"), by_head(attended.output));
        fixture.compare_tensor(&format!("gla_core/{name}_final_state"), attended.state);
    }
}

#[test]
fn forgetting_attention_at_once_and_token_by_token() {
    let fixture = read();
    let fox = fox(&fixture);
    let x: Tensor<B, 3> = fixture.tensor("fox/x");
    let config = fixture.config();
    let context = context(config, 1, 0..70);
    let inputs = fox.inputs(x.clone(), &context);
    fixture.compare_tensor("fox/q", by_head(inputs.query.clone()));
    let repeated = inputs
        .key
        .clone()
        .unsqueeze_dim::<5>(3)
        .expand([1, 70, 2, 2, 12]);
    fixture.compare_tensor("fox/k", by_head(repeated.reshape([1, 70, 4, 12])));
    fixture.compare_tensor("fox/v", by_head(inputs.value.clone()));
    fixture.compare_tensor("fox/cumsum_log_f", inputs.kept.clone().swap_dims(1, 2));
    let attended = B::forgetting_attention(inputs, &AttentionMask::Causal, 12f64.powf(-0.5));
    fixture.compare_tensor("fox/attn", by_head(attended));
    fixture.compare_tensor("fox/out", fox.forward(x.clone(), &context));

    let mut cache = fox.empty_cache(&CacheConfig::default());
    let steps = (0..70).map(|at| extend(&fox, x.clone().narrow(1, at, 1), &context, &mut cache));
    fixture.compare_tensor("fox/out", Tensor::cat(steps.collect(), 1));
}

fn metacognition(fixture: &Fixture, mode: TttMode, views: TttViews) -> Metacognition<B> {
    let mut config = fixture.config().clone();
    let ttt = config.ttt.as_mut().expect("the model has it");
    (ttt.mode, ttt.views) = (mode, views);
    let model: CausalLm<B> = fixture.model_of(&config);
    model.metacognition.expect("the model has it")
}

#[test]
fn test_time_training() {
    let fixture = read();
    let metacognition = metacognition(&fixture, TttMode::Dual, TttViews::Shared);
    let x: Tensor<B, 3> = fixture.tensor("ttt/x");
    let normalized = metacognition.ttt.norm.forward(x.clone());
    let inner = metacognition.ttt.inner(normalized);
    fixture.compare_tensor("ttt/dual_inner", inner.output);
    let found = metacognition.find(x.clone());
    fixture.compare_tensor("ttt/adapted", found.adapted);
    let reflection = metacognition.reflection.forward(found.both);
    fixture.compare_tensor("ttt/reflection", reflection);
    fixture.compare_tensor("ttt/confidence", found.confidence.mean());
    let surprising = found.surprise.clone().greater_elem(0.5).float().mean();
    fixture.compare_tensor("ttt/high_surprise_ratio", surprising);
    fixture.compare_tensor("ttt/surprise", found.surprise.mean());
    fixture.compare_tensor("ttt/ttt_loss", found.loss);
    fixture.compare_tensor("ttt/blended", metacognition.blend(x));
}

#[test]
fn the_other_forms_of_test_time_training() {
    let fixture = read();
    let x: Tensor<B, 3> = fixture.tensor("ttt/x");
    let slow = metacognition(&fixture, TttMode::Dual, TttViews::Projected);
    fixture.compare_tensor("ttt/adapted_slowpath", slow.find(x.clone()).adapted);
    let mode = TttMode::MiniBatch { tokens: 16 };
    let steps = metacognition(&fixture, mode, TttViews::Shared);
    fixture.compare_tensor("ttt/adapted_minibatch16", steps.find(x).adapted);
}

#[test]
fn the_selective_feed_forward() {
    let fixture = read();
    let x: Tensor<B, 3> = fixture.tensor("ffn/x");
    let selective = |config: &ModelConfig| {
        let model: CausalLm<B> = fixture.model_of(config);
        match model
            .layers
            .into_iter()
            .next()
            .map(|layer| layer.feed_forward)
        {
            Some(FeedForward::Selective(selective)) => selective,
            _ => panic!("the feed-forward is not selective"),
        }
    };
    let hard = selective(fixture.config());
    fixture.compare_tensor(
        "ffn/eval_out",
        hard.forward(x.clone(), Phase::Inference, None),
    );
    fixture.compare_tensor(
        "ffn/train_out",
        hard.forward(x.clone(), Phase::Training, None),
    );
    let inner = hard.inner(x.reshape([32, 48]));
    fixture.compare("ffn/hidden", &values(inner.clone()));
    let kept = |config: &ModelConfig| {
        let options = config.selective.as_ref().expect("the model is selective");
        options.kept(config.intermediate_size, None)
    };
    let mask: Vec<u8> = values(hard.mask(inner.clone(), kept(fixture.config())))
        .into_iter()
        .map(|it| it as u8)
        .collect();
    assert_eq!(mask, fixture.bytes("ffn/mask"));

    let mut config = fixture.config().clone();
    let options = config.selective.as_mut().expect("the model is selective");
    options.mask = SelectiveMask::Soft { temperature: 0.1 };
    let soft = selective(&config).mask(inner, kept(&config));
    fixture.compare("ffn/soft_mask_unused", &values(soft));
}

#[test]
fn norms_and_rotations() {
    let fixture = read();
    let model = fixture.model::<B>();
    let x: Tensor<B, 2> = fixture.tensor("norm/x");
    let norm = &model.layers[0].input_layernorm;
    fixture.compare_tensor("norm/zero_centered_out", norm.forward(x.clone()));
    let linear = linear(&fixture);
    let gate: Tensor<B, 3> = fixture.tensor("norm/gate_g");
    let rows: Tensor<B, 3> = fixture.tensor("norm/gate_x");
    let normalized = linear.o_norm.forward(rows).reshape([12, 18]);
    let gated = B::swiglu(gate.reshape([12, 18]), normalized);
    fixture.compare("norm/gated_out", &values(gated));

    let context = context(fixture.config(), 1, 7..16);
    for name in ["q", "k"] {
        let heads: Tensor<B, 4> = fixture.tensor(&format!("rope/{name}"));
        let turned = context
            .rotation
            .apply_to_leading(RotaryPairs::Halves, by_head(heads));
        fixture.compare_tensor(&format!("rope/{name}_out"), by_head(turned));
    }
    // L2 normalization: x / (|x| + 1e-6)
    let length = x.clone().square().sum_dim(1).sqrt().add_scalar(1e-6);
    fixture.compare_tensor("norm/l2_out", x / length);
}

/// Appends positions to a sequence.
fn extend<M: TokenMixer<B>>(
    mixer: &M,
    hidden: Tensor<B, 3>,
    context: &Context<B>,
    past: &mut M::Cache,
) -> Tensor<B, 3> {
    let [_, new, _] = hidden.dims();
    mixer.extend(hidden, context, &mut [Extension::new(past, new)])
}
