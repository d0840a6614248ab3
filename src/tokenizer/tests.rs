use super::*;

#[test]
fn an_id_for_which_no_table_can_be_made_is_refused() {
    let with_id = |id: u32| {
        let mut json: Value = serde_json::from_str(Tokenizer::bytes().json()).unwrap();
        let first = json["model"]["vocab"].as_object_mut().unwrap().values_mut();
        *first.last().unwrap() = id.into();
        Tokenizer::from_bytes(json.to_string().as_bytes())
    };
    assert_eq!(with_id(MAX_ID).unwrap().vocab_size(), 1 << 20);
    let error = with_id(MAX_ID + 1).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.contains("id 1048576, expected at most 1048575"),
        "{cause}"
    );
}

#[test]
fn special_tokens_in_a_text_are_text_unless_it_is_markup() {
    let tokenizer = Tokenizer::bytes();
    let end = tokenizer.token_id("<|end|>").unwrap();

    assert!(!tokenizer.encode("a<|end|>").unwrap().contains(&end));
    assert_eq!(tokenizer.encode_markup("<|end|>").unwrap(), [end]);
    let ids = tokenizer.encode("a<|end|>").unwrap();
    assert_eq!(tokenizer.decode(&ids), "a<|end|>");
}

#[test]
fn our_special_tokens_are_there() {
    let tokenizer = Tokenizer::bytes();
    assert_eq!(tokenizer.pad_id(), Some(0));
    assert_eq!(tokenizer.bos_id(), Some(1));
    assert_eq!(tokenizer.eos_id(), Some(2));
    for domain in Domain::ALL {
        assert_eq!(
            tokenizer.domain_token(domain),
            Some(7 + domain.index() as u32)
        );
    }
    assert_eq!(tokenizer.decode(&[1, 7, 2]), "");
}

#[test]
fn byte_lengths_of_tokens_add_up_to_the_text() {
    let texts = || (0..50).map(|i| format!("one two three été {i}"));
    let tokenizer = Tokenizer::train(texts(), 300).unwrap();
    let lengths = tokenizer.token_bytes();

    let text = "two été 😀\n three";
    let ids = tokenizer.encode(text).unwrap();

    let sum: usize = ids.iter().map(|&id| lengths[id as usize] as usize).sum();
    assert_eq!(sum, text.len());
    assert_eq!(lengths[1], 0);
}

#[test]
fn cutting_and_padding_of_a_published_file_are_switched_off() {
    let mut json: Value = serde_json::from_str(Tokenizer::bytes().json()).unwrap();
    json["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Right",
        "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"});
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.encode("hello").unwrap().len(), 5);
}

#[test]
fn more_special_tokens_leave_the_old_ids_alone() {
    let old = Tokenizer::bytes();
    let new = old
        .with_special_tokens(&["<|im_start|>", "<|im_end|>"])
        .unwrap();
    assert_eq!(new.vocab_size(), old.vocab_size() + 2);
    assert_eq!(new.token_id("<|im_start|>"), Some(old.vocab_size() as u32));
    assert_eq!(new.encode("abc").unwrap(), old.encode("abc").unwrap());
    assert_ne!(new.digest(), old.digest());
}

#[test]
fn a_vocabulary_with_gaps_is_written_as_it_was_read() {
    let mut json: serde_json::Value = serde_json::from_str(Tokenizer::bytes().json()).unwrap();
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    let last = vocab.values().filter_map(|id| id.as_u64()).max().unwrap();
    for id in vocab.values_mut().filter(|id| *id == last) {
        *id = (last + 5).into();
    }
    json["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0});
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.vocab_size() as u64, last + 6);
    let written: serde_json::Value = serde_json::from_str(tokenizer.json()).unwrap();
    assert_eq!(written["model"], json["model"]);
    assert!(written["truncation"].is_null());
    let again = Tokenizer::from_bytes(tokenizer.json().as_bytes()).unwrap();
    assert_eq!(again.json(), tokenizer.json());
    let text = "a text of more than two tokens";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids.len(), text.len());
    assert_eq!(again.encode(text).unwrap(), ids);
    let more = tokenizer.with_special_tokens(&["<x>"]).unwrap();
    assert_eq!(more.decode(&more.encode(text).unwrap()), text);
    assert!(more.token_id("<x>").is_some());
}
