//! Commands for other engines to run an exported model, for its model card.

use std::fmt::{self, Write};

use super::HfConfig;
use super::card::yaml;

/// Appends a section with the commands to run a model.
pub(super) fn engine_commands(
    text: &mut String,
    name: &str,
    config: &HfConfig,
    gguf: Option<&str>,
) -> fmt::Result {
    // vLLM's kernels for latent caches support only DeepSeek's size
    let mla = config.model.mixer.mla.as_ref();
    let vllm = if mla.is_some_and(|it| it.kv_lora_rank + it.qk_rope_head_dim != 576) {
        "VLLM_MLA_DISABLE=1 vllm serve"
    } else {
        "vllm serve"
    };
    writeln!(
        text,
        "\n## Use\n\nWith transformers:\n\n```python\n\
         from transformers import pipeline\n\n\
         generate = pipeline(\"text-generation\", model={}, dtype=\"auto\")\n\
         print(generate(\"Once upon a time\", max_new_tokens=64)[0][\"generated_text\"])\n```\n\n\
         With vLLM:\n\n```sh\n{vllm} {name}\n```\n\n\
         With SGLang:\n\n```sh\npython -m sglang.launch_server --model-path {name}\n```",
        yaml(name)
    )?;
    let Some(gguf) = gguf else {
        return writeln!(
            text,
            "\nllama.cpp and Ollama need the model as a GGUF file."
        );
    };
    writeln!(
        text,
        "\nWith llama.cpp:\n\n```sh\nllama-cli -m {gguf} -p \"Once upon a time\"\n```\n\n\
         With Ollama:\n\n```sh\necho \"FROM ./{gguf}\" > Modelfile\n\
         ollama create my-model -f Modelfile\nollama run my-model\n```"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::engine_commands;
    use crate::interop::hugging_face::{FIXTURES, HfConfig};

    fn commands(fixture: &str, gguf: Option<&str>) -> String {
        let path = Path::new(FIXTURES).join(fixture).join("config.json");
        let mut text = String::new();
        let config = HfConfig::open(&path).unwrap();
        engine_commands(&mut text, "owner/small", &config, gguf).unwrap();
        text
    }

    #[test]
    fn every_engine_has_its_command() {
        let text = commands("deepseek_v3_yarn", Some("m.gguf"));
        for command in [
            "pipeline(\"text-generation\", model=\"owner/small\"",
            "VLLM_MLA_DISABLE=1 vllm serve owner/small",
            "sglang.launch_server --model-path owner/small",
            "llama-cli -m m.gguf",
            "FROM ./m.gguf",
            "ollama create",
        ] {
            assert!(text.contains(command), "{command}: {text}");
        }
        let text = commands("llama_tied", None);
        assert!(text.contains("\nvllm serve owner/small"));
        assert!(text.ends_with("\nllama.cpp and Ollama need the model as a GGUF file.\n"));
    }
}
