use std::fs;
use std::path::Path;

use super::*;

fn folder(config: Value, files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let json = Tokenizer::bytes().json().replace("<|user|>", "<|other|>");
    let all = [
        ("tokenizer.json", json.as_str()),
        ("tokenizer_config.json", &config.to_string()),
    ];
    for (name, text) in all.iter().chain(files) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn said(folder: &Path, tools: Option<&Value>) -> String {
    let template = Template::of(&Tokenizer::from_file(folder).unwrap()).unwrap();
    let messages = json!([{"role": "user", "content": "x"}]);
    let conversation = Conversation::parse(&messages, tools).unwrap();
    template.text(&conversation, false).unwrap()
}

#[test]
fn a_file_of_its_own_goes_before_the_configuration_and_is_saved_byte_for_byte() {
    let odd = "file \r\n{# é #}{{ messages[0].content }}\n\n";
    let config = json!({"chat_template": "config"});
    let found = folder(
        config,
        &[
            ("chat_template.jinja", odd),
            ("additional_chat_templates/tool_use.jinja", "{{ tools }}"),
        ],
    );
    assert_eq!(
        said(found.path(), None),
        "file \n{# é #}x\n".replace("{# é #}", "")
    );
    assert!(said(found.path(), Some(&json!([{"a": 1}]))).contains("[{'a': 1}]"));
    let copy = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::from_file(found.path()).unwrap();
    tokenizer.save(&copy.path().join("tokenizer.json")).unwrap();
    for name in [
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
    ] {
        let [ours, theirs] = [&copy, &found].map(|it| fs::read(it.path().join(name)).unwrap());
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(tokenizer.hf_config()["chat_template"], "config");
}

#[test]
fn of_named_templates_the_default_is_taken_and_that_for_tools_where_there_are_tools() {
    let named = json!([{"name": "tool_use", "template": "tools {{ tools }}"}, {"name": "default", "template": "default"}]);
    let found = folder(json!({"chat_template": named}), &[]);
    assert_eq!(said(found.path(), None), "default");
    assert!(said(found.path(), Some(&json!([1]))).starts_with("tools [1]"));
}

#[test]
fn a_model_without_a_template_is_plain_and_says_so() {
    let found = folder(json!({}), &[]);
    let tokenizer = Tokenizer::from_file(found.path()).unwrap();
    let with_chatml = tokenizer.with_special_tokens(&ours::CHATML_TOKENS).unwrap();
    for tokenizer in [tokenizer, with_chatml] {
        let template = Template::of(&tokenizer).unwrap();
        assert_eq!(template.kind(), Kind::Plain);
        assert!(template.notice().is_some());
    }
    assert_eq!(said(found.path(), None), "User: x\nAssistant:");
    let broken = folder(json!({"chat_template": 5}), &[]);
    let tokenizer = Tokenizer::from_file(broken.path()).unwrap();
    assert!(
        Template::of(&tokenizer)
            .unwrap_err()
            .to_string()
            .contains("`5`")
    );
}

#[test]
fn the_end_of_a_turn_is_read_from_the_template() {
    let config =
        json!({"chat_template": "{% for m in messages %}{{ m.content }}<|end|>\n{% endfor %}"});
    let found = folder(config, &[]);
    let tokenizer = Tokenizer::from_file(found.path()).unwrap();
    let end = tokenizer.token_id("<|end|>").unwrap();
    let ids = Template::of(&tokenizer).unwrap().stop_ids(&tokenizer);
    assert_eq!(ids, [end, tokenizer.eos_id().unwrap()]);
}

#[test]
fn thoughts_are_given_under_every_name() {
    let messages = [json!({"role": "assistant", "content": "a", "reasoning": "r"})];
    let conversation = Conversation::parse(&json!(messages), None).unwrap();
    let object = &objects(&conversation.messages)[0];
    assert_eq!(
        (&object["thinking"], &object["reasoning_content"]),
        (&json!("r"), &json!("r"))
    );
}
