//! Adapted models against plain ones, and gradients of factors against those of whole matrices.

use burn::backend::Autodiff;
use burn::tensor::{Int, TensorData, Tolerance};
use darkhorse_backends::product::Times;
use darkhorse_backends::select::Selected;
use serde_json::json;

use super::*;
use crate::model::Sequences;
use crate::model::feed_forward::FeedForward;
use crate::model::linear::Linear;
use crate::model::mixer::Mixer;
use crate::model::weights::{self, InMemory, Merged, NamedTensor};

type B = Autodiff<Selected>;

/// A model with every kind of mixer, a dense layer, and experts beside shared ones.
fn config() -> ModelConfig {
    let config = json!({
        "vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 24,
        "max_position_embeddings": 64, "initializer_range": 0.2, "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 1, "layer_types": ["gqa", "mla", "gla", "fox"],
        "mixer": {
            "gqa": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
            "mla": {
                "num_attention_heads": 2, "q_lora_rank": 16, "kv_lora_rank": 8,
                "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8
            },
            "gla": {
                "num_heads": 2, "num_query_heads": 2, "num_key_heads": 2, "num_value_heads": 2,
                "key_head_dim": 8, "value_head_dim": 8
            },
            "fox": {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
        },
        "rope": {},
        "moe": {
            "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
            "n_shared_experts": 1
        }
    });
    let config: ModelConfig = serde_json::from_value(config).unwrap();
    config.validate().unwrap();
    config
}

fn lora(targets: &[&str]) -> LoraConfig {
    LoraConfig {
        targets: targets.iter().map(|&it| it.to_owned()).collect(),
        ..LoraConfig::of_rank(3)
    }
}

fn plain<B: Ops>() -> CausalLm<B> {
    CausalLm::init(&config(), 5, &Default::default())
}

fn adapted<B: Ops>(lora: &LoraConfig) -> CausalLm<B> {
    adapt(plain(), (&config(), lora), 5).unwrap()
}

/// The model with small numbers in every `B`.
fn moved<B: Ops>(model: CausalLm<B>) -> CausalLm<B> {
    struct Move(ParamPath, u64);
    impl<B: Backend> ModuleMapper<B> for Move {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            if !self.0.name().ends_with(".lora_b") {
                return param;
            }
            self.1 += 1;
            let config = config();
            let init = Initializers::new(&config, self.1);
            let shape = param.lazy_shape().dims();
            let drawn = init.uniform::<B, D>(shape, -0.3..0.3, &param.lazy_device());
            param.map(|_| drawn.val().detach().set_require_grad(true))
        }

        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.0.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.0.exit(container_type);
        }
    }
    model.map(&mut Move(ParamPath::default(), 0))
}

fn ids<B: Backend>() -> Tensor<B, 2, Int> {
    let ids: Vec<i64> = (0..20).map(|at| at * 7 % 32).collect();
    Tensor::from_data(TensorData::new(ids, [2, 10]), &Default::default())
}

fn logits<B: Ops>(model: &CausalLm<B>) -> TensorData {
    let input = Sequences::plain(ids());
    let hidden = model.hidden(&input);
    let further = model.predict_further(0, hidden.states.clone(), &input);
    let both = Tensor::cat(vec![hidden.states, further.states], 0);
    model.logits(both).into_data()
}

fn memory<B: Backend>(model: &CausalLm<B>) -> Box<dyn weights::WeightSource> {
    let tensors = weights::collect(model).into_iter();
    let tensors = tensors.map(|tensor: NamedTensor<'_>| {
        let name = tensor.name.clone();
        (name, tensor.read().unwrap())
    });
    Box::new(InMemory::new("memory", tensors))
}

#[test]
fn a_fresh_adapter_changes_no_logit() {
    let expected = logits(&plain::<Selected>());
    for targets in [&["attention"][..], &["experts"], &["all", "lm_head"]] {
        let found = logits(&adapted::<Selected>(&lora(targets)));
        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
    }
    // the projections of attention are computed as before
    assert_eq!(
        logits(&adapted::<Selected>(&lora(&["attention"]))),
        expected
    );
}

#[test]
fn merged_weights_are_a_plain_model_with_the_adapted_ones_logits() {
    let lora = lora(&["all", "lm_head", "eh_proj"]);
    let model = moved(adapted::<Selected>(&lora));
    let merged = Merged::new(memory(&model), lora.scale());
    let alone = weights::load(plain::<Selected>(), &merged).unwrap();
    let (found, expected) = (logits(&alone), logits(&model));
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(2e-4));
    let before: Vec<f32> = logits(&plain::<Selected>()).iter::<f32>().collect();
    let apart = found.iter::<f32>().zip(before);
    let most = apart.map(|(one, other)| (one - other).abs());
    assert!(most.fold(0.0, f32::max) > 0.1, "the adapters do something");
}

/// `sum(c * y)` with fixed coefficients `c`, which gives every output another gradient.
fn weighted<const D: usize>(output: Tensor<B, D>) -> Tensor<B, 1> {
    let dims = output.dims();
    let count = dims.iter().product::<usize>();
    let of = |at: usize| ((at * 37 % 23) as f32 - 11.0) / 10.0;
    let coefficients: Vec<f32> = (0..count).map(of).collect();
    let coefficients = TensorData::new(coefficients, dims);
    (output * Tensor::from_data(coefficients, &Default::default())).sum()
}

fn param<const D: usize>(shape: [usize; D], seed: u64) -> Param<Tensor<B, D>> {
    let config = config();
    let init = Initializers::new(&config, seed);
    init.uniform(shape, -1.0..1.0, &Default::default())
}

/// Compares the gradients of both factors with `s dW B^T` and `s A^T dW`, where `dW` is the gradient of the sum.
fn check_factors<const D: usize>(
    matrix: &Matrix<B, D>,
    of_adapted: impl Fn(&Matrix<B, D>) -> Tensor<B, 1>,
) {
    let Matrix::Adapted(adapted) = matrix else {
        panic!("it is adapted");
    };
    let whole = Param::from_tensor(adapted.sum().detach()).set_require_grad(true);
    let whole = Matrix::Dense(whole);
    let gradients = of_adapted(&whole).backward();
    let of_whole = whole.val().grad(&gradients).unwrap();
    let scale = lora(&[]).scale();
    let [a, b] = [&adapted.lora_a, &adapted.lora_b].map(|it| it.val().inner());
    let of_a = of_whole.clone().times(b.transpose()).mul_scalar(scale);
    let of_b = a.transpose().times(of_whole).mul_scalar(scale);

    let gradients = of_adapted(matrix).backward();
    assert!(adapted.base.val().grad(&gradients).is_none());
    for (factor, expected) in [(&adapted.lora_a, of_a), (&adapted.lora_b, of_b)] {
        let found = factor.val().grad(&gradients).unwrap().into_data();
        let tolerance = Tolerance::rel_abs(1e-4, 1e-4);
        found.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
    }
}

#[test]
fn factors_of_a_projection_get_the_gradient_of_the_whole_matrix_projected() {
    let factors = [param([6, 3], 2), param([3, 7], 3)];
    let matrix = Adapted::new(param([6, 7], 1), factors, lora(&[]).scale());
    let input = param([5, 6], 4).val().detach();
    check_factors(&Matrix::Adapted(matrix), |matrix| {
        let linear = Linear::new(matrix.clone());
        weighted(linear.forward(input.clone()))
    });
}

#[test]
fn factors_of_experts_get_the_gradient_of_the_whole_matrices_projected() {
    let lora = lora(&["experts"]);
    let model = moved(adapted::<B>(&lora));
    let FeedForward::Moe(moe) = &model.layers[1].feed_forward else {
        panic!("layer 1 routes");
    };
    let hidden = param([9, 32], 6).val().detach();
    let routing = moe.router.clone();
    let around = Default::default();
    let routing = crate::model::routing::Route::route(&routing, hidden.clone(), &around);
    for which in 0..3 {
        let matrices = |experts: &crate::model::feed_forward::experts::Experts<B>| {
            [&experts.gate_proj, &experts.up_proj, &experts.down_proj].map(Clone::clone)
        };
        let own = matrices(&moe.experts);
        check_factors(&own[which], |matrix| {
            let mut experts = moe.experts.clone();
            match which {
                0 => experts.gate_proj = matrix.clone(),
                1 => experts.up_proj = matrix.clone(),
                _ => experts.down_proj = matrix.clone(),
            }
            weighted(experts.forward(hidden.clone(), &routing))
        });
    }
}

#[test]
fn only_factors_and_named_parameters_are_trained() {
    let whole = LoraConfig {
        train: vec!["norms".into(), "routers".into()],
        ..lora(&["all"])
    };
    for lora in [&lora(&["q_proj", "experts"]), &whole] {
        let model = adapted::<B>(lora);
        let states = model.hidden(&Sequences::plain(ids())).states;
        let gradients = weighted(model.logits(states)).backward();
        let gradients = burn::optim::GradientsParams::from_grads(gradients, &model);
        let mut names: Vec<String> = Vec::new();
        for (id, name) in weights::param_names(&model) {
            let has = [1, 2, 3].iter().any(|dims| match dims {
                1 => gradients.get::<Selected, 1>(id).is_some(),
                2 => gradients.get::<Selected, 2>(id).is_some(),
                _ => gradients.get::<Selected, 3>(id).is_some(),
            });
            names.extend(has.then_some(name));
        }
        let is_whole = |name: &&String| name.contains("norm") || name.contains("router.gate");
        let whole = names.iter().filter(is_whole).count();
        let factors = names.iter().filter(|name| is_factor(name)).count();
        assert_eq!(whole + factors, names.len(), "{names:?}");
        assert_eq!(whole > 0, !lora.train.is_empty(), "{names:?}");
        assert!(factors > 0);
        let of_q = names
            .iter()
            .any(|it| it == "layers.0.mixer.q_proj.weight.lora_b");
        assert!(of_q, "{names:?}");
    }
}

#[test]
fn the_report_counts_every_matrix() {
    let config = config();
    let lora = LoraConfig {
        train: vec!["norm.weight".into()],
        ..lora(&["attention", "experts"])
    };
    let report = report(&adapted::<Selected>(&lora), &lora);
    // three of each of four experts in three layers and the module that predicts further
    let experts = 3 * 4 * 4;
    let attention = report.adapted.iter().filter(|it| it.contains(".mixer."));
    assert_eq!(report.adapted_matrices, experts + attention.count());
    assert!(report.others.contains(&"embed_tokens".to_owned()));
    assert!(report.others.contains(&"lm_head".to_owned()));
    assert!(report.matrices > report.adapted_matrices);
    assert_eq!(report.total, config.num_trained_params());
    let line = report.to_string();
    assert!(
        line.starts_with(&format!(
            "adapted {} of {} matrices (q_proj, ",
            report.adapted_matrices, report.matrices
        )),
        "{line}"
    );
    for part in [
        "experts.up_proj",
        "not adapted: embed_tokens",
        "shared_experts.up_proj",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let rank = lora.rank as u64;
    let of_experts = 4 * 4 * 3 * rank * (32 + 8);
    assert!(report.trained > of_experts + 32);
    let names = ["layers.0.mixer", "layers.1.mixer"];
    let Mixer::Gqa(gqa) = &adapted::<Selected>(&lora).layers[0].mixer else {
        panic!("{names:?}");
    };
    assert!(matches!(gqa.q_proj.weight, Matrix::Adapted(_)));
}

#[test]
fn names_that_stand_for_nothing_are_refused_with_those_that_there_are() {
    let refused = |lora: &LoraConfig| {
        let adapted = adapt(plain::<Selected>(), (&config(), lora), 0);
        adapted.map(|_| ()).unwrap_err().to_string()
    };
    let error = refused(&lora(&["q_proj", "query"]));
    assert!(
        error.starts_with(
            "`lora.targets` names `query`, which the model does not have; its modules: "
        ),
        "{error}"
    );
    assert!(error.contains("q_proj, k_proj"), "{error}");
    let error = refused(&LoraConfig {
        train: vec!["biases".into()],
        ..lora(&["all"])
    });
    assert!(error.starts_with("`lora.train` names `biases`"), "{error}");
    let quantized = ModelConfig {
        quantization: Some(crate::model::matrix::Quantization::Q8),
        ..config()
    };
    let blocks = CausalLm::<Selected>::init(&quantized, 0, &Default::default());
    let error = adapt(blocks, (&quantized, &lora(&["o_proj"])), 0).map(|_| ());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("o_proj` is in blocks and cannot be adapted"),
        "{error}"
    );
}
