//! Typed metadata values of a GGUF file, and their encoding.
//!
//! A value is its type number (`u32`) and its bytes, all little-endian. A string is its length (`u64`) and UTF-8
//! bytes; an array is its element type, its length (`u64`) and its elements. Source:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::fmt;

use super::cursor::{Cursor, Fault};

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Defines the values; for each number its variant, its type number and its Rust type.
macro_rules! define {
    ($($variant:ident $id:literal $type:ident),*) => {
        /// A metadata value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufValue {
            $(
                #[doc = concat!("A number of type `", stringify!($type), "`.")]
                $variant($type),
            )*
            /// True or false.
            Bool(bool),
            /// UTF-8 text.
            String(String),
            /// Values of one type.
            Array(GgufArray),
        }

        /// A list of metadata values of one type. Arrays of arrays, which llama.cpp refuses too, are not supported.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufArray {
            $(
                #[doc = concat!("Numbers of type `", stringify!($type), "`.")]
                $variant(Vec<$type>),
            )*
            /// Booleans.
            Bool(Vec<bool>),
            /// UTF-8 texts.
            String(Vec<String>),
        }

        impl GgufValue {
            /// Appends type number and bytes to `out`.
            pub(super) fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        out.extend(u32::to_le_bytes($id));
                        out.extend(value.to_le_bytes());
                    })*
                    Self::Bool(value) => {
                        out.extend(BOOL.to_le_bytes());
                        out.push(u8::from(*value));
                    }
                    Self::String(text) => {
                        out.extend(STRING.to_le_bytes());
                        encode_text(text, out);
                    }
                    Self::Array(array) => {
                        out.extend(ARRAY.to_le_bytes());
                        array.encode(out);
                    }
                }
            }

            /// Reads type number and bytes.
            pub(super) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
                let at = cursor.position();
                Ok(match cursor.u32()? {
                    $($id => Self::$variant($type::from_le_bytes(cursor.array()?)),)*
                    BOOL => Self::Bool(cursor.bool()?),
                    STRING => Self::String(cursor.text()?),
                    ARRAY => Self::Array(GgufArray::decode(cursor)?),
                    other => return Err(Fault::new(
                        format!("value type {other} at byte {at}"),
                        "a type from 0 to 12",
                    )),
                })
            }
        }

        impl GgufArray {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(values) => {
                        out.extend(u32::to_le_bytes($id));
                        out.extend((values.len() as u64).to_le_bytes());
                        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                    })*
                    Self::Bool(values) => {
                        out.extend(BOOL.to_le_bytes());
                        out.extend((values.len() as u64).to_le_bytes());
                        out.extend(values.iter().map(|&value| u8::from(value)));
                    }
                    Self::String(texts) => {
                        out.extend(STRING.to_le_bytes());
                        out.extend((texts.len() as u64).to_le_bytes());
                        texts.iter().for_each(|text| encode_text(text, out));
                    }
                }
            }

            fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Fault> {
                let at = cursor.position();
                let kind = cursor.u32()?;
                let count = cursor.u64()?;
                Ok(match kind {
                    $($id => Self::$variant(cursor.many(count, |bytes| $type::from_le_bytes(*bytes))?),)*
                    BOOL => {
                        cursor.expect(count, 1)?;
                        Self::Bool((0..count).map(|_| cursor.bool()).collect::<Result<_, _>>()?)
                    }
                    STRING => {
                        // Each string has at least its eight bytes of length, so false counts are caught here.
                        cursor.expect(count, 8)?;
                        Self::String((0..count).map(|_| cursor.text()).collect::<Result<_, _>>()?)
                    }
                    other => return Err(Fault::new(
                        format!("array element type {other} at byte {at}"),
                        "a type from 0 to 12, but no array",
                    )),
                })
            }
        }
    };
}

define! {
    U8 0 u8, I8 1 i8, U16 2 u16, I16 3 i16, U32 4 u32, I32 5 i32, F32 6 f32, U64 10 u64, I64 11 i64, F64 12 f64
}

impl GgufValue {
    /// The value as an unsigned number, if it is a non-negative whole number of any width.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The value if it is a floating-point number.
    ///
    /// An `f32` is converted through its shortest decimal form: 1e-6, not 9.999999974752427e-7. Hugging Face writes
    /// such decimals, so configurations round-trip.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => value.to_string().parse().ok(),
            Self::F64(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl GgufArray {
    /// The values, if they are whole numbers below 2^32.
    pub(super) fn counts(&self) -> Option<Vec<u32>> {
        fn all<T: Copy + TryInto<u32>>(values: &[T]) -> Option<Vec<u32>> {
            values.iter().map(|&value| value.try_into().ok()).collect()
        }
        match self {
            Self::U8(values) => all(values),
            Self::I8(values) => all(values),
            Self::U16(values) => all(values),
            Self::I16(values) => all(values),
            Self::U32(values) => all(values),
            Self::I32(values) => all(values),
            Self::U64(values) => all(values),
            Self::I64(values) => all(values),
            Self::F32(_) | Self::F64(_) | Self::Bool(_) | Self::String(_) => None,
        }
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

/// For messages: numbers and short strings, otherwise the kind of value.
impl fmt::Display for GgufValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) if text.len() <= 40 => write!(f, "{text:?}"),
            Self::String(text) => write!(f, "a text of {} bytes", text.len()),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Array(_) => write!(f, "an array"),
            Self::F32(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
            number => match number.as_u64() {
                Some(value) => write!(f, "{value}"),
                None => write!(f, "a negative number"),
            },
        }
    }
}

/// Appends length and bytes of a string to `out`.
pub(super) fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
