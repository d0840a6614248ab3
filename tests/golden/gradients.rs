//! Gradients by the names in the fixtures.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use darkhorse_genesis::interop::{Outgoing, OutgoingOptions, TensorSource};
use darkhorse_genesis::model::CausalLm;
use darkhorse_genesis::model::weights::{self, InMemory};

use super::Golden;

/// Gradients of a module's parameters, by name.
#[derive(Default)]
struct Collect {
    by_id: Vec<(burn::module::ParamId, TensorData)>,
}

struct Visit<'a, B: AutodiffBackend> {
    grads: &'a B::Gradients,
    found: &'a mut Collect,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Visit<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            self.found.by_id.push((param.id, grad.into_data()));
        }
    }
}

/// Compares the gradients of `total` with the fixture's under `prefix`.
pub(crate) fn gradients_equal<B: AutodiffBackend>(
    golden: &Golden,
    model: &CausalLm<B>,
    total: Tensor<B, 1>,
    prefix: &str,
) {
    let grads = total.backward();
    let mut found = Collect::default();
    model.visit(&mut Visit::<B> {
        grads: &grads,
        found: &mut found,
    });
    let names = weights::param_names(model);
    let found = found
        .by_id
        .into_iter()
        .map(|(id, data)| (names[&id].clone(), data));
    let found = InMemory::new("gradients", found);
    let theirs = Outgoing::new(&found, &golden.model.config, OutgoingOptions::default());
    let theirs = theirs.expect("every parameter has a place");
    let mut compared = 0;
    for name in golden.names_under(prefix) {
        let tensor = theirs.tensor(&name).expect("the parameter has a gradient");
        let numbers = tensor
            .bytes
            .as_chunks()
            .0
            .iter()
            .map(|&it| f32::from_le_bytes(it));
        let numbers: Vec<f32> = numbers.collect();
        golden.compare_relative(
            &format!("{prefix}{name}"),
            &numbers,
            golden.tolerances.gradient,
        );
        compared += 1;
    }
    assert!(
        compared > 5,
        "{}: only {compared} gradients under {prefix}",
        golden.name
    );
}
