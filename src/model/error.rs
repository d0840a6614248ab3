//! What can be wrong with a model's configuration.

/// A value that does not fit, by its path in the configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelConfigError {
    /// An integer outside its range.
    #[error("`{field}` is {value}, expected {}", range(*min, *max))]
    OutOfRange {
        /// Path of the field.
        field: String,
        /// What it is.
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
        /// What it is.
        value: f64,
    },
    /// A number that must lie between 0 and 1.
    #[error("`{field}` is {value}, expected 0 to 1")]
    NotAFraction {
        /// Path of the field.
        field: String,
        /// What it is.
        value: f64,
    },
    /// An integer that must be a multiple of another.
    #[error("`{field}` is {value}, expected a multiple of {of}")]
    NotAMultiple {
        /// Path of the field.
        field: String,
        /// What it is.
        value: usize,
        /// What it must be a multiple of.
        of: usize,
    },
    /// A width that is not made of whole blocks of a quantized matrix.
    #[error(
        "`{field}` is {value}, expected a multiple of {of} for weights in blocks: leave quantization out"
    )]
    NotInBlocks {
        /// What is that wide.
        field: String,
        /// The width.
        value: usize,
        /// Numbers of a block.
        of: usize,
    },
    /// A number that must be larger than another field.
    #[error("`{field}` is {value}, expected more than `{other}` = {floor}")]
    NotAbove {
        /// Path of the field.
        field: String,
        /// What it is.
        value: f64,
        /// The field that it must exceed.
        other: &'static str,
        /// What that is.
        floor: f64,
    },
    /// An integer that must equal another field.
    #[error("`{field}` is {value}, expected `{other}` = {expected}: {because}")]
    NotEqual {
        /// Path of the field.
        field: String,
        /// What it is.
        value: usize,
        /// The field that it must equal.
        other: String,
        /// What that is.
        expected: usize,
        /// What ties them together.
        because: &'static str,
    },
    /// A field that goes only with another.
    #[error("`{field}` needs {needed}")]
    Needs {
        /// Path of the field.
        field: String,
        /// What it goes with.
        needed: &'static str,
    },
    /// A mean number of experts outside of what a token can visit.
    #[error(
        "`{field}` is {value}, expected a number above 0 and below `num_experts_per_tok` = {below}"
    )]
    NotBetween {
        /// Path of the field.
        field: String,
        /// What it is.
        value: f64,
        /// The most experts that a token visits.
        below: usize,
    },
    /// A section that changes nothing beside another field.
    #[error("`{field}` has no effect: {because}")]
    NoEffect {
        /// Path of the field.
        field: String,
        /// Why, and what to do.
        because: &'static str,
    },
    /// A section that another field calls for.
    #[error("`{field}` is missing, expected it because {because}")]
    Missing {
        /// Path of the field.
        field: String,
        /// What calls for it.
        because: String,
    },
    /// A domain whose experts are too few for hard isolation.
    #[error(
        "`{field}` is `hard`, but domain `{domain}` may use {pool} experts, expected at least `num_experts_per_tok` = {needed}"
    )]
    PoolTooSmall {
        /// Path of the field.
        field: String,
        /// The domain.
        domain: crate::domain::Domain,
        /// How many experts it may use.
        pool: usize,
        /// How many each token visits.
        needed: usize,
    },
}

/// Larger than any width or count of any model: what is computed from validated sizes fits 64 bits, and tables of one
/// fit the memory.
pub(crate) const MAX_SIZE: usize = 1 << 20;

/// Deeper than any model.
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
        match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Self::NotPositive {
                field: field.into(),
                value,
            }),
        }
    }

    /// The same error, its field seen from the section around it.
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
