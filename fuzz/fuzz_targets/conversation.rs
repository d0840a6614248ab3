//! The messages of a conversation.
#![no_main]

use darkhorse_genesis::tokenizer::chat::Conversation;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Ok(conversation) = Conversation::parse(&value, None)
    {
        assert!(!conversation.messages.is_empty());
        let _ = conversation.text();
    }
});
