//! A JSON schema read literally: whether a value is one that the schema describes.

use serde_json::Value;

/// Keywords that [`describes`] understands. It must not be asked about others.
const KNOWN: [&str; 14] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minItems",
    "maxItems",
    "enum",
    "const",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "anyOf",
];

/// Whether `schema` describes `value`.
pub(crate) fn describes(schema: &Value, value: &Value) -> bool {
    let all = schema.as_object().expect("a schema is an object");
    all.iter().all(|(keyword, given)| {
        assert!(KNOWN.contains(&keyword.as_str()), "{keyword}");
        holds(keyword, given, schema, value)
    })
}

fn holds(keyword: &str, given: &Value, schema: &Value, value: &Value) -> bool {
    let bound = || given.as_f64().unwrap();
    let length = |value: &Value| value.as_str().map(|text| text.chars().count() as f64);
    let items = |value: &Value| value.as_array().map(|items| items.len() as f64);
    match keyword {
        "type" => match given.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.as_f64().is_some_and(|it| it.fract() == 0.0),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("{other}"),
        },
        "properties" => value.as_object().is_none_or(|object| {
            let named = given.as_object().unwrap().iter();
            let mut named = named.filter_map(|(name, schema)| Some((schema, object.get(name)?)));
            named.all(|(schema, value)| describes(schema, value))
        }),
        "required" => value.as_object().is_none_or(|object| {
            let mut names = given.as_array().unwrap().iter();
            names.all(|name| object.contains_key(name.as_str().unwrap()))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            assert_eq!(*given, Value::Bool(false));
            let named = schema["properties"].as_object();
            let is_named = |name: &String| named.is_some_and(|it| it.contains_key(name));
            object.keys().all(is_named)
        }),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| describes(given, item))),
        "minItems" => items(value).is_none_or(|count| count >= bound()),
        "maxItems" => items(value).is_none_or(|count| count <= bound()),
        "enum" => given.as_array().unwrap().contains(value),
        "const" => given == value,
        "minLength" => length(value).is_none_or(|count| count >= bound()),
        "maxLength" => length(value).is_none_or(|count| count <= bound()),
        "minimum" => value.as_f64().is_none_or(|it| it >= bound()),
        "maximum" => value.as_f64().is_none_or(|it| it <= bound()),
        _ => {
            let mut choices = given.as_array().unwrap().iter();
            choices.any(|choice| describes(choice, value))
        }
    }
}

#[test]
fn a_value_that_breaks_one_keyword_is_not_described() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {
            "a": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "b": {"anyOf": [{"const": 5}, {"type": "string", "minLength": 1, "maxLength": 2}, {"enum": [null]}]},
        },
    });
    let is_one = |text: &str| describes(&schema, &serde_json::from_str(text).unwrap());
    for right in [
        r#"{"a":[1]}"#,
        r#"{"b":"é1","a":[2,3]}"#,
        r#"{"b":null,"a":[2]}"#,
    ] {
        assert!(is_one(right), "{right}");
    }
    for wrong in [
        "[]",
        r#"{"b":5}"#,
        r#"{"a":[1],"c":1}"#,
        r#"{"a":[]}"#,
        r#"{"a":[1,2,3]}"#,
        r#"{"a":[0]}"#,
        r#"{"a":[1.5]}"#,
        r#"{"a":[1],"b":""}"#,
        r#"{"a":[1],"b":"abc"}"#,
        r#"{"a":[1],"b":6}"#,
    ] {
        assert!(!is_one(wrong), "{wrong}");
    }
}
