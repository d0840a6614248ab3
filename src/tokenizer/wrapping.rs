//! Tokens that a tokenizer puts around every text.

use serde_json::{Map, Value, json};
use tokenizers::tokenizer::{Encoding, Token};
use tokenizers::{PostProcessor, PostProcessorWrapper};

use super::error::Cause;

/// Tokens that the post-processor of a `tokenizer.json` puts around a text, such as `[gMASK] <sop>` before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wrapping {
    /// Ids before the text.
    pub before: Vec<u32>,
    /// Ids after the text.
    pub after: Vec<u32>,
}

/// Placeholder id for the text; no token has it.
const TEXT: u32 = u32::MAX;

impl Wrapping {
    /// The tokens that a post-processor adds.
    pub(super) fn of(processor: Option<&PostProcessorWrapper>) -> Result<Self, Cause> {
        let Some(processor) = processor else {
            return Ok(Self::default());
        };
        let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
        let wrapped = processor.process(text, None, true)?;
        let mut parts = wrapped.get_ids().split(|&id| id == TEXT);
        Ok(Self {
            before: parts.next().unwrap_or_default().to_vec(),
            after: parts.next_back().unwrap_or_default().to_vec(),
        })
    }
}

/// A post-processor that adds these tokens; `None` if there are none.
pub(super) fn post_processor(
    [before, after]: &[Vec<String>; 2],
    id_of: impl Fn(&str) -> Option<u64>,
) -> Option<Value> {
    if before.is_empty() && after.is_empty() {
        return None;
    }
    let special = |name: &String| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let around = |text: &str| -> Vec<Value> {
        let text = json!({"Sequence": {"id": text, "type_id": 0}});
        let before = before.iter().map(special);
        before
            .chain([text])
            .chain(after.iter().map(special))
            .collect()
    };
    let ids = before.iter().chain(after).map(|name| {
        let id = id_of(name)?;
        Some((
            name.clone(),
            json!({"id": name, "ids": [id], "tokens": [name]}),
        ))
    });
    let special_tokens = ids.collect::<Option<Map<_, _>>>()?;
    let pair: Vec<Value> = around("A").into_iter().chain(around("B")).collect();
    Some(
        json!({"type": "TemplateProcessing", "single": around("A"), "pair": pair,
        "special_tokens": special_tokens}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(processor: Value) -> Wrapping {
        let processor: PostProcessorWrapper = serde_json::from_value(processor).unwrap();
        Wrapping::of(Some(&processor)).unwrap()
    }

    #[test]
    fn tokens_on_both_sides_are_found_whatever_puts_them_there() {
        let names = [
            vec!["[gMASK]".to_owned(), "<sop>".into()],
            vec!["</s>".into()],
        ];
        let id_of = |name: &str| {
            ["[gMASK]", "<sop>", "</s>"]
                .iter()
                .position(|it| *it == name)
        };
        let template = post_processor(&names, |name| id_of(name).map(|id| id as u64)).unwrap();
        let expected = Wrapping {
            before: vec![0, 1],
            after: vec![2],
        };
        assert_eq!(of(template.clone()), expected);

        let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false,
            "use_regex": true});
        assert_eq!(of(bytes.clone()), Wrapping::default());
        let sequence = json!({"type": "Sequence", "processors": [bytes, template]});
        assert_eq!(of(sequence), expected);

        let bert = json!({"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]});
        assert_eq!(
            of(bert),
            Wrapping {
                before: vec![4],
                after: vec![5]
            }
        );
        assert_eq!(Wrapping::of(None).unwrap(), Wrapping::default());
    }

    #[test]
    fn there_is_no_post_processor_for_nothing_or_for_unknown_tokens() {
        assert_eq!(post_processor(&Default::default(), |_| Some(0)), None);
        assert_eq!(post_processor(&[vec!["x".into()], vec![]], |_| None), None);
    }
}
