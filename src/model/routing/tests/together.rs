//! Batch-aware routing.

use super::*;
use crate::model::routing::Together;
use crate::model::{CausalLm, Hidden, Sequences};

const ROWS: usize = 6;
const SEQ: usize = 8;

fn ids(rows: usize) -> Sequences<Selected> {
    let ids: Vec<i64> = (0..rows * SEQ)
        .map(|at| ((at * 7 + at / 3) % 11) as i64)
        .collect();
    let ids = TensorData::new(ids, [rows, SEQ]);
    Sequences::plain(Tensor::from_data(ids, &Default::default()))
}

fn chosen(hidden: &Hidden<Selected>) -> Vec<i64> {
    let routing = &hidden.routings[0];
    routing.indices.clone().into_data().iter().collect()
}

#[test]
fn a_batch_that_chooses_together_reads_fewer_experts_and_a_row_alone_chooses_as_ever() {
    let config = model(16, 2, RouterConfig::default());
    let alone = CausalLm::<Selected>::init(&config, 3, &Default::default());
    let together = alone.clone().with_batch_aware(Some(0.05));
    let counted = Together {
        rho: 0.0,
        tokens: ROWS,
    };
    let distinct =
        |model: &CausalLm<Selected>| counted.distinct(&chosen(&model.hidden(&ids(ROWS))), [2, 16]);
    assert!(
        distinct(&together) < distinct(&alone),
        "{}, {}",
        distinct(&together),
        distinct(&alone)
    );
    let [one, other] = [&together, &alone].map(|model| chosen(&model.hidden(&ids(1))));
    assert_eq!(one, other);
}
