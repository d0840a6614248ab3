//! Settings of LoRA: the rank, the scale, and which parameters are trained.

use serde::{Deserialize, Serialize};

/// Target that stands for all projections of the mixers.
const ATTENTION: &str = "attention";
/// Target that stands for dense feed-forwards and shared experts.
const FEED_FORWARD: &str = "feed_forward";
/// Target that stands for routed experts.
const EXPERTS: &str = "experts";
/// Target that stands for the three groups above.
const ALL: &str = "all";
/// Parameters that stand for all of a router.
const ROUTERS: &str = "routers";
/// Parameters that stand for all norm weights.
const NORMS: &str = "norms";

/// Configuration of LoRA: matrices `W` become `W + alpha / rank * A B`, with `W` frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Columns of `A` and rows of `B`.
    pub rank: usize,
    /// Scale of the update, divided by the rank.
    pub alpha: f64,
    /// Adapted matrices: `attention`, `feed_forward`, `experts`, `all` of these, or names of modules, as in `q_proj`
    /// or `layers.0.mixer.q_proj`.
    #[serde(default = "all")]
    pub targets: Vec<String>,
    /// Parameters that are trained whole beside the adapters: `routers`, `norms`, or names of modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
}

fn all() -> Vec<String> {
    vec![ALL.into()]
}

impl LoraConfig {
    /// Adapts all projections and experts with the scale 2, that is `alpha = 2 * rank`.
    pub fn of_rank(rank: usize) -> Self {
        Self {
            rank,
            alpha: 2.0 * rank as f64,
            targets: all(),
            train: Vec::new(),
        }
    }

    /// Whether the parameter `name` is trained whole.
    pub fn trains_whole(&self, name: &str) -> bool {
        self.train.iter().any(|whole| is_trained_whole(whole, name))
    }

    /// Factor of the product `A B`.
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// Whether `target` stands for the matrix `name`.
pub(super) fn is_target(target: &str, name: &str) -> bool {
    let is_expert = name.contains(".experts.");
    let is_mixer = name.contains(".mixer.");
    let is_feed_forward = name.contains(".feed_forward.") && !is_expert;
    match target {
        ATTENTION => is_mixer,
        FEED_FORWARD => is_feed_forward,
        EXPERTS => is_expert,
        ALL => is_mixer || is_feed_forward || is_expert,
        module => is_module(module, name),
    }
}

/// Whether `whole` stands for the parameter `name`.
pub(super) fn is_trained_whole(whole: &str, name: &str) -> bool {
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    match whole {
        ROUTERS => name.contains(".router."),
        NORMS => {
            let last = |path: &str| path.rsplit('.').next().unwrap_or_default().contains("norm");
            last(module) || last(name)
        }
        named => is_module(named, name) || is_module(named, module),
    }
}

/// Whether the path `name` is `module`, or ends with it after a dot.
fn is_module(module: &str, name: &str) -> bool {
    let before = name.strip_suffix(module);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_groups_or_ends_of_paths() {
        let names = [
            "layers.1.mixer.q_proj",
            "layers.1.feed_forward.up_proj",
            "layers.1.feed_forward.shared_experts.up_proj",
            "layers.1.feed_forward.experts.up_proj",
            "lm_head",
        ];
        let of = |target: &str| names.map(|name| u8::from(is_target(target, name)));
        assert_eq!(of("attention"), [1, 0, 0, 0, 0]);
        assert_eq!(of("feed_forward"), [0, 1, 1, 0, 0]);
        assert_eq!(of("experts"), [0, 0, 0, 1, 0]);
        assert_eq!(of("all"), [1, 1, 1, 1, 0]);
        assert_eq!(of("up_proj"), [0, 1, 1, 1, 0]);
        assert_eq!(of("shared_experts.up_proj"), [0, 0, 1, 0, 0]);
        assert_eq!(of("lm_head"), [0, 0, 0, 0, 1]);
        assert_eq!(of("proj"), [0; 5]);
    }

    #[test]
    fn whole_parameters_are_routers_norms_or_modules() {
        let names = [
            "norm.weight",
            "layers.0.mixer.q_norm",
            "layers.0.feed_forward.router.gate.weight",
            "embed_tokens",
        ];
        let of = |whole: &str| names.map(|name| u8::from(is_trained_whole(whole, name)));
        assert_eq!(of("norms"), [1, 1, 0, 0]);
        assert_eq!(of("routers"), [0, 0, 1, 0]);
        assert_eq!(of("embed_tokens"), [0, 0, 0, 1]);
        assert_eq!(of("gate"), [0, 0, 1, 0]);
        assert_eq!(of("q_norm"), [0, 1, 0, 0]);
    }
}
