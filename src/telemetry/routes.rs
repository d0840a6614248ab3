//! What a study of a model's routes found: the content of `routes.json`.

use serde::{Deserialize, Serialize};

use crate::domain::Domain;

/// A study of where a model's routers send the tokens of a text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteStudy {
    /// The model, as it was named.
    pub model: String,
    /// Optimizer steps that it was trained for.
    pub step: u64,
    /// Files of the text.
    pub data: Vec<String>,
    /// Documents that were read.
    pub documents: u64,
    /// Tokens that were read.
    pub tokens: u64,
    /// Tokens of the documents of each domain, where a document names one.
    pub domain_tokens: Vec<DomainTokens>,
    /// Whether the routers were told the domains.
    pub told_domains: bool,
    /// Tokens, drawn from all, whose router inputs were compared.
    pub sampled_tokens: u64,
    /// The checkpoint that the choices are compared with, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Every layer that routes, first layer first.
    pub layers: Vec<LayerRoutes>,
    /// How local the routes are.
    pub locality: Locality,
}

/// Tokens of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainTokens {
    /// The domain.
    pub domain: Domain,
    /// Tokens of its documents.
    pub tokens: u64,
}

/// What one layer's router did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LayerRoutes {
    /// Its place in the model, from 1.
    pub layer: usize,
    /// Slots that a token chooses.
    pub num_experts_per_tok: usize,
    /// Tokens that visited each routed expert, exactly.
    pub visits: Vec<u64>,
    /// Choices of each null expert, exactly. Both together are `tokens * num_experts_per_tok`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub null_visits: Vec<u64>,
    /// Visits of each expert by the tokens of a domain, in the order of [`RouteStudy::domain_tokens`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domain_visits: Vec<Vec<u64>>,
    /// Its figures.
    pub figures: RouteFigures,
    /// For each expert the tokens that visit it most above the rate of all, if some do often enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<String>>,
    /// Computed names of the experts; none unless two domains are in the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<ExpertLabel>,
}

/// A figure of routers that choose at random, with equal loads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Chance {
    /// Its mean.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
}

impl Chance {
    /// How many standard deviations a figure is above the mean; none if it was not measured.
    pub fn below(chance: Option<Self>, figure: Option<f64>) -> Option<f64> {
        let (chance, figure) = (chance?, figure?);
        Some((figure - chance.mean) / chance.deviation)
    }
}

/// Figures of one layer. What could not be measured is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteFigures {
    /// Load of the busiest expert over the mean, less 1.
    pub max_vio: Option<f64>,
    /// How many equally busy experts would have the same entropy.
    pub effective_experts: Option<f64>,
    /// Candidates of a token: `exp` of the mean entropy of its affinities.
    pub route_ppl: Option<f64>,
    /// SSI*: how much closer tokens of one expert are than any two.
    pub cohesion: Option<f64>,
    /// The same where the choices are dealt out to the tokens by lot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohesion_by_chance: Option<Chance>,
    /// RSI: share of a token's choice that stays under noise of a hundredth of its size.
    pub stability: Option<f64>,
    /// Share of a token's choice that another checkpoint makes too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saturation: Option<f64>,
    /// Mutual information of token and slot by the affinities, in nats: how much sharper one token's are than their mean.
    pub specialization_nats: Option<f64>,
    /// Mutual information of domain and expert, in nats.
    pub domain_mi_nats: Option<f64>,
    /// The same between 0 (independent) and 1 (each tells the other).
    pub domain_nmi: Option<f64>,
    /// The same where the choices are dealt out to the tokens by lot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_nmi_by_chance: Option<Chance>,
    /// StructuredDNA's "semantic stability index", which random labels pass: for comparison with its publication only.
    pub legacy_ssi: Option<f64>,
    /// StructuredDNA's "semantic perplexity", which is no perplexity: for comparison with its publication only.
    pub legacy_semantic_ppl: Option<f64>,
}

/// The computed name of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpertLabel {
    /// The expert.
    pub expert: usize,
    /// What it is called.
    pub name: ExpertName,
    /// The domain with the highest lift on the half of the documents that names are found on.
    pub candidate: Option<Domain>,
    /// That lift: how many times as often as all tokens the domain's tokens visit the expert.
    pub probe_lift: Option<f64>,
    /// The candidate's lift on the other half.
    pub held_out_lift: Option<f64>,
    /// Visits on the other half by tokens of any domain.
    pub held_out_visits: u64,
}

/// What an expert is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertName {
    /// Its visitors are of this domain more than others' are.
    Domain(Domain),
    /// No domain stands out on both halves.
    Mixed,
    /// It has too few visits to be named by.
    TooFewVisits,
}

/// How local the routes are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Locality {
    /// Distinct experts that windows of tokens visit.
    pub windows: Vec<WindowRecord>,
    /// What caches of experts would hit.
    pub cache: CacheRecord,
}

/// Windows of one width.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WindowRecord {
    /// Consecutive tokens of a document.
    pub tokens: usize,
    /// Mean number of distinct experts of each layer that a window visits; absent where no document is so long.
    pub distinct: Vec<Option<f64>>,
    /// The same if every token chose for itself, with the same loads.
    pub if_independent: Vec<f64>,
}

/// Replays of the recorded visits in caches of many sizes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CacheRecord {
    /// Tokens that were replayed.
    pub tokens: u64,
    /// Their visits.
    pub visits: u64,
    /// Experts of the whole model.
    pub experts: usize,
    /// Experts that the cache holds.
    pub sizes: Vec<usize>,
    /// Visits that found their expert, by size: least recently used goes.
    pub lru_hits: Vec<u64>,
    /// Least frequently used goes.
    pub lfu_hits: Vec<u64>,
    /// What is of the layer that comes up again last goes.
    pub least_stale_hits: Vec<u64>,
    /// What is used again last goes: the optimum, which knows the future.
    pub belady_hits: Vec<u64>,
}
