//! Validation of training settings, independent of the model.

use super::TrainingConfig;
use super::groups::GroupingConfig;
use super::out_of_range::OutOfRange;
use crate::model::lora::LoraConfig;

/// Upper bound on counts, above that of any run; keeps their products from overflowing.
const LARGEST: u64 = u32::MAX as u64;

/// Largest rank of an adapter; a larger one is a full matrix of any model.
const LARGEST_RANK: usize = 1 << 14;

impl TrainingConfig {
    /// Checks every value and the relations between values.
    ///
    /// # Errors
    ///
    /// The first invalid value, by its path within this section.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let counts = [
            ("steps", self.steps),
            ("batch_size", self.batch_size as u64),
            ("seq_len", self.seq_len as u64),
            ("accumulation", self.accumulation as u64),
            ("keep_checkpoints", self.keep_checkpoints as u64),
            ("log_every", self.log_every),
        ];
        for (field, value) in counts {
            let holds = (1..=LARGEST).contains(&value);
            OutOfRange::check(holds, field, value, format!("1 to {LARGEST}"))?;
        }
        let positive = [
            ("learning_rate", self.learning_rate),
            ("eps", self.eps),
            ("clip", self.clip),
        ];
        for (field, value) in positive {
            OutOfRange::positive(field, value)?;
        }
        let not_negative = [
            ("weight_decay", self.weight_decay),
            ("bias_update_speed", self.bias_update_speed),
            ("bias_update_start", self.bias_update_start),
            ("seq_aux_alpha", self.seq_aux_alpha),
            ("mtp_loss_weight", self.mtp_loss_weight),
            ("mtp_loss_weight_final", self.mtp_loss_weight_final),
        ];
        for (field, value) in not_negative {
            let holds = value >= 0.0 && value.is_finite();
            OutOfRange::check(holds, field, value, "0 or a positive number")?;
        }
        for (index, beta) in self.betas.into_iter().enumerate() {
            let holds = (0.0..1.0).contains(&beta);
            let path = format!("betas[{index}]");
            OutOfRange::check(holds, &path, beta, "at least 0 and below 1")?;
        }
        OutOfRange::fraction("bias_freeze", self.bias_freeze)?;
        self.schedule
            .validate()
            .map_err(|error| error.within("schedule"))?;
        if let Some(mitosis) = &self.mitosis {
            let checked = mitosis.validate(self.steps);
            checked.map_err(|error| error.within("mitosis"))?;
        }
        match &self.lora {
            Some(lora) => self.check_lora(lora),
            None => Ok(()),
        }
    }

    fn check_lora(&self, lora: &LoraConfig) -> Result<(), OutOfRange> {
        let holds = (1..=LARGEST_RANK).contains(&lora.rank);
        let expected = format!("1 to {LARGEST_RANK}");
        OutOfRange::check(holds, "lora.rank", lora.rank, expected)?;
        OutOfRange::positive("lora.alpha", lora.alpha)?;
        let expected = "at least one: `all`, `attention`, `feed_forward`, `experts` or modules";
        let holds = !lora.targets.is_empty();
        OutOfRange::check(holds, "lora.targets", "an empty list", expected)?;
        let expected = "absent beside `lora`, whose frozen experts cannot divide";
        OutOfRange::check(self.mitosis.is_none(), "mitosis", "set", expected)?;
        let expected = "another one beside `lora`: the rates of µP are those of whole matrices";
        let holds = self.groups != GroupingConfig::Mup;
        OutOfRange::check(holds, "groups", "mup", expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::schedule::ScheduleConfig;

    fn message(change: impl FnOnce(&mut TrainingConfig)) -> String {
        let mut config = TrainingConfig::default();
        change(&mut config);
        match config.validate() {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn numbers_that_are_not_numbers_are_refused() {
        assert_eq!(message(|_| ()), "");
        assert_eq!(
            message(|it| it.learning_rate = f64::NAN),
            "`learning_rate` is NaN, expected a positive number"
        );
        assert_eq!(
            message(|it| it.betas[1] = 1.0),
            "`betas[1]` is 1, expected at least 0 and below 1"
        );
        assert_eq!(
            message(|it| it.seq_aux_alpha = -1.0),
            "`seq_aux_alpha` is -1, expected 0 or a positive number"
        );
        assert_eq!(
            message(|it| it.accumulation = 0),
            "`accumulation` is 0, expected 1 to 4294967295"
        );
    }

    #[test]
    fn adapters_have_a_rank_a_scale_and_targets_and_go_with_neither_mitosis_nor_the_rates_of_mup() {
        let with = |change: fn(&mut TrainingConfig)| {
            message(|it| {
                it.lora = Some(LoraConfig::of_rank(8));
                change(it);
            })
        };
        assert_eq!(with(|_| ()), "");
        let of_lora = |change: fn(&mut LoraConfig)| {
            message(|it| change(it.lora.insert(LoraConfig::of_rank(8))))
        };
        let rank = "`lora.rank` is 0, expected 1 to 16384";
        assert_eq!(of_lora(|it| it.rank = 0), rank);
        let alpha = "`lora.alpha` is -1, expected a positive number";
        assert_eq!(of_lora(|it| it.alpha = -1.0), alpha);
        let targets = of_lora(|it| it.targets.clear());
        assert!(targets.starts_with("`lora.targets` is an empty list"));
        let mup = with(|it| it.groups = GroupingConfig::Mup);
        assert!(mup.starts_with("`groups` is mup, expected another one beside `lora`"));
        let mitosis = with(|it| {
            let mitosis = serde_json::json!({"mode": {"stress": {}}});
            it.mitosis = Some(serde_json::from_value(mitosis).unwrap());
        });
        assert!(mitosis.starts_with("`mitosis` is set, expected absent beside `lora`"));
    }

    #[test]
    fn warm_up_and_decay_share_the_steps() {
        let schedule = ScheduleConfig::Wsd {
            warmup: 0.75,
            decay: 0.5,
            fall: Default::default(),
        };
        assert_eq!(
            message(|it| it.schedule = schedule),
            "`schedule.decay` is 0.5, expected at most what `warmup` = 0.75 leaves of 1"
        );
    }
}
