//! Tokens that `tokenizer_config.json` and older files beside it add to a `tokenizer.json`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::special::token_content;

/// Roles of special tokens, in the order in which transformers adds them.
const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

const FLAGS: [&str; 4] = ["single_word", "lstrip", "rstrip", "normalized"];

/// Merges a `special_tokens_map.json` into a `tokenizer_config.json`, as transformers does if the latter does not
/// list the added tokens.
pub(super) fn merge_special_tokens_map(config: &mut Map<String, Value>, map: Map<String, Value>) {
    if config.contains_key("added_tokens_decoder") {
        return;
    }
    for (key, value) in map {
        config.insert(key, value);
    }
}

/// Tokens that must be added, in the order in which new ones get their ids: first the listed ones, then those with a
/// role, then other special ones. `file` has the added tokens of `tokenizer.json`, `legacy` is `added_tokens.json`.
pub(super) fn wanted(
    config: &Map<String, Value>,
    legacy: &Map<String, Value>,
    file: &[Value],
) -> Vec<Value> {
    let mut wanted: Vec<Value> = match config.get("added_tokens_decoder") {
        Some(Value::Object(listed)) => {
            let mut tokens: Vec<_> = listed
                .iter()
                .map(|(id, token)| (number(id), token))
                .collect();
            tokens.sort_by_key(|(id, _)| *id);
            tokens
                .into_iter()
                .filter_map(|(_, it)| token(it, false))
                .collect()
        }
        _ => {
            let names = legacy.iter().map(|(name, id)| (id.as_u64(), name));
            let mut tokens: Vec<(Option<u64>, Value)> = names
                .map(|(id, name)| (id, added(name, has_role(config, name))))
                .collect();
            // if two tokens have the same id, the one in tokenizer.json is used
            let taken: Vec<Option<u64>> = file.iter().map(|it| it["id"].as_u64()).collect();
            tokens.retain(|(id, _)| !taken.contains(id));
            tokens.extend(taken.into_iter().zip(file.iter().cloned()));
            tokens.sort_by_key(|(id, _)| *id);
            tokens.into_iter().map(|(_, token)| token).collect()
        }
    };
    let mut known: HashSet<String> = file.iter().chain(&wanted).filter_map(content).collect();
    let others = config.keys().filter(|key| {
        // for example `image_token`; flags such as `add_bos_token` are not strings
        key.ends_with("_token") && !ROLES.contains(&key.as_str())
    });
    let keys = ROLES.into_iter().chain(others.map(String::as_str));
    let with_role = keys.filter_map(|key| config.get(key));
    let lists = ["additional_special_tokens", "extra_special_tokens"];
    let more = lists.iter().filter_map(|key| config.get(*key));
    let more = more.flat_map(|list| -> Vec<&Value> {
        match list {
            Value::Array(tokens) => tokens.iter().collect(),
            Value::Object(named) => named.values().collect(),
            _ => Vec::new(),
        }
    });
    for special in with_role.chain(more).filter_map(|it| token(it, true)) {
        if content(&special).is_some_and(|name| known.insert(name)) {
            wanted.push(special);
        }
    }
    wanted
}

/// Makes `wanted` added tokens of a `tokenizer.json`: existing ones get new flags, new ones get the next ids, except
/// that a token of the model's vocabulary keeps its id. Returns whether anything has changed.
pub(super) fn add(json: &mut Value, wanted: Vec<Value>) -> bool {
    let mut tokens = match json["added_tokens"].take() {
        Value::Array(tokens) => tokens,
        _ => Vec::new(),
    };
    let before = tokens.clone();
    let size = vocabulary_size(json);
    let largest = tokens.iter().filter_map(|it| it["id"].as_u64()).max();
    let mut next = largest.map_or(size, |id| size.max(id + 1));
    for mut token in wanted {
        let has = tokens
            .iter_mut()
            .find(|it| it["content"] == token["content"]);
        if let Some(has) = has {
            let was_special = has["special"] == true;
            for flag in FLAGS {
                has[flag] = token[flag].take();
            }
            has["special"] = (was_special || token["special"] == true).into();
            continue;
        }
        let own = token["content"].as_str().and_then(|name| id_of(json, name));
        token["id"] = own.unwrap_or(next).into();
        next += u64::from(own.is_none());
        tokens.push(token);
    }
    tokens.sort_by_key(|token| token["id"].as_u64());
    let has_changed = tokens != before;
    json["added_tokens"] = tokens.into();
    has_changed
}

/// Id of a token among the added tokens or in the model's vocabulary.
pub(super) fn id_of(json: &Value, name: &str) -> Option<u64> {
    let added = json["added_tokens"].as_array();
    let added = added.into_iter().flatten().find(|it| it["content"] == name);
    if let Some(token) = added {
        return token["id"].as_u64();
    }
    match &json["model"]["vocab"] {
        Value::Object(ids) => ids.get(name)?.as_u64(),
        Value::Array(tokens) => tokens
            .iter()
            .position(|it| it[0] == name)
            .map(|id| id as u64),
        _ => None,
    }
}

fn vocabulary_size(json: &Value) -> u64 {
    match &json["model"]["vocab"] {
        Value::Object(ids) => ids.len() as u64,
        Value::Array(tokens) => tokens.len() as u64,
        _ => 0,
    }
}

fn number(id: &str) -> Option<u64> {
    id.parse().ok()
}

fn content(token: &Value) -> Option<String> {
    token["content"].as_str().map(str::to_owned)
}

fn has_role(config: &Map<String, Value>, name: &str) -> bool {
    let is_it = |key: &&str| config.get(*key).and_then(token_content) == Some(name);
    ROLES.iter().any(is_it)
}

/// A special token in the form of `tokenizer.json`, without an id.
pub(super) fn special(name: &str) -> Value {
    added(name, true)
}

fn added(name: &str, special: bool) -> Value {
    json!({"content": name, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": !special, "special": special})
}

/// A token in the form of `tokenizer.json`, without an id, from its name or from an object with `content`.
fn token(stated: &Value, is_special: bool) -> Option<Value> {
    let name = token_content(stated)?;
    let flag = |key: &str| stated.get(key).and_then(Value::as_bool);
    let special = is_special || flag("special").unwrap_or(false);
    let mut token = added(name, special);
    for key in FLAGS {
        if let Some(flag) = flag(key) {
            token[key] = flag.into();
        }
    }
    (!name.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn names(tokens: &[Value]) -> Vec<&str> {
        tokens
            .iter()
            .filter_map(|it| it["content"].as_str())
            .collect()
    }

    #[test]
    fn listed_tokens_come_first_then_roles_then_other_special_ones() {
        let config = object(json!({
            "additional_special_tokens": ["<y>", "<b>"], "image_token": "<i>", "eos_token": "<e>",
            "bos_token": {"content": "<s>", "lstrip": true}, "add_bos_token": true, "pad_token": null,
            "added_tokens_decoder": {"10": {"content": "<b>", "special": true, "rstrip": true},
                "9": {"content": "<a>", "normalized": false}},
        }));
        let file = [added("<s>", true)];
        let wanted = wanted(&config, &Map::new(), &file);
        assert_eq!(names(&wanted), ["<a>", "<b>", "<e>", "<i>", "<y>"]);
        let flags = |it: &Value| {
            (
                it["special"] == true,
                it["rstrip"] == true,
                it["normalized"] == true,
            )
        };
        assert_eq!(flags(&wanted[0]), (false, false, false));
        assert_eq!(flags(&wanted[1]), (true, true, false));
    }

    #[test]
    fn without_a_list_the_older_files_count() {
        let mut config = object(json!({"eos_token": "<old>"}));
        let map = object(json!({"eos_token": {"content": "<e>", "lstrip": true}}));
        merge_special_tokens_map(&mut config, map.clone());
        assert_eq!(config["eos_token"]["content"], "<e>");
        let legacy = object(json!({"<q>": 7, "<e>": 6, "<lost>": 0}));
        let mut of_file = added("<s>", true);
        of_file["id"] = 0.into();
        let wanted = wanted(&config, &legacy, &[of_file]);
        assert_eq!(names(&wanted), ["<s>", "<e>", "<q>"]);
        assert_eq!(
            (&wanted[1]["special"], &wanted[2]["special"]),
            (&json!(true), &json!(false))
        );

        let mut listed = object(json!({"added_tokens_decoder": {}, "eos_token": "<new>"}));
        merge_special_tokens_map(&mut listed, map);
        assert_eq!(listed["eos_token"], "<new>");
    }

    #[test]
    fn new_tokens_get_the_next_ids_and_old_ones_their_flags() {
        let mut file = json!({
            "model": {"vocab": {"a": 0, "b": 1, "</s>": 2}},
            "added_tokens": [{"id": 0, "content": "a", "special": true, "lstrip": false}],
        });
        let mut strips = added("a", false);
        strips["lstrip"] = true.into();
        let wanted = vec![
            strips,
            added("</s>", true),
            added("<x>", true),
            added("<y>", false),
        ];
        assert!(add(&mut file, wanted.clone()));
        let tokens = file["added_tokens"].as_array().unwrap();
        assert_eq!(names(tokens), ["a", "</s>", "<x>", "<y>"]);
        let ids: Vec<_> = tokens.iter().map(|it| it["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [0, 2, 3, 4]);
        assert_eq!(
            (&tokens[0]["special"], &tokens[0]["lstrip"]),
            (&json!(true), &json!(true))
        );
        assert!(!add(&mut file, wanted));
    }
}
