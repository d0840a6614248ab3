//! Options that take an element type.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::model::dtype::Dtype;

/// A parser that accepts these element types.
pub(crate) fn one_of(taken: &'static [Dtype]) -> impl TypedValueParser<Value = Dtype> {
    let values = taken.iter().map(|&format| {
        let value = PossibleValue::new(format.name()).help(help(format));
        match format {
            Dtype::Q8 => value.alias("q8_0"),
            Dtype::Q4 => value.alias("q4_0"),
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => value,
        }
    });
    PossibleValuesParser::new(values).try_map(|name| name.parse())
}

fn help(format: Dtype) -> &'static str {
    match format {
        Dtype::F32 => "4 bytes a number",
        Dtype::F16 => "2 bytes a number, as IEEE 754 has them",
        Dtype::Bf16 => "2 bytes a number, with the range of f32",
        Dtype::Q8 => "8 bits a number, and a scale for each 32",
        Dtype::Q4 => "4 bits a number, and a scale for each 32",
    }
}
