//! fp8 weights with one scale per block, as in DeepSeek-V3, presented as `f32`.
//!
//! `value = f32(fp8) * scale_inv[row / block_rows, column / block_columns]` (DeepSeek-V3,
//! <https://arxiv.org/abs/2412.19437>, section 3.3). Despite its name, `scale_inv` is the factor itself.

use std::borrow::Cow;
use std::path::PathBuf;

use safetensors::Dtype;

use super::{Fp8Quantization, malformed};
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// Value of every e4m3 code: one sign bit, four exponent bits, three mantissa bits, bias 7, no infinities
/// (<https://arxiv.org/abs/2209.05433>).
pub(super) const E4M3: [f32; 256] = e4m3_table();

const fn e4m3_table() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = ((code >> 3) as u32 & 15, code as u32 & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, mantissa) => mantissa as f32 / 512.0,
            (exponent, mantissa) => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        table[code] = if code < 128 { magnitude } else { -magnitude };
        code += 1;
    }
    table
}

/// A source that presents fp8 weights (`X.weight` with `X.weight_scale_inv`) as plain `f32` tensors and hides the
/// scales. Without quantization every tensor is unchanged.
#[derive(Debug)]
pub struct Dequantized<S> {
    source: S,
    path: PathBuf,
    quantization: Option<Fp8Quantization>,
}

impl<S: TensorSource> Dequantized<S> {
    /// Wraps a source. Errors name `path`.
    ///
    /// # Errors
    ///
    /// A scale that is not `f32`, or does not have one number per block of its weight.
    pub fn new(
        source: S,
        path: impl Into<PathBuf>,
        quantization: Option<Fp8Quantization>,
    ) -> Result<Self, InteropError> {
        let this = Self {
            source,
            path: path.into(),
            quantization,
        };
        for name in this.source.names() {
            if let Some((weight, [rows, columns])) = this.quantized(&name) {
                this.check(&name, &weight, [rows, columns])?;
            }
        }
        Ok(this)
    }

    /// The wrapped source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Type and block size of a quantized weight; `None` for other tensors.
    fn quantized(&self, name: &str) -> Option<(TensorInfo, [usize; 2])> {
        let block = self.quantization.as_ref()?.weight_block_size;
        self.source.info(&scale_name(name))?;
        let info = self.source.info(name)?;
        (info.dtype == Dtype::F8_E4M3).then_some((info, block))
    }

    fn hides(&self, name: &str) -> bool {
        let weight = name.strip_suffix("_scale_inv");
        weight.is_some_and(|weight| self.quantized(weight).is_some())
    }

    fn check(
        &self,
        name: &str,
        weight: &TensorInfo,
        block: [usize; 2],
    ) -> Result<(), InteropError> {
        let shape_error = |name: &str, found: &[usize], expected: Vec<usize>| {
            Err(InteropError::TensorShape {
                path: self.path.clone(),
                name: name.to_owned(),
                found: found.to_vec(),
                expected,
            })
        };
        let [rows, columns] = weight.shape[..] else {
            let found = format!("tensor `{name}` has {} dimensions", weight.shape.len());
            return Err(malformed(
                &self.path,
                found,
                "2 (fp8 with a scale per block)",
            ));
        };
        let blocks = vec![rows.div_ceil(block[0]), columns.div_ceil(block[1])];
        let scale_name = scale_name(name);
        match self.source.info(&scale_name) {
            Some(scale) if scale.dtype != Dtype::F32 => Err(InteropError::TensorDtype {
                path: self.path.clone(),
                name: scale_name,
                found: scale.dtype.to_string(),
                expected: Dtype::F32.to_string(),
            }),
            Some(scale) if scale.shape != blocks => shape_error(&scale_name, &scale.shape, blocks),
            _ => Ok(()),
        }
    }
}

fn scale_name(weight: &str) -> String {
    format!("{weight}_scale_inv")
}

impl<S: TensorSource> TensorSource for Dequantized<S> {
    fn names(&self) -> Vec<String> {
        let mut names = self.source.names();
        names.retain(|name| !self.hides(name));
        names
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        match self.quantized(name) {
            Some((TensorInfo { shape, .. }, _)) => Some(TensorInfo {
                dtype: Dtype::F32,
                shape,
            }),
            None if self.hides(name) => None,
            None => self.source.info(name),
        }
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        if self.hides(name) {
            return Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        }
        let weight = self.source.tensor(name)?;
        let Some((_, block)) = self.quantized(name) else {
            return Ok(weight);
        };
        let scale = self.source.tensor(&scale_name(name))?;
        Ok(RawTensor {
            dtype: Dtype::F32,
            bytes: Cow::Owned(dequantize(&weight, &scale, block)),
            shape: weight.shape,
        })
    }
}

/// The values as little-endian `f32`. Both tensors must be two-dimensional and fit each other.
fn dequantize(weight: &RawTensor<'_>, scale: &RawTensor<'_>, block: [usize; 2]) -> Vec<u8> {
    let mut values = Vec::with_capacity(weight.bytes.len() * 4);
    let (columns, blocks) = (weight.shape[1].max(1), scale.shape[1].max(1));
    let scales = scale.bytes.as_chunks::<4>().0.chunks(blocks);
    let bands = weight.bytes.chunks(columns.saturating_mul(block[0]));
    for (band, scales) in bands.zip(scales) {
        for row in band.chunks(columns) {
            for (codes, scale) in row.chunks(block[1]).zip(scales) {
                let scale = f32::from_le_bytes(*scale);
                for &code in codes {
                    values.extend((E4M3[usize::from(code)] * scale).to_le_bytes());
                }
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::Dtype;

    use super::{Dequantized, E4M3};
    use crate::interop::hugging_face::{FIXTURES, Fp8Quantization, HfFolder};
    use crate::interop::{RawTensor, TensorSource};

    fn floats(tensor: &RawTensor<'_>) -> Vec<f32> {
        let chunks = tensor.bytes.as_chunks::<4>().0.iter();
        chunks.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn same(left: f32, right: f32) -> bool {
        left.to_bits() == right.to_bits() || (left.is_nan() && right.is_nan())
    }

    fn fixture(name: &str) -> HfFolder {
        HfFolder::open(Path::new(FIXTURES).join("fp8_block").join(name)).unwrap()
    }

    #[test]
    fn codes_mean_what_the_format_defines() {
        let reference = floats(&fixture("fixture.safetensors").tensor("e4m3_table").unwrap());
        for (code, (&value, reference)) in E4M3.iter().zip(reference).enumerate() {
            let sign = if code & 128 == 0 { 1.0 } else { -1.0 };
            let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f64 / 8.0);
            let defined = match (exponent, code & 7) {
                (15, 7) => f64::NAN,
                (0, _) => sign * mantissa * 2f64.powi(-6),
                _ => sign * (1.0 + mantissa) * 2f64.powi(exponent - 7),
            };
            assert!(same(value, defined as f32), "{code}: {value} {defined}");
            assert!(same(value, reference), "{code}: {value} {reference}");
        }
    }

    #[test]
    fn block_weights_equal_the_reference_bit_for_bit() {
        let folder = fixture("");
        let text = std::fs::read(folder.file("config.json").unwrap()).unwrap();
        let config = serde_json::from_slice(&text).unwrap();
        let quantization = Fp8Quantization::parse(Path::new("config.json"), &config).unwrap();
        let source = Dequantized::new(folder, "x", quantization).unwrap();
        assert_eq!(source.names(), ["proj.weight"]);
        assert!(source.info("proj.weight_scale_inv").is_none());
        source.tensor("proj.weight_scale_inv").unwrap_err();
        let info = source.info("proj.weight").unwrap();
        assert_eq!((info.dtype, info.shape), (Dtype::F32, vec![200, 300]));
        let reference = fixture("fixture.safetensors");
        let expected = floats(&reference.tensor("dequant").unwrap());
        let actual = floats(&source.tensor("proj.weight").unwrap());
        assert_eq!(actual.len(), expected.len());
        for (at, (&actual, &expected)) in actual.iter().zip(&expected).enumerate() {
            assert!(same(actual, expected), "{at}: {actual} {expected}");
        }
    }

    #[test]
    fn scales_must_fit_and_plain_sources_pass() {
        let wrong = Fp8Quantization {
            weight_block_size: [64, 128],
        };
        let error = Dequantized::new(fixture(""), "x", Some(wrong)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x: tensor `proj.weight_scale_inv` has shape [2, 3], expected [4, 3]"
        );
        let plain = Dequantized::new(fixture(""), "x", None).unwrap();
        assert_eq!(plain.names().len(), 2);
        let codes = plain.tensor("proj.weight").unwrap();
        assert_eq!(codes.dtype, Dtype::F8_E4M3);
    }
}
