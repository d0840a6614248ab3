//! Auxiliary-loss-free balancing keeps expert loads even, and only it does.

mod support;

use burn::backend::Autodiff;
use burn::module::Param;
use burn::tensor::Tensor;
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::training::batch::MicroBatch;
use darkhorse_genesis::training::window::LoadWindow;
use darkhorse_genesis::training::{AdamW, Trainee, TrainingConfig};
use support::stream;

type B = Autodiff<Selected>;

/// MaxVio of the first step, and over steps 281 to 300, of the worst layer.
fn violations(bias_update_speed: f64) -> (f64, f64) {
    let mut experiment = Experiment::preset("tiny").expect("the preset is built in");
    experiment.model.domains.mode = DomainMode::Off;
    let config = TrainingConfig {
        steps: 300,
        bias_update_speed,
        bias_freeze: 0.0,
        seq_aux_alpha: 0.0,
        ..experiment.training
    };
    let model = CausalLm::<B>::init(&experiment.model, 5, &Default::default());
    // experts of a skewed router differ in how loudly they speak
    let model = model.map_routers(|_, mut router| {
        router.gate.weight = skewed(router.gate.weight);
        router
    });
    let mut trainee = Trainee::<B>::new(model, config.clone(), experiment.model.domains);
    let mut optimizer = AdamW::<B>::new(&config);
    let mut stream = stream(4, 128, 3);

    let mut window = LoadWindow::default();
    let mut first = None;
    for step in 1..=config.steps {
        let rows = vec![stream.next_batch().expect("the corpus is in memory")];
        for batch in MicroBatch::of_step(step, rows, 1) {
            let output = trainee.step(batch);
            trainee = trainee.optimize(&mut optimizer, 1e-3, output.grads);
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
        let loudness =
            Tensor::<B, 1, burn::tensor::Int>::arange(0..experts as i64, &weight.device())
                .float()
                .mul_scalar(3.0 / experts as f64)
                .unsqueeze();
        (weight * loudness).detach().require_grad()
    })
}

#[test]
fn probe() {
    let runs: Vec<_> = [1e-3, 2e-3]
        .into_iter()
        .map(|u| std::thread::spawn(move || (u, violations(u))))
        .collect();
    for run in runs {
        println!("{:?}", run.join());
    }
}
