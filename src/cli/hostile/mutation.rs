//! Deterministic changes of a valid file.

use serde_json::{Map, Value, json};

/// A xorshift generator with the same numbers on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// Structure of a file, which decides how it is changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Bytes, of which those before `head` matter most.
    Bytes { head: usize },
    /// A JSON text.
    Json,
    /// Lines of JSON.
    Lines,
    /// A safetensors file: a JSON header followed by values.
    Safetensors,
}

/// The file with one to three changes.
pub(super) fn mutated(seed: &[u8], kind: Kind, random: &mut Random) -> Vec<u8> {
    let rounds = 1 + random.below(3);
    let mut bytes = seed.to_vec();
    for _ in 0..rounds {
        let by_structure = random.below(3) > 0;
        bytes = match kind {
            Kind::Json if by_structure => json_changed(&bytes, random).unwrap_or(bytes),
            Kind::Lines if by_structure => lines_changed(&bytes, random),
            Kind::Safetensors if by_structure => header_changed(&bytes, random).unwrap_or(bytes),
            Kind::Bytes { head } => bytes_changed(bytes, head, random),
            Kind::Safetensors => {
                let head = header(&bytes).map_or(8, |(end, _)| end);
                bytes_changed(bytes, head, random)
            }
            Kind::Json | Kind::Lines => {
                let head = bytes.len();
                bytes_changed(bytes, head, random)
            }
        };
    }
    bytes
}

/// Replacements for lengths and counts.
const LENGTHS: [u64; 12] = [
    0,
    1,
    0x7F,
    0xFF,
    0xFFFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 32,
    1 << 40,
    1 << 53,
    i64::MAX as u64,
    u64::MAX,
];

fn bytes_changed(mut bytes: Vec<u8>, head: usize, random: &mut Random) -> Vec<u8> {
    if bytes.is_empty() {
        return bytes;
    }
    let head = head.clamp(1, bytes.len());
    // mostly in the header, whose numbers control how the rest is read
    let within = match random.below(4) {
        0 => bytes.len(),
        _ => head,
    };
    let at = random.below(within);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = *random.of(&[0, 1, 0x7F, 0x80, 0xFE, 0xFF, b'"', b'{', b'[', b'-']),
        2 => (0..4).for_each(|_| {
            let at = random.below(within);
            bytes[at] = random.next() as u8;
        }),
        3 => bytes.truncate(at),
        4 | 5 => {
            let width = *random.of(&[2, 4, 4, 8, 8]);
            let number = random.of(&LENGTHS).to_le_bytes();
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        6 => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let chunk = bytes[at..end].to_vec();
            bytes.splice(at..at, chunk);
        }
        _ => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            bytes.drain(at..end);
        }
    }
    bytes
}

fn lines_changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let at = random.below(lines.len());
    if let Some(line) = json_changed(&lines[at], random) {
        lines[at] = line;
    }
    lines.join(&b'\n')
}

fn header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, _) = bytes.split_first_chunk::<8>()?;
    let end = usize::try_from(u64::from_le_bytes(*length))
        .ok()?
        .checked_add(8)?;
    Some((end, bytes.get(8..end)?))
}

/// A safetensors file with a changed header and a correct header length.
fn header_changed(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (end, header) = header(bytes)?;
    let changed = json_changed(header, random)?;
    let mut out = (changed.len() as u64).to_le_bytes().to_vec();
    out.extend(changed);
    out.extend(&bytes[end..]);
    Some(out)
}

fn json_changed(text: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let mut left = random.below(nodes(&value));
    change(&mut value, &mut left, random);
    let mut text = value.to_string();
    if random.below(6) == 0 {
        // values that JSON forbids and some programs write
        let other = *random.of(&["NaN", "-Infinity", "1e999", "\"\\ud800\"", "[", "{\"a\":"]);
        if let Some(at) = text
            .match_indices(':')
            .nth(random.below(12))
            .map(|(at, _)| at)
        {
            let end = text[at..]
                .find([',', '}', ']'])
                .map_or(text.len(), |end| at + end);
            text.replace_range(at + 1..end, other);
        }
    }
    Some(text.into_bytes())
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// Changes the node that comes `left` nodes after this one.
fn change(value: &mut Value, left: &mut usize, random: &mut Random) {
    if *left == 0 {
        *left = usize::MAX;
        return replace(value, random);
    }
    *left -= 1;
    match value {
        Value::Array(items) => {
            for item in items {
                if *left == usize::MAX {
                    return;
                }
                change(item, left, random);
            }
        }
        Value::Object(map) => {
            for item in map.values_mut() {
                if *left == usize::MAX {
                    return;
                }
                change(item, left, random);
            }
        }
        _ => {}
    }
}

fn replace(value: &mut Value, random: &mut Random) {
    if random.below(3) > 0 {
        match value {
            Value::Object(map) if !map.is_empty() => return rearranged(map, random),
            Value::Array(items) if !items.is_empty() => {
                let at = random.below(items.len());
                match random.below(4) {
                    0 => drop(items.remove(at)),
                    1 => items.push(items[at].clone()),
                    2 => items.truncate(at),
                    _ => items.reverse(),
                }
                return;
            }
            Value::String(text) if !text.is_empty() => {
                match random.below(4) {
                    0 => text.clear(),
                    1 => *text = text.repeat(2),
                    2 => drop(text.pop()),
                    _ => text.insert(0, *random.of(&['\0', '\u{FFFD}', '"', '/', '.', 'é'])),
                }
                return;
            }
            Value::Number(number) if number.is_u64() => {
                let number = number.as_u64().unwrap_or(0);
                let choices = [
                    0,
                    number.wrapping_sub(1),
                    number.wrapping_add(1),
                    number.wrapping_mul(2),
                    number / 2,
                    1 << random.below(40),
                    4_294_967_295,
                    1 << 20,
                ];
                *value = json!(random.of(&choices));
                return;
            }
            _ => {}
        }
    }
    let deep = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    *value = match random.below(16) {
        0 => json!(1e30),
        1 => json!(-1),
        2 => json!(0),
        3 => json!(1u64 << 53),
        4 => json!(u64::MAX),
        5 => json!(5e-324),
        6 => Value::Null,
        7 => json!(""),
        8 => json!("x"),
        9 => json!([]),
        10 => json!({}),
        11 => json!(true),
        12 => deep(100),
        13 => deep(200),
        14 => json!([value.clone()]),
        _ => json!(4_294_967_295u64),
    };
}

fn rearranged(map: &mut Map<String, Value>, random: &mut Random) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let (one, other) = (random.of(&keys).clone(), random.of(&keys).clone());
    match random.below(3) {
        0 => drop(map.remove(&one)),
        1 => {
            let value = map[&one].clone();
            map.insert(other, value);
        }
        _ => {
            let value = map[&one].clone();
            map.insert(format!("{one}x"), value);
        }
    }
}
