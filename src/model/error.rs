//! Errors in a model's configuration.

/// An invalid value of a model's configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelConfigError {
    /// An integer outside its range.
    #[error("`{field}` is {value}, expected {}", range(*min, *max))]
    OutOfRange {
        /// Path of the field.
        field: String,
        /// The value.
        value: usize,
        /// Smallest value allowed.
        min: usize,
        /// Largest value allowed.
        max: usize,
    },
    /// A number that must be positive and finite.
    #[error("`{field}` is {value}, expected a positive number")]
    NotPositive {
        /// Path of the field.
        field: String,
        /// The value.
        value: f64,
    },
    /// A number that must lie between 0 and 1.
    #[error("`{field}` is {value}, expected 0 to 1")]
    NotAFraction {
        /// Path of the field.
        field: String,
        /// The value.
        value: f64,
    },
    /// An integer that must be a multiple of another.
    #[error("`{field}` is {value}, expected a multiple of {of}")]
    NotAMultiple {
        /// Path of the field.
        field: String,
        /// The value.
        value: usize,
        /// Required divisor.
        of: usize,
    },
    /// A width that is not a multiple of a quantized matrix's block length.
    #[error(
        "`{field}` is {value}, expected a multiple of {of} for weights in blocks: leave quantization out"
    )]
    NotInBlocks {
        /// Path of the field, or the name of the width.
        field: String,
        /// The width.
        value: usize,
        /// Values per block.
        of: usize,
    },
    /// A number that must be larger than another field.
    #[error("`{field}` is {value}, expected more than `{other}` = {floor}")]
    NotAbove {
        /// Path of the field.
        field: String,
        /// The value.
        value: f64,
        /// The field that it must exceed.
        other: &'static str,
        /// Value of that field.
        floor: f64,
    },
    /// An integer that must equal another field.
    #[error("`{field}` is {value}, expected `{other}` = {expected}: {because}")]
    NotEqual {
        /// Path of the field.
        field: String,
        /// The value.
        value: usize,
        /// The field that it must equal.
        other: String,
        /// Value of that field.
        expected: usize,
        /// Why the two must be equal.
        because: &'static str,
    },
    /// A field that requires another.
    #[error("`{field}` needs {needed}")]
    Needs {
        /// Path of the field.
        field: String,
        /// The requirement.
        needed: &'static str,
    },
    /// A mean number of experts per token that is not above 0 and below `num_experts_per_tok`.
    #[error(
        "`{field}` is {value}, expected a number above 0 and below `num_experts_per_tok` = {below}"
    )]
    NotBetween {
        /// Path of the field.
        field: String,
        /// The value.
        value: f64,
        /// `num_experts_per_tok`.
        below: usize,
    },
    /// A section without effect next to another field.
    #[error("`{field}` has no effect: {because}")]
    NoEffect {
        /// Path of the field.
        field: String,
        /// Why, and how to fix it.
        because: &'static str,
    },
    /// A missing section that another field requires.
    #[error("`{field}` is missing, expected it because {because}")]
    Missing {
        /// Path of the field.
        field: String,
        /// Why it is required.
        because: String,
    },
    /// A domain with too few experts for hard isolation.
    #[error(
        "`{field}` is `hard`, but domain `{domain}` may use {pool} experts, expected at least `num_experts_per_tok` = {needed}"
    )]
    PoolTooSmall {
        /// Path of the field.
        field: String,
        /// The domain.
        domain: crate::domain::Domain,
        /// Number of experts it may use.
        pool: usize,
        /// Number of experts per token.
        needed: usize,
    },
}

/// Upper bound on widths and counts, above those of any model: products of validated sizes fit 64 bits, and a table
/// of one fits memory.
pub(crate) const MAX_SIZE: usize = 1 << 20;

/// Upper bound on layer counts, above that of any model.
pub(crate) const MAX_LAYERS: usize = 10_000;

fn range(min: usize, max: usize) -> String {
    match max {
        usize::MAX => format!("at least {min}"),
        _ => format!("{min} to {max}"),
    }
}

impl ModelConfigError {
    /// Checks that `value` lies within `min..=max`.
    ///
    /// # Errors
    ///
    /// [`ModelConfigError::OutOfRange`] otherwise.
    pub fn in_range(field: &str, value: usize, min: usize, max: usize) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Self::OutOfRange {
            field: field.into(),
            value,
            min,
            max,
        })
    }

    /// Checks that `value` is a multiple of `of`.
    ///
    /// # Errors
    ///
    /// [`ModelConfigError::NotAMultiple`] otherwise.
    pub fn multiple(field: &str, value: usize, of: usize) -> Result<(), Self> {
        if value.is_multiple_of(of) {
            return Ok(());
        }
        Err(Self::NotAMultiple {
            field: field.into(),
            value,
            of,
        })
    }

    /// Checks that a number is finite and above zero.
    ///
    /// # Errors
    ///
    /// [`ModelConfigError::NotPositive`] otherwise.
    pub fn positive(field: &str, value: f64) -> Result<(), Self> {
        if value > 0.0 && value.is_finite() {
            Ok(())
        } else {
            Err(Self::NotPositive {
                field: field.into(),
                value,
            })
        }
    }

    /// Prefixes the error's field with `section`.
    pub fn within(mut self, section: &str) -> Self {
        let (Self::OutOfRange { field, .. }
        | Self::NotPositive { field, .. }
        | Self::NotAFraction { field, .. }
        | Self::NotAMultiple { field, .. }
        | Self::NotInBlocks { field, .. }
        | Self::NotAbove { field, .. }
        | Self::NotEqual { field, .. }
        | Self::Needs { field, .. }
        | Self::NotBetween { field, .. }
        | Self::NoEffect { field, .. }
        | Self::Missing { field, .. }
        | Self::PoolTooSmall { field, .. }) = &mut self;
        *field = format!("{section}.{field}");
        self
    }
}
