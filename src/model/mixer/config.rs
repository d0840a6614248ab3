//! The built-in mixers and their configuration sections.

use serde::{Deserialize, Serialize};

use super::fox::FoxConfig;
use super::gated_attention::GatedAttentionConfig;
use super::gla::GlaConfig;
use super::gqa::GqaConfig;
use super::mla::MlaConfig;
use super::spec::MixerSpec;
use crate::model::error::ModelConfigError;

/// Declares [`MixerKind`] and [`MixerConfig`]: one line per mixer, with its key, its variant and its section.
macro_rules! mixers {
    ($($(#[$doc:meta])* $key:ident: $kind:ident($section:ty)),+ $(,)?) => {
        /// Type of mixer, as listed in `layer_types`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum MixerKind {
            $($(#[$doc])* $kind,)+
        }

        impl MixerKind {
            /// All types of mixers.
            pub const ALL: [Self; [$(stringify!($kind)),+].len()] = [$(Self::$kind),+];
        }

        /// Configuration of the mixers that `layer_types` names.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct MixerConfig {
            $($(#[$doc])* #[serde(default)] pub $key: Option<$section>,)+
        }

        impl MixerConfig {
            /// Key and section of a mixer.
            fn section(&self, kind: MixerKind) -> (&'static str, Option<&dyn MixerSpec>) {
                match kind {
                    $(MixerKind::$kind => (stringify!($key), spec(&self.$key)),)+
                }
            }
        }
    };
}

mixers! {
    /// Multi-head latent attention.
    mla: Mla(MlaConfig),
    /// Grouped-query attention.
    gqa: Gqa(GqaConfig),
    /// Gated linear attention, or Gated DeltaNet.
    gla: Gla(GlaConfig),
    /// Forgetting attention.
    fox: Fox(FoxConfig),
    /// Gated attention.
    gated_attention: GatedAttention(GatedAttentionConfig),
}

fn spec<C: MixerSpec>(section: &Option<C>) -> Option<&dyn MixerSpec> {
    section.as_ref().map(|config| config as &dyn MixerSpec)
}

impl MixerConfig {
    /// Specification of a mixer.
    ///
    /// # Panics
    ///
    /// If the configuration is not valid.
    pub(in crate::model) fn of(&self, kind: MixerKind) -> &dyn MixerSpec {
        let (_, spec) = self.section(kind);
        spec.expect("the configuration was validated")
    }

    pub(in crate::model) fn validate(
        &self,
        layer_types: &[MixerKind],
    ) -> Result<(), ModelConfigError> {
        for &kind in layer_types {
            let (name, spec) = self.section(kind);
            let path = format!("mixer.{name}");
            let spec = spec.ok_or_else(|| ModelConfigError::Missing {
                field: path.clone(),
                because: format!("`layer_types` names `{name}`"),
            })?;
            spec.validate().map_err(|error| error.within(&path))?;
        }
        self.check_rotations(layer_types)
    }

    /// Checks that all layers rotate the same number of dimensions, since they share one table of rotations.
    fn check_rotations(&self, layer_types: &[MixerKind]) -> Result<(), ModelConfigError> {
        let mut rotated = layer_types.iter().filter_map(|&kind| {
            let rotated = self.of(kind).rotated()?;
            (rotated.dims > 0).then_some((self.section(kind).0, rotated))
        });
        let Some((first, expected)) = rotated.next() else {
            return Ok(());
        };
        match rotated.find(|(_, other)| other.dims != expected.dims) {
            Some((section, other)) => Err(ModelConfigError::NotEqual {
                field: format!("mixer.{section}.{}", other.field),
                value: other.dims,
                other: format!("mixer.{first}.{}", expected.field),
                expected: expected.dims,
                because: "all layers share the rotations",
            }),
            None => Ok(()),
        }
    }

    /// Widths of a mixer's projections that must be multiples of the block length if matrices are quantized.
    pub(in crate::model) fn block_widths(&self, kind: MixerKind) -> Vec<(String, usize)> {
        let (section, _) = self.section(kind);
        let widths = self.of(kind).block_widths().into_iter();
        let named = |(fields, width): (&str, usize)| {
            if fields.contains(' ') {
                (format!("mixer.{section}: {fields}"), width)
            } else {
                (format!("mixer.{section}.{fields}"), width)
            }
        };
        widths.map(named).collect()
    }
}
