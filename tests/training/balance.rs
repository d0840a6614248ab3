//! Auxiliary-loss-free balancing evens out expert loads, and nothing else does.

use std::path::Path;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::tensor::{Int, Tensor};
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::{Corpus, Document, Origin, Position, Stream, StreamConfig};
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::matrix::Matrix;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::training::batch::MicroBatch;
use darkhorse_genesis::training::window::LoadWindow;
use darkhorse_genesis::training::{AdamW, Trainee, TrainingConfig};

type B = Autodiff<Selected>;

/// Last step to examine; the window before it begins at step 181.
const LAST: u64 = 200;

/// The lines of the embedded corpus as separate documents, so that a batch holds many.
fn lines(limit: usize) -> Arc<Corpus> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/train.jsonl");
    let file = std::fs::read_to_string(&path).expect("the corpus is part of the project");
    let texts = file.lines().flat_map(|line| {
        let document: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let text = document["text"].as_str().expect("a document has text");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    let texts: Vec<String> = texts
        .filter(|text| text.len() > 20)
        .step_by(7)
        .take(limit)
        .collect();
    let tokenizer = Tokenizer::train(texts.iter().cloned(), 2048).expect("the text suffices");
    let documents = texts.into_iter().enumerate().map(|(number, text)| {
        Ok(Document {
            text,
            conversation: None,
            domain: None,
            origin: Origin {
                file: Arc::from(path.as_path()),
                line: number as u64 + 1,
            },
        })
    });
    Arc::new(Corpus::in_memory(documents, &tokenizer).expect("the documents are sound"))
}

/// `tiny` with one routed layer of twenty experts, half the width, and a quarter of the tokens per step.
fn experiment() -> Experiment {
    let mut experiment = Experiment::preset("tiny").expect("the preset is built in");
    let model = &mut experiment.model;
    model.domains.mode = DomainMode::Off;
    model.hidden_size = 64;
    model.num_hidden_layers = 2;
    model.num_nextn_predict_layers = 0;
    if let Some(moe) = &mut model.moe {
        moe.moe_intermediate_size = 32;
    }
    experiment.training.batch_size = 4;
    experiment.training.seq_len = 128;
    experiment
}

/// MaxVio of the first step, and over the twenty steps up to [`LAST`], with balancing as in the preset or without
/// any.
fn violations(with_bias: bool) -> (f64, f64) {
    let corpus = lines(4000);
    let experiment = experiment();
    let preset = experiment.training;
    let config = TrainingConfig {
        bias_update_speed: if with_bias {
            preset.bias_update_speed
        } else {
            0.0
        },
        ..preset
    };
    let rate = |step| config.learning_rate * config.schedule.factor(step, config.steps);
    let model = CausalLm::<B>::init(&experiment.model, 5, &Default::default());
    // the experts' logits differ in scale
    let model = model.map_routers(|_, mut router| {
        if let Matrix::Dense(weight) = router.gate.weight {
            router.gate.weight = Matrix::Dense(skewed(weight));
        }
        router
    });
    let mut trainee = Trainee::<B>::new(model, config.clone(), experiment.model.domains);
    let mut optimizer = AdamW::<B>::new(&config);
    let shape = StreamConfig::new(config.batch_size, config.seq_len, 3);
    let mut stream = Stream::new(corpus, shape, Position::default()).expect("enough text");

    let mut window = LoadWindow::default();
    let mut first = None;
    for step in 1..=LAST {
        let rows = vec![stream.next_batch().expect("the corpus is in memory")];
        for batch in MicroBatch::of_step(step, rows, 1) {
            let output = trainee.step(batch);
            trainee = trainee.optimize(&mut optimizer, rate(step), output.grads);
        }
        let report = trainee.ledger().report();
        first = first.or(report.max_violation());
        window.push(report);
    }
    let last = window.max_violation().expect("the model routes");
    (first.expect("the model routes"), last)
}

fn skewed(weight: Param<Tensor<B, 2>>) -> Param<Tensor<B, 2>> {
    weight.map(|weight| {
        let [_, experts] = weight.dims();
        let loudness = Tensor::<B, 1, Int>::arange(0..experts as i64, &weight.device())
            .float()
            .mul_scalar(3.0 / experts as f64)
            .add_scalar(0.5)
            .unsqueeze();
        (weight * loudness).detach().require_grad()
    })
}

#[test]
fn a_skewed_router_is_balanced_by_the_bias() {
    let (first, last) = violations(true);
    println!("MaxVio begins at {first:.3}, ends at {last:.3} with balancing");
    assert!(first > 0.9, "MaxVio begins at {first}");
    assert!(last < 0.15, "MaxVio ends at {last}");
}

#[test]
fn a_skewed_router_stays_skewed_without_the_bias() {
    let (first, last) = violations(false);
    println!("MaxVio begins at {first:.3}, ends at {last:.3} without balancing");
    assert!(first > 0.9, "MaxVio begins at {first}");
    assert!(last > 2.0, "MaxVio ends at {last}");
}
