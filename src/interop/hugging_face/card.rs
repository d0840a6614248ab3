//! The model card: a `README.md` with front matter (<https://huggingface.co/docs/hub/model-cards>).

use std::fmt::{self, Write};

use super::engine_commands::engine_commands;
use super::{FrontMatter, HfConfig};

/// Content of a model card.
#[derive(Debug, Clone)]
pub struct ModelCard<'a> {
    /// Name of the model: its repository on the hub (`owner/name`), or its folder.
    pub name: String,
    /// Description of the model, one or two sentences.
    pub description: String,
    /// License and languages, if they are known.
    pub source: FrontMatter,
    /// The exported configuration.
    pub config: &'a HfConfig,
    /// Numbers of parameters.
    pub parameters: ParameterCounts,
    /// Facts about the training, if they are known.
    pub training: TrainingFacts,
    /// Name of a GGUF file that accompanies the folder.
    pub gguf: Option<String>,
}

/// Numbers of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCounts {
    /// Total number, MTP modules excluded.
    pub total: u64,
    /// Number of parameters active per token.
    pub active: u64,
}

/// Facts about a training run; facts that are `None` are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingFacts {
    /// Number of tokens trained on.
    pub tokens: Option<u64>,
    /// Number of optimizer steps.
    pub steps: Option<u64>,
    /// Names of the data sets.
    pub datasets: Vec<String>,
    /// Next-token loss of the last step, in nats per token.
    pub training_loss: Option<f64>,
    /// Loss on held-out text, in nats per token.
    pub validation_loss: Option<f64>,
    /// Loss per domain on held-out text, in nats per token.
    pub domain_losses: Vec<(&'static str, f64)>,
    /// Energy of all training steps, in joules.
    pub energy_j: Option<f64>,
    /// The measured devices with their sources.
    pub energy_source: Option<String>,
    /// Description of the hardware.
    pub hardware: Option<String>,
}

impl ModelCard<'_> {
    /// Renders `README.md`.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        // writing into a string does not fail
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        self.front_matter(text)?;
        writeln!(text, "\n# {}\n\n{}\n", self.name, self.description)?;
        self.facts(text)?;
        engine_commands(text, &self.name, self.config, self.gguf.as_deref())?;
        let limits = self.config.engine_limits();
        if !limits.is_empty() {
            writeln!(text, "\n## Limits\n")?;
        }
        limits
            .iter()
            .try_for_each(|limit| writeln!(text, "- {limit}"))
    }

    fn front_matter(&self, text: &mut String) -> fmt::Result {
        let model = &self.config.model;
        let moe = model.moe.as_ref().map(|_| "moe");
        let mla = model.mixer.mla.as_ref().map(|_| "mla");
        let tags = moe.into_iter().chain(mla);
        let tags = tags.chain([self.config.family.profile().model_type]);
        write!(text, "---\n{}", self.source.lines())?;
        writeln!(
            text,
            "library_name: transformers\npipeline_tag: text-generation"
        )?;
        let lists = [
            (
                "datasets",
                self.training
                    .datasets
                    .iter()
                    .map(|item| yaml(item))
                    .collect(),
            ),
            ("tags", tags.map(str::to_owned).collect::<Vec<_>>()),
        ];
        for (key, items) in lists.iter().filter(|(_, items)| !items.is_empty()) {
            writeln!(text, "{key}:")?;
            items
                .iter()
                .try_for_each(|item| writeln!(text, "- {item}"))?;
        }
        writeln!(text, "---")
    }

    fn facts(&self, text: &mut String) -> fmt::Result {
        let ParameterCounts { total, active } = self.parameters;
        let mut rows = vec![
            ("Parameters", grouped(total)),
            ("Active per token", grouped(active)),
        ];
        let model = &self.config.model;
        let context = grouped(model.max_position_embeddings as u64);
        rows.extend([
            ("Layers", model.num_hidden_layers.to_string()),
            ("Vocabulary", grouped(model.vocab_size as u64)),
            ("Context", format!("{context} tokens")),
        ]);
        if let Some(moe) = &model.moe {
            let (all, chosen) = (moe.n_routed_experts, moe.num_experts_per_tok);
            let mut experts = format!("{all} routed, {chosen} per token");
            if moe.n_shared_experts > 0 {
                experts += &format!(", {} shared", moe.n_shared_experts);
            }
            rows.push(("Experts", experts));
        }
        if let Some(mla) = &model.mixer.mla {
            let cache = mla.kv_lora_rank + mla.qk_rope_head_dim;
            let cache = format!("{cache} numbers per token and layer (MLA)");
            rows.push(("Cache", cache));
        }
        let TrainingFacts {
            tokens,
            steps,
            training_loss,
            validation_loss,
            domain_losses,
            energy_j,
            energy_source,
            hardware,
            ..
        } = &self.training;
        let nats = |loss: &f64| format!("{loss:.4} nats per token");
        let known = [
            ("Training tokens", tokens.map(grouped)),
            ("Training steps", steps.map(grouped)),
            ("Training loss", training_loss.as_ref().map(nats)),
            ("Validation loss", validation_loss.as_ref().map(nats)),
            (
                "Energy",
                energy_j.map(|energy| {
                    let by = energy_source.as_deref().map(|it| format!(": {it}"));
                    format!("{:.2} kWh{}", energy / 3.6e6, by.unwrap_or_default())
                }),
            ),
            ("Hardware", hardware.clone()),
        ];
        let known = known
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        rows.extend(known);
        writeln!(text, "| | |\n|---|---|")?;
        rows.iter().try_for_each(|(key, value)| {
            writeln!(text, "| {key} | {} |", value.replace('|', "\\|"))
        })?;
        if domain_losses.is_empty() {
            return Ok(());
        }
        writeln!(text, "\n| Domain | Validation loss |\n|---|---|")?;
        domain_losses
            .iter()
            .try_for_each(|(domain, loss)| writeln!(text, "| {domain} | {} |", nats(loss)))
    }
}

/// A quoted string for front matter and for Python, without special syntax.
pub(super) fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number with digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ModelCard, ParameterCounts, TrainingFacts, grouped};
    use crate::interop::hugging_face::{FIXTURES, FrontMatter, HfConfig};

    fn card(fixture: &str, change: impl FnOnce(&mut ModelCard<'_>)) -> String {
        let path = Path::new(FIXTURES).join(fixture).join("config.json");
        let config = HfConfig::open(&path).unwrap();
        let mut card = ModelCard {
            name: "owner/small".into(),
            description: "A small model.".into(),
            source: FrontMatter::default(),
            config: &config,
            parameters: ParameterCounts {
                total: 1_234_567,
                active: 12_345,
            },
            training: TrainingFacts::default(),
            gguf: None,
        };
        change(&mut card);
        card.to_markdown()
    }

    #[test]
    fn the_front_matter_names_the_family_and_what_is_known_of_the_source() {
        let text = card("deepseek_v3_yarn", |card| {
            card.source = FrontMatter::parse("---\nlicense: mit\nlanguage:\n- no\n---\n");
        });
        let front = text.strip_prefix("---\n").unwrap();
        let (front, rest) = front.split_once("\n---\n").unwrap();
        assert!(
            front.starts_with("license: mit\nlanguage:\n- no\nlibrary_name"),
            "{front}"
        );
        for line in ["library_name: transformers", "- moe", "- mla", "tags:"] {
            assert!(front.lines().any(|other| other == line), "{line}: {front}");
        }
        let unknown = card("deepseek_v3_yarn", |_| ());
        assert!(
            !unknown.contains("license") && !unknown.contains("language:"),
            "{unknown}"
        );
        assert!(!front.contains("datasets"));
        assert!(rest.starts_with("\n# owner/small\n"));
        assert!(!card("mixtral", |_| ()).contains("- mla"));
        assert!(!card("llama_tied", |_| ()).contains("- moe"));
    }

    #[test]
    fn facts_that_are_known_are_told() {
        let text = card("deepseek_v3_yarn", |card| {
            card.training.tokens = Some(2_000_000_000);
            card.training.energy_j = Some(7.2e6);
            card.training.energy_source = Some("CPU package-0 (RAPL counter)".into());
            card.training.datasets = vec!["d/s".into()];
            card.training.training_loss = Some(2.5);
            card.training.domain_losses = vec![("legal", 1.25)];
        });
        for line in [
            "| Parameters | 1,234,567 |",
            "| Experts | 16 routed, 4 per token, 1 shared |",
            "| Cache | 32 numbers per token and layer (MLA) |",
            "| Training tokens | 2,000,000,000 |",
            "| Energy | 2.00 kWh: CPU package-0 (RAPL counter) |",
            "| Training loss | 2.5000 nats per token |",
            "| Domain | Validation loss |",
            "| legal | 1.2500 nats per token |",
            "- \"d/s\"",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(!text.contains("\n| Validation loss") && !text.contains("## Limits"));
        assert!(card("deepseek_v3_mtp2", |_| ()).contains("## Limits\n\n- `num_nextn"));
        assert_eq!(
            (grouped(0), grouped(100), grouped(1000)),
            ("0".into(), "100".into(), "1,000".into())
        );
    }
}
