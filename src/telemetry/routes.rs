//! Results of a study of a model's routes: the content of `routes.json`.

use serde::{Deserialize, Serialize};

use crate::domain::Domain;

/// Results of a study of where a model's routers send the tokens of a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteStudy {
    /// Name of the model, as the user gave it.
    pub model: String,
    /// Optimizer steps that the model was trained for.
    pub step: u64,
    /// Files of the text.
    pub data: Vec<String>,
    /// Number of documents read.
    pub documents: u64,
    /// Number of tokens read.
    pub tokens: u64,
    /// Number of tokens of each domain, for tagged documents.
    pub domain_tokens: Vec<DomainTokens>,
    /// Whether the routers were told the documents' domains.
    pub told_domains: bool,
    /// Number of randomly drawn tokens whose router inputs were recorded.
    pub sampled_tokens: u64,
    /// Name of the checkpoint that the choices are compared with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Results per layer with a router, in order.
    pub layers: Vec<LayerRoutes>,
    /// Locality of the routes.
    pub locality: Locality,
}

/// Number of tokens of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainTokens {
    /// The domain.
    pub domain: Domain,
    /// Tokens in its documents.
    pub tokens: u64,
}

/// Results of one layer's router.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerRoutes {
    /// Number of the layer in the model, from 1.
    pub layer: usize,
    /// Number of slots that a token chooses.
    pub num_experts_per_tok: usize,
    /// Number of tokens that visited each routed expert.
    pub visits: Vec<u64>,
    /// Number of choices of each null expert. With `visits` they add up to `tokens * num_experts_per_tok`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_visits: Vec<u64>,
    /// Visits to each expert by the tokens of each domain, in the order of [`RouteStudy::domain_tokens`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain_visits: Vec<Vec<u64>>,
    /// Figures of the layer.
    pub figures: RouteFigures,
    /// For each expert, the tokens that visit it with the highest lift, if there are enough visits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<String>>,
    /// Computed labels of the experts; empty unless the text has two domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<ExpertLabel>,
}

/// Distribution of a figure under random routing with the same loads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// Mean of the figure.
    pub mean: f64,
    /// Standard deviation of the figure.
    pub deviation: f64,
}

impl Chance {
    /// Number of standard deviations by which a figure is above the mean; `None` if either was not measured.
    pub fn below(chance: Option<Self>, figure: Option<f64>) -> Option<f64> {
        let (chance, figure) = (chance?, figure?);
        Some((figure - chance.mean) / chance.deviation)
    }
}

/// Figures of one layer; those that could not be measured are absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteFigures {
    /// MaxVio: load of the busiest expert divided by the mean load, minus 1.
    pub max_vio: Option<f64>,
    /// Effective number of experts: the number of equally busy experts with the same entropy.
    pub effective_experts: Option<f64>,
    /// Route perplexity: `exp` of the mean entropy of a token's affinities.
    pub route_ppl: Option<f64>,
    /// SSI*: how much closer tokens of the same expert are than any two tokens.
    pub cohesion: Option<f64>,
    /// SSI* under random permutations of the choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohesion_by_chance: Option<Chance>,
    /// RSI: fraction of a token's choices that stay the same when noise of 1 % of the input's size is added.
    pub stability: Option<f64>,
    /// Fraction of a token's choices that another checkpoint makes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<f64>,
    /// Mutual information of token and slot, in nats: the entropy of the mean affinities minus the mean entropy.
    pub specialization_nats: Option<f64>,
    /// Mutual information of domain and expert, in nats.
    pub domain_mi_nats: Option<f64>,
    /// Normalized mutual information of domain and expert: 0 (independent) to 1 (each determines the other).
    pub domain_nmi: Option<f64>,
    /// Normalized mutual information under random permutations of the choices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_nmi_by_chance: Option<Chance>,
    /// StructuredDNA's "semantic stability index", for comparison with its publication only: random labels score high
    /// too.
    pub legacy_ssi: Option<f64>,
    /// StructuredDNA's "semantic perplexity", which is not a perplexity; for comparison with its publication only.
    pub legacy_semantic_ppl: Option<f64>,
}

/// The computed label of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpertLabel {
    /// Index of the expert.
    pub expert: usize,
    /// The label.
    pub name: ExpertName,
    /// Domain with the highest lift on the half of the documents on which labels are found.
    pub candidate: Option<Domain>,
    /// Lift of the candidate on that half: how many times more often than all tokens its tokens visit the expert.
    pub probe_lift: Option<f64>,
    /// Lift of the candidate on the other half.
    pub held_out_lift: Option<f64>,
    /// Visits by all tokens on the other half.
    pub held_out_visits: u64,
}

/// Label of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertName {
    /// Tokens of this domain visit the expert more often than others do.
    Domain(Domain),
    /// No domain stands out on both halves.
    Mixed,
    /// The expert has too few visits for a label.
    TooFewVisits,
}

/// Locality of the routes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Locality {
    /// Distinct experts per window of tokens.
    pub windows: Vec<WindowRecord>,
    /// Hit rates of caches of experts.
    pub cache: CacheRecord,
}

/// Distinct experts in windows of one length.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WindowRecord {
    /// Length of the window: consecutive tokens of a document.
    pub tokens: usize,
    /// Mean number of distinct experts per window, by layer; absent if every document is shorter.
    pub distinct: Vec<Option<f64>>,
    /// Expected number if tokens chose independently with the same loads, by layer.
    pub if_independent: Vec<f64>,
}

/// Results of replaying the recorded visits in caches of several sizes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Number of tokens replayed.
    pub tokens: u64,
    /// Number of visits replayed.
    pub visits: u64,
    /// Number of experts in the whole model.
    pub experts: usize,
    /// Capacities of the caches, in experts.
    pub sizes: Vec<usize>,
    /// Hits by capacity with eviction of the least recently used expert.
    pub lru_hits: Vec<u64>,
    /// Hits by capacity with eviction of the least frequently used expert.
    pub lfu_hits: Vec<u64>,
    /// Hits by capacity with eviction of an expert of the layer that comes up last.
    pub least_stale_hits: Vec<u64>,
    /// Hits by capacity with eviction of the expert whose next use is furthest away: the optimum.
    pub belady_hits: Vec<u64>,
}
