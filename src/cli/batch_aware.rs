//! `--batch-aware`: tokens that are decoded at once choose their experts together.

use std::fmt;

use clap::Args;
use darkhorse_backends::select::Selected;
use serde::Serialize;

use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::model::CausalLm;
use crate::run::ValidFeed;
use crate::run::evaluation::distinct_experts;
use crate::telemetry::EvalRecord;

/// Batch-aware routing and its strength.
#[derive(Debug, Clone, Args)]
pub(crate) struct BatchAwareArgs {
    /// Let tokens that are decoded at once share experts: RHO, as 0.02, is subtracted from the affinity of each
    /// expert that no earlier token of the batch chose. The output of a request then depends on the others [default:
    /// each token chooses alone]
    #[arg(long, value_name = "RHO", value_parser = cost)]
    batch_aware: Option<f64>,
}

fn cost(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rho) if rho > 0.0 && rho.is_finite() => Ok(rho),
        _ => Err("expected a positive number, as 0.02".into()),
    }
}

impl BatchAwareArgs {
    /// Applies the setting to a model; refuses it for a model without experts.
    pub(crate) fn apply(&self, model: CausalLm<Selected>) -> Result<CausalLm<Selected>, Failure> {
        let mut routers = 0;
        let model = model.map_routers(|_, router| {
            routers += 1;
            router
        });
        if self.batch_aware.is_some() && routers == 0 {
            return Err(Failure::input(
                "the model has no experts to choose: leave `--batch-aware` out",
            ));
        }
        Ok(model.with_batch_aware(self.batch_aware))
    }

    /// Measures the effect on loss and on distinct experts, if `--batch-aware` is given.
    pub(crate) fn measure(
        &self,
        loaded: &Loaded,
        valid: &ValidFeed,
        alone: &EvalRecord,
    ) -> Result<Option<BatchAware>, Failure> {
        let Some(rho) = self.batch_aware else {
            return Ok(None);
        };
        if valid.rows < 2 {
            return Err(Failure::input(
                "`--batch-aware` is about batches, but `--batch-size` is 1",
            ));
        }
        let model = self.apply(loaded.model.clone())?;
        let together = loaded.with_trained(model, loaded.experiment.clone());
        let record = together.evaluate(valid)?;
        Ok(Some(BatchAware {
            rho,
            batch: valid.rows,
            loss: record.loss,
            loss_alone: alone.loss,
            distinct_experts: distinct_experts(&together.model, valid).or_input()?,
            distinct_experts_alone: distinct_experts(&loaded.model, valid).or_input()?,
        }))
    }
}

/// Effect of batch-aware routing on a text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct BatchAware {
    rho: f64,
    /// Number of tokens that choose together.
    batch: usize,
    /// Loss with batch-aware routing, in nats per token.
    loss: f64,
    loss_alone: f64,
    /// Mean number of distinct experts per layer that these tokens visit together.
    distinct_experts: Option<f64>,
    distinct_experts_alone: Option<f64>,
}

impl fmt::Display for BatchAware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rho,
            batch,
            loss,
            loss_alone,
            ..
        } = self;
        write!(
            f,
            "batch-aware {rho}, {batch} tokens together: loss {loss:.4} instead of {loss_alone:.4} ({:+.2} %)",
            100.0 * (loss / loss_alone - 1.0)
        )?;
        if let (Some(together), Some(alone)) = (self.distinct_experts, self.distinct_experts_alone)
        {
            write!(
                f,
                "; {together:.2} experts of a layer read instead of {alone:.2}"
            )?;
        }
        Ok(())
    }
}
