//! Text generation with a [`Model`]: text in, text out.

use darkhorse_backends::Ops;

use super::{Model, OpenError};
use crate::domain::Domain;
use crate::inference::{Sampler, SamplingConfig};
use crate::model::cache::CacheConfig;
use crate::tokenizer::chat::Message;

/// Settings of text generation. [`Model::options`] returns those that the model's files ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Largest number of tokens to generate.
    pub max_tokens: usize,
    /// How the next token is chosen from the logits.
    pub sampling: SamplingConfig,
    /// Domain of the text, if it is known; assists the router.
    pub domain: Option<Domain>,
    /// Layout and element type of the cache.
    pub cache: CacheConfig,
}

impl<B: Ops> Model<B> {
    /// The sampling settings that the model's files ask for, with a limit of 256 tokens.
    pub fn options(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: 256,
            sampling: self.sampling(SamplingConfig::default()),
            domain: None,
            cache: CacheConfig::default(),
        }
    }

    /// Continues a prompt and returns the new text without the prompt. Generation stops at an end-of-text token, at
    /// the end of the context or after `options.max_tokens` tokens.
    ///
    /// # Errors
    ///
    /// If the model has no tokenizer, a setting is out of range, or the prompt does not fit into the context.
    pub fn generate(&self, prompt: &str, options: &GenerateOptions) -> Result<String, OpenError> {
        let tokenizer = self.tokenizer()?;
        let mut ids = tokenizer.opening(options.domain);
        ids.extend(tokenizer.encode(prompt)?);
        let generated = self.continued(&ids, &self.stop_ids(), options)?;
        let mut stream = tokenizer.stream_after(&ids);
        let mut text: String = generated.iter().filter_map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        Ok(text)
    }

    /// Returns the assistant's next turn in a conversation, which the model's chat template turns into a prompt.
    ///
    /// # Errors
    ///
    /// Those of [`generate`](Self::generate), and a conversation that the template refuses.
    pub fn answer(
        &self,
        messages: &[Message],
        options: &GenerateOptions,
    ) -> Result<String, OpenError> {
        let tokenizer = self.tokenizer()?;
        let template = self.template()?;
        let conversation = messages.to_vec().into();
        let ids = template.prompt(tokenizer, &conversation, options.domain)?;
        let mut stop_ids = self.stop_ids();
        stop_ids.extend(template.stop_ids(tokenizer));
        let generated = self.continued(&ids, &stop_ids, options)?;
        let mut stream = tokenizer.stream();
        let mut text: String = generated.iter().filter_map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        if let Some(at) = template.stop_text().and_then(|stop| text.find(stop)) {
            text.truncate(at);
        }
        Ok(text)
    }

    /// Generates ids after `ids`, without the end-of-text id.
    fn continued(
        &self,
        ids: &[u32],
        stop_ids: &[u32],
        options: &GenerateOptions,
    ) -> Result<Vec<u32>, OpenError> {
        let sampler = Sampler::new(options.sampling.clone())?;
        let mut generation = self.begin(options.domain, None, options.cache)?;
        generation.read(ids)?;
        let mut generated = Vec::new();
        while generated.len() < options.max_tokens
            && let Some(id) = generation.next_token(&sampler)?
            && !stop_ids.contains(&id)
        {
            generated.push(id);
        }
        Ok(generated)
    }
}

#[cfg(test)]
mod tests {
    use darkhorse_backends::select::Selected;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::stored::StoredTokenizer;
    use crate::tokenizer::Tokenizer;
    use crate::tokenizer::chat::Role;

    fn model() -> Model<Selected> {
        let path = "tests/fixtures/llama_llama3rope";
        Model::open(path, &Default::default()).unwrap()
    }

    fn greedy(model: &Model<Selected>) -> GenerateOptions {
        let mut options = model.options();
        options.max_tokens = 6;
        options.sampling.temperature = 0.0;
        options
    }

    /// Greedy ids after `ids`, each computed from the whole sequence without a cache.
    fn likeliest(model: &Model<Selected>, mut ids: Vec<u32>) -> Vec<u32> {
        let read = ids.len();
        while ids.len() < read + 6 {
            let mut sequence = model.begin(None, None, CacheConfig::default()).unwrap();
            sequence.read(&ids).unwrap();
            let numbered = (0..).zip(sequence.logits());
            let (id, _) = numbered
                .max_by(|left, right| left.1.total_cmp(right.1))
                .unwrap();
            if model.stop_ids().contains(&id) {
                break;
            }
            ids.push(id);
        }
        ids.split_off(read)
    }

    /// A tokenizer as SentencePiece writes them: a token before every text, and spaces that are part of tokens.
    fn sentence_piece() -> Tokenizer {
        let letters = ["<s>", "▁", "t"].map(String::from).into_iter();
        let letters = letters.chain((0..10).map(|digit| digit.to_string()));
        let words = (13..320).map(|id| format!("▁t{id}"));
        let vocab: Map<String, Value> = letters
            .chain(words)
            .zip((0u32..).map(Value::from))
            .collect();
        let begins = json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
        let json = json!({
            "added_tokens": [{"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null,
            "post_processor": {"type": "TemplateProcessing", "single": begins, "pair": begins,
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        Tokenizer::from_parts(json.to_string().as_bytes(), Map::new()).unwrap()
    }

    #[test]
    fn text_goes_on_with_the_likeliest_tokens() {
        let mut spaced = model();
        spaced.tokenizer = StoredTokenizer::Read(sentence_piece());
        for model in [model(), spaced] {
            let tokenizer = model.tokenizer().unwrap();
            let mut ids = tokenizer.opening(None);
            ids.extend(tokenizer.encode("t1 t2").unwrap());
            let mut stream = tokenizer.stream_after(&ids);
            let expected = likeliest(&model, ids);
            assert!(!expected.is_empty());
            let pieces: String = expected.iter().filter_map(|&id| stream.push(id)).collect();
            let text = model.generate("t1 t2", &greedy(&model)).unwrap();
            assert_eq!(text, pieces + &stream.finish());
        }
    }

    #[test]
    fn an_answer_follows_the_models_own_template() {
        let model = model();
        let tokenizer = model.tokenizer().unwrap();
        let said = [Message::new(Role::User, "Hello there")];
        let template = model.template().unwrap();
        let ids = template.prompt(tokenizer, &said.to_vec().into(), None);
        let expected = likeliest(&model, ids.unwrap());
        let text = model.answer(&said, &greedy(&model)).unwrap();
        assert_eq!(text, tokenizer.decode(&expected));
    }

    /// The same model with a tokenizer in which the token that ends turns has another id, and that one's token its id.
    fn ending_turns_by(id: u32) -> Model<Selected> {
        let read = |name: &str| {
            let text = std::fs::read(format!("tests/fixtures/llama_llama3rope/{name}")).unwrap();
            serde_json::from_slice::<Map<String, Value>>(&text).unwrap()
        };
        let (mut json, mut config) = (read("tokenizer.json"), read("tokenizer_config.json"));
        config.remove("added_tokens_decoder");
        let mut ending = Value::from(id);
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let (_, other) = vocab.iter_mut().find(|(_, it)| **it == ending).unwrap();
        let other = std::mem::take(other);
        for token in json["added_tokens"].as_array_mut().unwrap() {
            if token["content"] == "<|im_end|>" {
                std::mem::swap(&mut token["id"], &mut ending);
            }
        }
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        vocab["<|im_end|>"] = other;
        let (_, free) = vocab.iter_mut().find(|(_, it)| it.is_null()).unwrap();
        *free = ending;
        let json = Value::from(json).to_string();
        let tokenizer = Tokenizer::from_parts(json.as_bytes(), config).unwrap();
        let mut model = model();
        model.tokenizer = StoredTokenizer::Read(tokenizer);
        model
    }

    #[test]
    fn an_answer_ends_where_its_turn_does() {
        let plain = model();
        let begin = |model: &Model<Selected>| {
            let tokenizer = model.tokenizer().unwrap();
            let nothing = Vec::<Message>::new().into();
            let template = model.template().unwrap();
            template.prompt(tokenizer, &nothing, None).unwrap()
        };
        let given = likeliest(&plain, begin(&plain));
        let model = ending_turns_by(given[1]);
        assert_eq!(begin(&model), begin(&plain));
        let text = model.answer(&[], &greedy(&model)).unwrap();
        assert_eq!(text, plain.tokenizer().unwrap().decode(&given[..1]));
    }

    #[test]
    fn what_is_not_there_is_told_by_its_path() {
        let error = Model::<Selected>::open("no/such/model", &Default::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("no/such/model does not exist"),
            "{error}"
        );
    }
}
