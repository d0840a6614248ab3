//! `quantization_config`: fp8 weights with one scale per block.

use std::path::Path;

use serde_json::{Value, json};

use super::fields::Fields;
use crate::interop::InteropError;

/// Weights in the fp8 format e4m3 with one scale per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fp8Quantization {
    /// Rows and columns per block, at least 1 each.
    pub weight_block_size: [usize; 2],
}

impl Fp8Quantization {
    /// Reads the `quantization_config` of a configuration; `None` if there is none, or one of bitsandbytes with both
    /// 8-bit and 4-bit loading off. Errors name `path`.
    ///
    /// # Errors
    ///
    /// A method other than fp8, a format other than e4m3, or a missing block size.
    pub fn parse(path: &Path, config: &Value) -> Result<Option<Self>, InteropError> {
        let empty = serde_json::Map::new();
        Self::of(&Fields::new(path, config.as_object().unwrap_or(&empty)))
    }

    pub(super) fn of(config: &Fields<'_>) -> Result<Option<Self>, InteropError> {
        let Some(fields) = config.section("quantization_config")? else {
            return Ok(None);
        };
        if fields.is_unused_bitsandbytes() {
            return Ok(None);
        }
        if fields.text("quant_method") != Some("fp8") {
            return Err(fields.error("quant_method", "\"fp8\""));
        }
        fields.only("fmt", json!("e4m3"))?;
        let size = fields.value("weight_block_size").and_then(Value::as_array);
        let size = size.into_iter().flatten().map(Value::as_u64);
        let size = size.map(|size| size.filter(|size| (1..=1 << 20).contains(size)));
        match size.collect::<Vec<_>>()[..] {
            [Some(rows), Some(columns)] => Ok(Some(Self {
                weight_block_size: [rows as usize, columns as usize],
            })),
            _ => Err(fields.error("weight_block_size", "[rows, columns]")),
        }
    }

    pub(super) fn entry(self) -> (&'static str, Value) {
        let value = json!({
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": self.weight_block_size,
        });
        ("quantization_config", value)
    }
}

impl Fields<'_> {
    /// Whether this section is a left-over of bitsandbytes in a model that is not quantized.
    fn is_unused_bitsandbytes(&self) -> bool {
        const WIDTHS: [&str; 2] = ["load_in_8bit", "load_in_4bit"];
        let is_off = |key| self.value(key).is_none_or(|value| *value == json!(false));
        let method = self.text("quant_method");
        // older versions do not name the method
        let is_its = method == Some("bitsandbytes") || method.is_none() && self.has(WIDTHS[0]);
        is_its && WIDTHS.into_iter().all(is_off)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::Fp8Quantization;

    #[test]
    fn only_block_fp8_is_read() {
        let parse = |section| {
            let config = json!({"quantization_config": section});
            Fp8Quantization::parse(Path::new("c"), &config).map_err(|error| error.to_string())
        };
        assert_eq!(parse(json!(null)), Ok(None));
        let fp8 = Fp8Quantization {
            weight_block_size: [64, 128],
        };
        assert_eq!(parse(fp8.entry().1), Ok(Some(fp8)));
        let bits = |eight: bool, four: bool| json!({"quant_method": "bitsandbytes", "load_in_8bit": eight, "load_in_4bit": four});
        assert_eq!(parse(bits(false, false)), Ok(None));
        assert_eq!(
            parse(json!({"load_in_8bit": false, "load_in_4bit": false})),
            Ok(None)
        );
        parse(bits(true, false)).unwrap_err();
        parse(bits(false, true)).unwrap_err();
        let cases = [
            (
                json!({"quant_method": "gptq"}),
                "c: `quantization_config.quant_method` is \"gptq\", expected \"fp8\"",
            ),
            (
                json!({"quant_method": "fp8", "fmt": "e5m2"}),
                "c: `quantization_config.fmt` is \"e5m2\", expected \"e4m3\"",
            ),
            (
                json!({"quant_method": "fp8", "weight_block_size": [0, 128]}),
                "c: `quantization_config.weight_block_size` is [0,128], expected [rows, columns]",
            ),
            (
                json!({"quant_method": "fp8"}),
                "c: `quantization_config.weight_block_size` is absent, expected [rows, columns]",
            ),
        ];
        for (section, message) in cases {
            assert_eq!(parse(section), Err(message.into()));
        }
    }
}
