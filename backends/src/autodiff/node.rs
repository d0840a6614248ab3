//! Nodes of burn's autodiff graph for any [`Derivative`].

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops as Node, OpsKind};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorPrimitive};

/// State that a node saves in the forward pass, and its backward pass.
pub(super) trait Derivative<B: Backend, const N: usize>:
    Clone + Debug + Send + 'static
{
    /// Gradients of the node's `N` inputs from that of its output; `needed` selects which are computed.
    fn gradients(self, grad: FloatTensor<B>, needed: [bool; N]) -> [Option<FloatTensor<B>>; N];
}

/// Backward step of a [`Derivative`].
#[derive(Debug)]
struct Step<S>(PhantomData<S>);

impl<B: Backend, S: Derivative<B, N>, const N: usize> Backward<B, N> for Step<S> {
    type State = S;

    fn backward(self, node: Node<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&node.node);
        let needed = node.parents.each_ref().map(Option::is_some);
        for (parent, grad) in node
            .parents
            .into_iter()
            .zip(node.state.gradients(grad, needed))
        {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// A tensor of the graph.
pub(super) type Tracked<B> = FloatTensor<Autodiff<B>>;

/// Computes an operation and adds it to the graph. The argument of `compute` tells whether a backward pass will
/// follow, and thus whether it must return the saved state.
pub(super) fn record<B, C, S, const N: usize, const D: usize>(
    parents: [&Tracked<B>; N],
    compute: impl FnOnce(bool) -> (Tensor<B, D>, Option<S>),
) -> Tensor<Autodiff<B, C>, D>
where
    B: Backend,
    C: CheckpointStrategy,
    S: Derivative<B, N>,
{
    let nodes = parents.map(|parent| parent.node.clone());
    let node = Step(PhantomData)
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful();
    let output = match node {
        OpsKind::Tracked(node) => match compute(true) {
            (output, Some(state)) => node.finish(state, primitive(output)),
            (_, None) => unreachable!("an operation that is tracked keeps its state"),
        },
        OpsKind::UnTracked(node) => node.finish(primitive(compute(false).0)),
    };
    wrap(output)
}

pub(crate) fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

pub(crate) fn wrap<B: Backend, const D: usize>(tensor: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

/// The tensor on the inner backend.
pub(super) fn below<B: Backend, const D: usize>(tensor: &Tracked<B>) -> Tensor<B, D> {
    wrap(tensor.primitive.clone())
}

/// The integer tensor on the inner backend.
pub(super) fn integers<B: Backend, C: CheckpointStrategy, const D: usize>(
    tensor: Tensor<Autodiff<B, C>, D, Int>,
) -> Tensor<B, D, Int> {
    Tensor::from_primitive(tensor.into_primitive())
}
