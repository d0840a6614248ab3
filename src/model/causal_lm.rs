//! The language model: embedding, decoder layers, final norm, head.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::Ops;

use super::block::Block;
use super::cache::{Cache, CacheConfig, Extension};
use super::config::{LayerPlan, ModelConfig};
use super::context::{Context, Phase};
use super::feed_forward::FeedForward;
use super::feed_forward::moe::Moe;
use super::init::Initializers;
use super::linear::Linear;
use super::mixer::{Mixer, TokenMixer};
use super::mtp::MtpModule;
use super::norm::RmsNorm;
use super::rope::Rope;
use super::routing::codons::{CodonConfig, Codons, Trail};
use super::routing::domain::DomainPrior;
use super::routing::{Route, Router, Routing, Surroundings, Together};
use super::sequences::{Hidden, Sequences, Trace, shift_left};
use super::ttt::Metacognition;

/// A decoder-only language model.
///
/// `M` and `R` are the types of its mixers and routers. A crate with its own types names them here and builds the
/// model with [`CausalLm::init_with`].
///
/// ```
/// use darkhorse_genesis::backends::select::{Selected, default_device};
/// use darkhorse_genesis::burn::tensor::{Int, Tensor};
/// use darkhorse_genesis::config::Experiment;
/// use darkhorse_genesis::model::{CausalLm, Sequences};
///
/// let config = Experiment::preset("mixtral-tiny")?.model;
/// let device = default_device();
/// let model = CausalLm::<Selected>::init(&config, 0, &device);
/// let ids = Tensor::<Selected, 2, Int>::from_data([[5, 3, 9], [2, 7, 1]], &device);
/// let logits = model.forward(&Sequences::plain(ids));
/// assert_eq!(logits.dims(), [2, 3, config.vocab_size]);
/// # Ok::<(), darkhorse_genesis::config::ConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct CausalLm<B: Backend, M: Module<B> = Mixer<B>, R: Module<B> = Router<B>> {
    /// Embedding table, `[vocab_size, hidden_size]`.
    pub embed_tokens: Param<Tensor<B, 2>>,
    /// The decoder layers.
    pub layers: Vec<Block<B, M, R>>,
    /// Normalizes the residual stream before the head.
    pub norm: RmsNorm<B>,
    /// Output projection, `[hidden_size, vocab_size]`; absent if the head is the transposed embedding table.
    pub lm_head: Option<Linear<B>>,
    /// Multi-token prediction modules, nearest token first.
    pub mtp: Vec<MtpModule<B, M, R>>,
    /// Domain prior of the router; absent if domains are off.
    pub domain_prior: Option<DomainPrior<B>>,
    /// Test-time training after the last layer; absent in most models.
    pub metacognition: Option<Metacognition<B>>,
    #[module(skip)]
    rope: Rope,
    #[module(skip)]
    behavior: Behavior,
}

/// Settings of the forward pass that are not weights.
#[derive(Debug, Clone, PartialEq)]
struct Behavior {
    /// Absent: [`Phase::of`] the backend.
    phase: Option<Phase>,
    ttt: Ttt,
    /// Cost of an expert that no token of the batch has chosen yet; absent: tokens choose independently.
    batch_aware: Option<f64>,
    /// Codon settings of the router; absent: no codons.
    codons: Option<CodonConfig>,
    /// Factor on the states before the head.
    logit_scale: f64,
}

/// Whether whole sequences go through test-time training, if the model has it.
///
/// Training and decoding never use it, because it mixes information across the whole batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttt {
    /// Not applied.
    #[default]
    Off,
    /// Applied.
    On,
}

impl<B: Backend> CausalLm<B> {
    /// Builds the model of `config` with weights drawn from `seed`.
    ///
    /// # Panics
    ///
    /// If `config` was not [validated](ModelConfig::validate).
    pub fn init(config: &ModelConfig, seed: u64, device: &B::Device) -> Self {
        Self::init_with(
            config,
            seed,
            device,
            |plan, init| Mixer::init(plan.mixer, init, device),
            |init| Router::init(init, device),
        )
    }
}

impl<B: Backend, M: Module<B>, R: Module<B>> CausalLm<B, M, R> {
    /// Builds the model of `config` with the caller's mixers and routers.
    ///
    /// `mixer` is called once per layer and per MTP module, `router` once per MoE layer.
    ///
    /// # Panics
    ///
    /// If `config` was not [validated](ModelConfig::validate).
    pub fn init_with(
        config: &ModelConfig,
        seed: u64,
        device: &B::Device,
        mut mixer: impl FnMut(LayerPlan<'_>, &Initializers<'_>) -> M,
        mut router: impl FnMut(&Initializers<'_>) -> R,
    ) -> Self {
        let init = Initializers::new(config, seed);
        let mut block = |plan: LayerPlan<'_>| Block {
            input_layernorm: init.norm(config.hidden_size, device),
            mixer: mixer(plan, &init),
            post_attention_layernorm: init.norm(config.hidden_size, device),
            feed_forward: FeedForward::init(plan.feed_forward, &init, &mut router, device),
        };
        let deviation = config.embedding_initializer_range;
        let deviation = deviation.unwrap_or(config.initializer_range);
        Self {
            embed_tokens: init.normal([config.vocab_size, config.hidden_size], deviation, device),
            layers: config.plan().into_iter().map(&mut block).collect(),
            norm: init.norm(config.hidden_size, device),
            lm_head: (!config.tie_word_embeddings)
                .then(|| init.linear(config.hidden_size, config.vocab_size, device)),
            mtp: (0..config.num_nextn_predict_layers)
                .map(|_| MtpModule::init(block(config.mtp_plan()), &init, device))
                .collect(),
            domain_prior: config
                .moe
                .as_ref()
                .and_then(|moe| DomainPrior::init(&config.domains, moe, device)),
            metacognition: config
                .ttt
                .as_ref()
                .map(|ttt| Metacognition::init(ttt, &init, device)),
            // at least one pair, so that the rotation is not empty if no layer uses it
            rope: Rope::new(&config.rope, config.rope_dim().max(2)),
            behavior: Behavior {
                phase: None,
                ttt: Ttt::Off,
                batch_aware: None,
                codons: config
                    .moe
                    .as_ref()
                    .and_then(|moe| moe.router.codons.clone()),
                logit_scale: config.logit_scale(),
            },
        }
    }

    /// Looks up embeddings, in the type of the norms, which is that of the residual stream,
    /// `[batch, seq, hidden_size]`.
    pub fn embed(&self, ids: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        let [batch, seq] = ids.dims();
        let [_, hidden] = self.embed_tokens.dims();
        self.embed_tokens
            .val()
            .select(0, ids.reshape([batch * seq]))
            .reshape([batch, seq, hidden])
            .cast(self.norm.weight.dtype())
    }

    /// Sets the phase, overriding the backend's default.
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.behavior.phase = Some(phase);
        self
    }

    /// Sets whether whole sequences go through test-time training.
    pub fn with_ttt(mut self, ttt: Ttt) -> Self {
        self.behavior.ttt = ttt;
        self
    }

    /// Sets [batch-aware](Together) routing: tokens at one position of different sequences choose experts jointly,
    /// and an expert that none of them has chosen yet costs `rho`. `None` turns it off.
    pub fn with_batch_aware(mut self, rho: Option<f64>) -> Self {
        self.behavior.batch_aware = rho;
        self
    }

    /// Replaces every router by `f(layer, router)`, where `layer` counts MoE layers from 0, MTP modules last.
    pub fn map_routers(self, mut f: impl FnMut(usize, R) -> R) -> Self {
        self.map_moe(|layer, mut moe| {
            moe.router = f(layer, moe.router);
            moe
        })
    }

    /// Replaces every MoE layer, counted as in [`map_routers`](Self::map_routers).
    pub fn map_moe(mut self, mut f: impl FnMut(usize, Moe<B, R>) -> Moe<B, R>) -> Self {
        let mut layer = 0;
        let mut in_block = |mut block: Block<B, M, R>| {
            block.feed_forward = match block.feed_forward {
                FeedForward::Moe(moe) => {
                    let moe = f(layer, moe);
                    layer += 1;
                    FeedForward::Moe(moe)
                }
                dense => dense,
            };
            block
        };
        self.layers = self.layers.into_iter().map(&mut in_block).collect();
        self.mtp = self
            .mtp
            .into_iter()
            .map(|mut module| {
                module.block = in_block(module.block);
                module
            })
            .collect();
        self
    }

    /// Context of a pass, without codons.
    pub(super) fn context(&self, input: &Sequences<B>) -> Context<B> {
        Context {
            rotation: self.rope.at(input.positions.clone()),
            mask: input.mask.clone(),
            around: Surroundings {
                prior: match (&self.domain_prior, &input.tags) {
                    (Some(prior), Some(tags)) => Some(prior.of(tags.clone())),
                    _ => None,
                },
                ..Surroundings::default()
            },
            phase: self.phase(&input.ids.device()),
            step: input.step,
        }
    }

    /// Context of a pass over whole sequences, with the codons of their documents.
    pub fn whole_context(&self, input: &Sequences<B>) -> Context<B> {
        let mut context = self.context(input);
        let codons = self.behavior.codons.as_ref();
        context.around.codons = codons.map(|config| Codons::of_documents(config, &input.positions));
        context
    }

    /// Batch-aware routing for `rows` tokens at one position; `None` for a single row or if it is off.
    fn together(&self, rows: usize) -> Option<Together> {
        let batch_aware = self.behavior.batch_aware.filter(|_| rows > 1);
        batch_aware.map(|rho| Together { rho, tokens: rows })
    }

    fn phase(&self, device: &B::Device) -> Phase {
        let of_backend = || Phase::of::<B>(device);
        self.behavior.phase.unwrap_or_else(of_backend)
    }
}

impl<B: Ops, M: TokenMixer<B>, R: Route<B>> CausalLm<B, M, R> {
    /// Logits of the next token at every position, `[batch, seq, vocab_size]`.
    pub fn forward(&self, input: &Sequences<B>) -> Tensor<B, 3> {
        self.logits(self.hidden(input).states)
    }

    /// Runs the decoder layers and the final norm on whole sequences.
    pub fn hidden(&self, input: &Sequences<B>) -> Hidden<B> {
        let [rows, _] = input.ids.dims();
        let mut context = self.whole_context(input);
        context.around.together = self.together(rows);
        let mut states = self.embed(input.ids.clone());
        let mut routings = Vec::new();
        for layer in &self.layers {
            let output = layer.forward(states, &context);
            states = output.hidden;
            routings.extend(output.routing);
        }
        Hidden {
            states: self.norm.forward(self.adapt(states, context.phase)),
            routings,
        }
    }

    /// Applies test-time training to the last layer's states, if it is on and the phase is inference.
    pub fn adapt(&self, states: Tensor<B, 3>, phase: Phase) -> Tensor<B, 3> {
        match (&self.metacognition, self.behavior.ttt, phase) {
            (Some(metacognition), Ttt::On, Phase::Inference) => metacognition.blend(states),
            _ => states,
        }
    }

    /// [`hidden`](Self::hidden) that also returns the output of every layer, without batch-aware routing.
    pub fn trace(&self, input: &Sequences<B>) -> Trace<B> {
        let context = self.whole_context(input);
        let embedded = self.embed(input.ids.clone());
        let mut states = embedded.clone();
        let mut layers = Vec::new();
        for layer in &self.layers {
            let output = layer.forward(states, &context);
            states = output.hidden.clone();
            layers.push(output);
        }
        let routings = layers.iter().filter_map(|layer| layer.routing.clone());
        let output = Hidden {
            routings: routings.collect(),
            states: self.norm.forward(self.adapt(states, context.phase)),
        };
        Trace {
            embedded,
            layers,
            output,
        }
    }

    /// Runs the decoder layers on the next positions of every sequence and appends these to its cache.
    ///
    /// The result for a sequence does not depend on the others, unless routing is
    /// [batch-aware](Self::with_batch_aware). `input.mask` is ignored: a sequence is one document.
    ///
    /// # Shapes
    ///
    /// - input: `[1, tokens]`, the rows of all sequences, concatenated
    pub fn extend(
        &self,
        input: &Sequences<B>,
        sequences: &mut [Extension<'_, Cache<B, M>>],
    ) -> Hidden<B> {
        let mut context = self.context(input);
        if sequences.iter().all(|sequence| sequence.new == 1) {
            context.around.together = self.together(sequences.len());
        }
        let codons = self.next_codons(sequences);
        let mut states = self.embed(input.ids.clone());
        let mut routings = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            context.around.codons = codons.as_ref().map(|codons| {
                let trails = sequences.iter().filter_map(|it| it.past.trail.as_ref());
                codons.in_layer(at, trails)
            });
            let mut pasts: Vec<_> = sequences
                .iter_mut()
                .map(|sequence| Extension::new(&mut sequence.past.layers[at], sequence.new))
                .collect();
            let output = layer.extend(states, &context, &mut pasts);
            states = output.hidden;
            if let Some(routing) = &output.routing {
                remember(at, routing, sequences);
            }
            routings.extend(output.routing);
        }
        for sequence in sequences {
            sequence.past.advance(sequence.new);
        }
        Hidden {
            states: self.norm.forward(states),
            routings,
        }
    }

    /// Codons of the next positions of the sequences; `None` if the router has none.
    pub(super) fn next_codons(
        &self,
        sequences: &[Extension<'_, Cache<B, M>>],
    ) -> Option<Codons<B>> {
        let config = self.behavior.codons.as_ref()?;
        let known = sequences
            .iter()
            .filter_map(|sequence| Some((sequence.past.trail.as_ref()?, sequence.new)));
        Some(Codons::of_sequences(
            config,
            known,
            &self.embed_tokens.device(),
        ))
    }

    /// [`extend`](Self::extend) of one sequence, or of rows of equal length that share a cache.
    pub fn extend_one(&self, input: &Sequences<B>, past: &mut Cache<B, M>) -> Hidden<B> {
        let [_, new] = input.ids.dims();
        self.extend(input, &mut [Extension::new(past, new)])
    }

    /// [`predict_further`](Self::predict_further) for the next positions of every sequence. `ahead.ids` are the
    /// tokens `depth + 1` after the positions of `states`, and `ahead.positions` are those positions.
    ///
    /// # Shapes
    ///
    /// - ahead: `[1, tokens]`, states: `[1, tokens, hidden_size]`
    pub fn draft(
        &self,
        depth: usize,
        states: Tensor<B, 3>,
        ahead: &Sequences<B>,
        sequences: &mut [Extension<'_, M::Cache>],
    ) -> Hidden<B> {
        let context = self.context(ahead);
        let embedded = self.embed(ahead.ids.clone());
        self.mtp[depth].extend(embedded, states, &context, sequences)
    }

    /// Runs MTP module `depth` (from 0) on the states of the previous module, or of the main model. The output at
    /// position `i` predicts token `i + depth + 2`.
    pub fn predict_further(
        &self,
        depth: usize,
        states: Tensor<B, 3>,
        input: &Sequences<B>,
    ) -> Hidden<B> {
        let context = self.context(input);
        let ahead = shift_left(input.ids.clone(), depth + 1);
        self.mtp[depth].forward(self.embed(ahead), states, &context)
    }

    /// Projects normalized states to logits.
    ///
    /// # Shapes
    ///
    /// - states: `[batch, seq, hidden_size]`, output: `[batch, seq, vocab_size]`
    pub fn logits(&self, states: Tensor<B, 3>) -> Tensor<B, 3> {
        let states = match self.behavior.logit_scale {
            1.0 => states,
            scale => states.mul_scalar(scale),
        };
        match &self.lm_head {
            Some(head) => head.forward(states),
            None => {
                let [batch, seq, hidden] = states.dims();
                let mut table = self.embed_tokens.val();
                // a narrower one is read as it is
                if table.dtype().size() > states.dtype().size() {
                    table = table.cast(states.dtype());
                }
                let [vocab, _] = table.dims();
                B::project_transposed(states.reshape([batch * seq, hidden]), table)
                    .reshape([batch, seq, vocab])
            }
        }
    }

    /// Creates a cache without positions.
    pub fn empty_cache(&self, config: &CacheConfig) -> Cache<B, M> {
        let layers = self.layers.iter();
        Cache {
            layers: layers.map(|l| l.mixer.empty_cache(config)).collect(),
            trail: self
                .behavior
                .codons
                .as_ref()
                .map(|codons| Trail::new(codons, self.layers.len())),
            len: 0,
        }
    }
}

/// Appends the codon scores of layer `at` to the codon history of every sequence.
pub(super) fn remember<B: Ops, M: TokenMixer<B>>(
    at: usize,
    routing: &Routing<B>,
    sequences: &mut [Extension<'_, Cache<B, M>>],
) {
    let Some(scores) = &routing.codon_scores else {
        return;
    };
    let mut row = 0;
    for sequence in sequences {
        if let Some(trail) = &mut sequence.past.trail {
            trail.push(at, scores.clone().narrow(0, row, sequence.new));
        }
        row += sequence.new;
    }
}
