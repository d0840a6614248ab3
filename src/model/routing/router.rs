//! Top-k router by affinity.
//!
//! DeepSeek-V3 (<https://arxiv.org/abs/2412.19437>), section 2.1.2; group-limited choice as in "node-limited
//! routing" there.

use burn::module::{Initializer, Module, Param, ParamId};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::Ops;

use super::balance::{Choices, Goal, Rule, quantile, sign};
use super::config::{RouterConfig, ScoringFunc};
use super::cosine::{Cosine, Similarity};
use super::gates::{self, GateRule};
use super::growth::{Access, Change, Growing, Growth, Roster};
use super::stats::Observed;
use super::{Route, Routing, Surroundings, codons};
use crate::model::init::Initializers;
use crate::model::linear::{Bias, Linear};
use crate::model::matrix::{Matrix, selected};

/// Score of an excluded slot: finite, and below any sum of score, bias and prior.
const EXCLUDED: f32 = -1e30;

/// A mean bias below this is a rounding error of zero.
const CENTERED: f64 = 1e-6;

/// Chooses the experts of every token by affinity. Built by [`CausalLm`](crate::model::CausalLm).
#[derive(Module, Debug)]
pub struct Router<B: Backend> {
    /// Centroids of the slots, `[hidden_size, slots]`, or `[projection_size, slots]` with cosine similarity, and the
    /// intercepts of their logits, if the router has some.
    pub gate: Linear<B>,
    /// Projection and scale of the cosine similarity, if that is used.
    pub cosine: Option<Cosine<B>>,
    /// Scales of the experts' gates, `[experts]`, if the gates are [unit scales](GateRule::UnitScale).
    pub unit_scale: Option<Param<Tensor<B, 1>>>,
    /// Added to the affinities for the choice only, `[slots]`; updated by [`balance`](super::balance), not by
    /// gradients.
    pub e_score_correction_bias: Param<Tensor<B, 1>>,
    /// State of the places if the number of experts grows.
    pub growth: Option<Growth<B>>,
    experts: usize,
    num_experts_per_tok: usize,
    #[module(skip)]
    config: RouterConfig,
}

impl<B: Backend> Router<B> {
    /// Builds the router of the model being built, with a zero bias.
    ///
    /// # Panics
    ///
    /// If the model has no experts.
    pub fn init(init: &Initializers<'_>, device: &B::Device) -> Self {
        let model = init.config();
        let moe = model.moe.as_ref().expect("a layer that routes has experts");
        let similarity = &moe.router.similarity;
        let width = similarity.centroid_size(model.hidden_size);
        let cosine = match similarity {
            Similarity::Dot => None,
            Similarity::Cosine(config) => Some(Cosine::init(config, init, device)),
        };
        let gate = init.dense_linear(width, moe.slots(), device);
        Self {
            gate: gate.with(Bias::when(moe.router.intercept)),
            cosine,
            unit_scale: match moe.router.gate {
                GateRule::Affinity => None,
                GateRule::UnitScale => Some(init.zeros(moe.n_routed_experts, device)),
            },
            e_score_correction_bias: Initializer::Zeros
                .init([moe.slots()], device)
                .set_require_grad(false),
            growth: Growth::init(moe, init, device),
            experts: moe.n_routed_experts,
            num_experts_per_tok: moe.num_experts_per_tok,
            config: moe.router.clone(),
        }
    }

    /// Excludes all experts outside the `topk_group` best groups.
    fn limit_to_groups(&self, choice: Tensor<B, 2>) -> Tensor<B, 2>
    where
        B: Ops,
    {
        let (groups, kept) = (self.config.n_group, self.config.topk_group);
        if groups == 1 {
            return choice;
        }
        let [tokens, experts] = choice.dims();
        let members = experts / groups;
        let by_group = choice.clone().reshape([tokens * groups, members]);
        let best = B::top_k(by_group.clone(), self.config.group_score.experts());
        let best = by_group.gather(1, best);
        let group_scores = best.sum_dim(1).reshape([tokens, groups]);
        let chosen = B::top_k(group_scores, kept);

        let open = Tensor::<B, 2>::zeros([tokens, groups], &choice.device()).scatter(
            1,
            chosen,
            Tensor::ones([tokens, kept], &choice.device()),
            burn::tensor::IndexingUpdateOp::Add,
        );
        let closed = open
            .equal_elem(0.0)
            .reshape([tokens, groups, 1])
            .expand([tokens, groups, members])
            .reshape([tokens, experts]);
        choice.mask_fill(closed, EXCLUDED)
    }
}

impl<B: Ops> Router<B> {
    /// Adds `by` to the bias of all null experts: a positive value makes tokens choose them more often.
    pub fn with_null_bias_moved(mut self, by: f32) -> Self {
        let mut bias = self.bias();
        bias[self.experts..].iter_mut().for_each(|bias| *bias += by);
        self.set_bias(bias);
        self
    }

    /// Logits without unreachable slots. A softmax must not see those, and a sibling that opens enters it gradually,
    /// by the logarithm of its openness.
    fn within_reach(&self, logits: Tensor<B, 2>, access: &Access<B>) -> Tensor<B, 2> {
        let logits = match self.config.scoring_func {
            ScoringFunc::Sigmoid => logits,
            ScoringFunc::Softmax => {
                let openness = access.penalty.clone().neg().add_scalar(1.0);
                logits + openness.clamp_min(f32::MIN_POSITIVE).log()
            }
        };
        logits.mask_fill(access.closed.clone(), EXCLUDED)
    }

    /// Gates of the chosen slots from their affinities, both `[tokens, k]`.
    fn gates(&self, affinities: Tensor<B, 2>, indices: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        if let Some(scale) = &self.unit_scale {
            return gates::unit_scale(affinities, scale.val().cast(DType::F32), indices);
        }
        let gates = if self.config.norm_topk_prob {
            affinities.clone() / (affinities.sum_dim(1) + 1e-20)
        } else {
            affinities
        };
        gates.mul_scalar(self.config.routed_scaling_factor)
    }

    fn bias(&self) -> Vec<f32> {
        let bias = self.e_score_correction_bias.val().into_data();
        bias.iter::<f32>().collect()
    }

    fn set_bias(&mut self, bias: Vec<f32>) {
        let device = self.e_score_correction_bias.device();
        let slots = bias.len();
        let bias = Tensor::from_data(TensorData::new(bias, [slots]), &device);
        let param = self.e_score_correction_bias.clone();
        self.e_score_correction_bias = param.map(|_| bias.set_require_grad(false));
    }

    fn rebalance(&self, bias: &mut [f32], seen: &Observed, goal: &Goal) {
        let choices = Choices {
            k: self.num_experts_per_tok,
            k_target: self.config.k_target,
        };
        match &self.config.balance {
            Rule::Sign => sign::rebalance(bias, &seen.counts, goal, choices),
            Rule::Quantile(rule) => quantile::rebalance(bias, seen, goal, choices, rule),
            Rule::Auxiliary(_) => {}
        }
    }

    /// Whether the pass must return margins: in training, if the balance rule uses them and a token does not choose
    /// all slots.
    fn observes_margins(&self, choice: &Tensor<B, 2>) -> bool {
        let [_, slots] = choice.dims();
        matches!(self.config.balance, Rule::Quantile(_))
            && self.num_experts_per_tok < slots
            && B::ad_enabled(&choice.device())
    }
}

impl<B: Ops> Route<B> for Router<B> {
    /// Routes every token to `num_experts_per_tok` slots, computed in f32 whatever the model's type.
    ///
    /// `around` influences the choice only: gates are computed from the affinities alone.
    fn route(&self, hidden: Tensor<B, 2>, around: &Surroundings<B>) -> Routing<B> {
        // bf16 cannot hold bias steps of 1e-3 near 1.0
        let hidden = hidden.cast(DType::F32);
        let centroids = self.gate.weight.val().cast(DType::F32);
        let mut logits = match &self.cosine {
            None => B::project(hidden.clone(), centroids),
            Some(cosine) => cosine.logits(hidden.clone(), centroids),
        };
        if let Some(intercept) = &self.gate.bias {
            logits = logits + intercept.val().cast(DType::F32).unsqueeze();
        }
        let access = self.growth.as_ref().map(|it| it.access(hidden.clone()));
        if let Some(access) = &access {
            logits = self.within_reach(logits, access);
        }
        let affinities = match self.config.scoring_func {
            ScoringFunc::Sigmoid => sigmoid(logits.clone()),
            ScoringFunc::Softmax => softmax(logits.clone(), 1),
        };
        let bias = self.e_score_correction_bias.val().cast(DType::F32);
        let mut choice = affinities.clone().detach() + bias.clone().unsqueeze();
        if let Some(prior) = around.prior.clone() {
            // an expert has the domain of its founder
            choice = choice
                + match &access {
                    Some(access) => prior.select(1, access.founders.clone()),
                    None => prior,
                };
        }
        let mut codon_scores = None;
        if let (Some(codons), Some(config)) = (&around.codons, &self.config.codons) {
            let scores = affinities.clone().detach();
            let scores = codons::scores(scores, self.experts, access.as_ref());
            codon_scores = Some(scores.clone());
            let mode = &config.mode;
            choice = codons::apply(mode, codons, choice, scores, access.as_ref(), EXCLUDED);
        }
        if let Some(Access {
            closed, penalty, ..
        }) = access
        {
            choice = (choice - penalty).mask_fill(closed, EXCLUDED);
        }
        let mut choice = self.limit_to_groups(choice);
        let growth = self.growth.as_ref().map(|growth| {
            let trains = B::ad_enabled(&choice.device());
            Growing {
                places: growth.places.val(),
                hidden: trains.then(|| hidden.detach()),
                unbiased: trains.then(|| choice.clone() - bias.clone().unsqueeze()),
            }
        });
        let k = self.num_experts_per_tok;
        if let Some(together) = around.together {
            let [tokens, slots] = choice.dims();
            let scores: Vec<f32> = choice.clone().into_data().iter().collect();
            let costs = together.costs(&scores, [slots, self.experts, k]);
            let costs = TensorData::new(costs, [tokens, slots]);
            choice = choice.clone() + Tensor::from_data(costs, &choice.device());
        }
        let scores = choice.clone();
        let (indices, margins) = if self.observes_margins(&choice) {
            let best = B::top_k(choice.clone(), k + 1);
            let cutoff = choice.clone().gather(1, best.clone().narrow(1, k, 1));
            let margins = cutoff - choice + bias.unsqueeze();
            (best.narrow(1, 0, k), Some(margins))
        } else {
            (B::top_k(choice, k), None)
        };

        let chosen = affinities.clone().gather(1, indices.clone());
        Routing {
            weights: self.gates(chosen, indices.clone()),
            indices,
            logits,
            affinities,
            scores,
            margins,
            experts: self.experts,
            loss_factors: self.config.loss_factors(),
            growth,
            codon_scores,
        }
    }

    fn balance(mut self, seen: &Observed, goal: &Goal) -> Self {
        if goal.speed == 0.0 {
            return self;
        }
        if matches!(self.config.balance, Rule::Auxiliary(_)) {
            return self;
        }
        let mut bias = self.bias();
        match seen.counts.slots_in_use() {
            None => self.rebalance(&mut bias, seen, goal),
            // places without an expert are hidden from the balance rule
            Some(slots) => {
                let mut used: Vec<f32> = slots.iter().map(|&slot| bias[slot]).collect();
                let seen = seen.of_slots(&slots);
                let experts = slots.iter().filter(|&&slot| slot < goal.target.len());
                let goal = Goal {
                    target: experts.map(|&expert| goal.target[expert]).collect(),
                    speed: goal.speed,
                };
                self.rebalance(&mut used, &seen, &goal);
                for (slot, used) in slots.into_iter().zip(used) {
                    bias[slot] = used;
                }
            }
        }
        self.set_bias(bias);
        self
    }

    fn roster(&self) -> Option<Roster> {
        self.growth.as_ref().map(Growth::roster)
    }

    /// Copies centroid and bias of a dividing expert to its child.
    fn grow(mut self, change: &Change) -> Self {
        let Some(growth) = self.growth.take() else {
            return self;
        };
        let before = growth.roster();
        let mut roster = before.clone();
        for &expert in &change.retired {
            roster.retire(expert);
        }
        for division in &change.divisions {
            roster.divide(division, change.step);
        }
        roster.open(change.step + 1, change.inhibition);
        let growth = if roster == before {
            growth
        } else {
            growth.after(&roster, &change.divisions)
        };
        self.growth = Some(growth);
        if change.is_empty() {
            return self;
        }
        let mut bias = self.bias();
        let sources = change.sources(bias.len());
        bias = sources.iter().map(|&source| bias[source]).collect();
        // null experts too: a shift common to all slots changes no choice
        let mean = roster.in_use().map(|it| f64::from(bias[it])).sum::<f64>()
            / roster.in_use().count() as f64;
        if mean.abs() > CENTERED {
            let centered = bias.iter().map(|&bias| (f64::from(bias) - mean) as f32);
            bias = centered.collect();
        }
        self.set_bias(bias);
        if let Matrix::Dense(weight) = self.gate.weight {
            self.gate.weight = Matrix::Dense(selected(weight, 1, &sources));
        }
        let of_sources = |param| selected(param, 0, &sources);
        self.gate.bias = self.gate.bias.map(of_sources);
        // with unit scales there are no null experts, so that slots are experts
        self.unit_scale = self.unit_scale.map(of_sources);
        self
    }

    fn slot_parameters(&self) -> Vec<(ParamId, usize)> {
        let [_, slots] = self.gate.weight.dims();
        let centroids = match &self.gate.weight {
            Matrix::Dense(weight) => Some(weight.id),
            Matrix::Blocks(_) | Matrix::Adapted(_) => None,
        };
        let vectors = [&self.gate.bias, &self.unit_scale];
        let vectors = vectors.into_iter().flatten().map(|vector| vector.id);
        let all = centroids.into_iter().chain(vectors);
        all.map(|id| (id, slots)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routing::GroupScore;
    use crate::model::{CausalLm, ModelConfig, Sequences};
    use burn::module::Module;
    use burn::tensor::TensorData;
    use darkhorse_backends::select::Selected;

    type B = Selected;

    fn mixtral() -> ModelConfig {
        let json = r#"{
            "vocab_size": 11, "hidden_size": 3, "num_hidden_layers": 2, "intermediate_size": 5,
            "first_k_dense_replace": 0, "max_position_embeddings": 16, "layer_types": ["gqa"],
            "mixer": {"gqa": {
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4
            }},
            "rope": {},
            "moe": {
                "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 5,
                "router": {"scoring_func": "softmax"}
            },
            "domains": {"mode": "off"}
        }"#;
        serde_json::from_str(json).unwrap()
    }

    /// Each centroid selects one coordinate of a token, so the logits are the token's coordinates.
    #[test]
    fn softmax_gates_are_those_of_all_experts_renormalized_over_the_chosen() {
        let device = Default::default();
        let config = mixtral();
        let mut router = Router::<B>::init(&Initializers::new(&config, 0), &device);
        let centroids = [
            [1.0f32, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let weight = Tensor::from_floats(centroids, &device);
        router.gate.weight = Matrix::Dense(Param::from_tensor(weight));

        let tokens = Tensor::<B, 2>::from_floats([[1.0, -1.0, 3.0], [-2.0, 0.5, -3.0]], &device);
        let routing = router.route(tokens, &Surroundings::default());

        let chosen = routing.indices.into_data();
        assert_eq!(chosen.iter::<i64>().collect::<Vec<_>>(), [2, 0, 1, 3]);
        let share = |a: f64, b: f64| a.exp() / (a.exp() + b.exp());
        let gates = [
            share(3.0, 1.0),
            share(1.0, 3.0),
            share(0.5, 0.0),
            share(0.0, 0.5),
        ];
        for (gate, expected) in routing.weights.into_data().iter::<f64>().zip(gates) {
            assert!(
                (gate - expected).abs() < 1e-6,
                "{gate}, expected {expected}"
            );
        }
        let sums = routing.affinities.sum_dim(1).into_data();
        assert!(sums.iter::<f64>().all(|sum| (sum - 1.0).abs() < 1e-6));
    }

    /// The first expert is the best single one, but the last two are the best pair.
    #[test]
    fn a_group_is_as_good_as_its_best_expert_or_as_its_two_best() {
        for (score, expected) in [(GroupScore::TwoBest, [2, 3]), (GroupScore::Best, [0, 1])] {
            let device = Default::default();
            let mut config = mixtral();
            let options = &mut config.moe.as_mut().unwrap().router;
            (options.n_group, options.group_score) = (2, score);
            config.validate().unwrap();
            let mut router = Router::<B>::init(&Initializers::new(&config, 0), &device);
            let centroids = [
                [1.0f32, 0.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ];
            let weight = Tensor::from_floats(centroids, &device);
            router.gate.weight = Matrix::Dense(Param::from_tensor(weight));
            let token = Tensor::<B, 2>::from_floats([[2.0, 1.5, 1.4]], &device);
            let chosen = router.route(token, &Surroundings::default()).indices;
            let chosen: Vec<i64> = chosen.into_data().iter().collect();
            assert_eq!(chosen, expected, "{score:?}");
        }
    }

    #[test]
    fn groups_of_one_expert_are_ranked_by_it_alone() {
        let mut config = mixtral();
        let options = &mut config.moe.as_mut().unwrap().router;
        (options.n_group, options.topk_group) = (4, 2);
        config.validate().unwrap_err();
        config.moe.as_mut().unwrap().router.group_score = GroupScore::Best;
        config.validate().unwrap();
        let router = Router::<B>::init(&Initializers::new(&config, 0), &Default::default());
        let token = Tensor::<B, 2>::from_floats([[0.5, -1.5, 1.0]], &Default::default());
        let routing = router.route(token, &Surroundings::default());
        let best = B::top_k(routing.affinities, 2).into_data();
        let chosen = routing.indices.into_data();
        assert!(chosen.iter::<i64>().eq(best.iter::<i64>()));
    }

    #[test]
    fn a_model_may_route_from_its_first_layer_and_share_no_expert() {
        let device = Default::default();
        let config = mixtral();
        config.validate().unwrap();
        let model = CausalLm::<B>::init(&config, 1, &device);
        assert_eq!(
            model.num_params() as u64,
            config.num_params() + 2 * 4,
            "beside the weights there are the biases of two routers"
        );
        let ids = TensorData::new(vec![1i64, 9, 4, 4], [1, 4]);
        let ids = Tensor::<B, 2, Int>::from_data(ids, &device);
        let hidden = model.hidden(&Sequences::plain(ids));
        assert_eq!(hidden.routings.len(), 2);
        let states = hidden.states.into_data();
        assert!(states.iter::<f32>().all(f32::is_finite));
    }
}
