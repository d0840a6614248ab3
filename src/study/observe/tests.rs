use darkhorse_backends::select::{self, Selected};
use serde_json::json;

use super::*;
use crate::domain::UNTAGGED;
use crate::model::ModelConfig;

#[test]
fn halves_have_as_many_documents_of_each_domain_and_never_split_one() {
    let mut halves = Halves::default();
    let documents = [
        (0, Domain::Code),
        (1, Domain::Legal),
        (2, Domain::Code),
        (2, Domain::Code),
        (3, Domain::Legal),
    ];
    let dealt = documents.map(|(number, domain)| halves.is_probe(number, Some(domain)));
    assert_eq!(dealt, [true, true, false, false, false]);
}

/// A model of two routed layers with four experts and a null expert.
fn model() -> CausalLm<Selected> {
    let config: ModelConfig = serde_json::from_value(json!({
        "vocab_size": 280, "hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 8,
        "first_k_dense_replace": 0, "layer_types": ["gqa"],
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}},
        "moe": {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 4, "n_shared_experts": 0},
        "domains": {"mode": "off"},
        "rope": {"rope_theta": 10000.0}, "max_position_embeddings": 16,
    }))
    .unwrap();
    config.validate().unwrap();
    CausalLm::init(&config, 1, &select::default_device())
}

/// Two rows of 16 positions with documents of these lengths, then padding.
fn batch(rows: [&[usize]; 2], first_document: usize) -> PackedBatch {
    let mut batch = PackedBatch {
        rows: 2,
        seq_len: 16,
        ids: Vec::new(),
        segments: Vec::new(),
        positions: Vec::new(),
        tags: vec![UNTAGGED; 32],
        domains: vec![UNTAGGED; 32],
        counted: vec![true; 32],
        bytes: vec![1; 32],
        documents: Vec::new(),
    };
    let mut document = first_document;
    for (row, lengths) in rows.into_iter().enumerate() {
        for (segment, &length) in (0..).zip(lengths) {
            batch.segments.extend(vec![segment; length]);
            batch.positions.extend(0..length as i32);
        }
        let end = 16 * (row + 1);
        batch.segments.resize(end, PADDING);
        batch.positions.resize(end, 0);
        let ids = (batch.ids.len()..end).map(|at| (at * 7 + first_document * 31) as i32 % 256);
        batch.ids.extend(ids);
        batch
            .documents
            .push((document..document + lengths.len()).collect());
        document += lengths.len();
    }
    batch
}

/// Three batches of 72 tokens in total; the last one is mostly padding.
fn batches() -> [PackedBatch; 3] {
    [
        batch([&[16], &[4, 12]], 0),
        batch([&[7, 9], &[16]], 3),
        batch([&[8], &[]], 6),
    ]
}

fn observed(plan: &Plan) -> Observation {
    observe(&model(), batches().into_iter().map(Ok), plan).unwrap()
}

/// Positions of a batch that hold tokens.
fn tokens(batch: &PackedBatch) -> impl Iterator<Item = usize> {
    (0..batch.ids.len()).filter(|&at| batch.segments[at] != PADDING)
}

#[test]
fn every_token_is_recorded_once_and_padding_never() {
    let found = observed(&Plan {
        gates: true,
        ..Plan::default()
    });
    let batches = batches();
    let ids = batches
        .iter()
        .flat_map(|batch| tokens(batch).map(|at| batch.ids[at] as u32));
    assert!(ids.eq(found.ids.iter().copied()));
    assert_eq!(found.layers.len(), 2);
    for layer in &found.layers {
        assert_eq!(layer.choices.len(), found.tokens() * layer.k);
        assert_eq!(layer.gates.len(), layer.choices.len());
        // the affinities of a token sum to 1
        let sum: f64 = layer.affinities.iter().sum();
        assert!((sum - found.tokens() as f64).abs() < 1e-3, "{sum}");
    }
}

#[test]
fn the_sample_holds_what_the_routers_read_of_its_tokens() {
    let plan = Plan {
        sample: 7,
        ..Plan::default()
    };
    let found = observed(&plan);
    assert_eq!(found.sample.len(), 7);
    let model = model();
    let mut read: Vec<Vec<f32>> = vec![Vec::new(); 2];
    for batch in batches() {
        let sequences = batch::sequences(&batch, &select::default_device());
        model.watch_routers(&sequences, |routed: Routed<'_, Selected, _>| {
            let hidden = floats(routed.hidden);
            let rows = tokens(&batch).flat_map(|at| hidden[at * 8..][..8].to_vec());
            read[routed.layer].extend(rows);
        });
    }
    for (layer, read) in found.layers.iter().zip(read) {
        assert_eq!(layer.inputs.len(), 7 * 8);
        for (input, &token) in layer.inputs.chunks(8).zip(&found.sample) {
            assert_eq!(input, &read[token as usize * 8..][..8], "token {token}");
        }
    }
}

#[test]
fn reading_ends_with_the_batch_in_which_enough_tokens_were_read() {
    let plan = |tokens| Plan {
        tokens,
        ..Plan::default()
    };
    assert_eq!(observed(&plan(1)).tokens(), 32);
    assert_eq!(observed(&plan(33)).tokens(), 64);
    assert_eq!(observed(&plan(1000)).tokens(), 72);
}

#[test]
fn a_layer_with_more_slots_than_a_record_can_name_is_refused() {
    let mut found = observed(&Plan::default());
    let layer = LayerBatch {
        layer: 2,
        experts: 70_000,
        slots: 70_000,
        k: 1,
        width: 8,
        choices: Vec::new(),
        gates: Vec::new(),
        affinities: Vec::new(),
        inputs: Vec::new(),
    };
    let error = found.add_layer(2, layer, &[], &BTreeMap::new(), &Plan::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "layer 3 has 70000 experts, expected at most 65535"
    );
}
