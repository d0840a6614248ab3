//! Changes of a model's matrices by name: those that can be exchanged for another [`Matrix`] variant.

use burn::module::Module;
use burn::tensor::backend::Backend;
use darkhorse_backends::Ops;

use super::CausalLm;
use super::block::Block;
use super::feed_forward::FeedForward;
use super::linear::Linear;
use super::matrix::Matrix;
use super::mixer::TokenMixer;

/// A change of matrices. Names are paths in the model, as in `layers.0.mixer.q_proj`.
pub trait MatrixMapper<B: Backend> {
    /// Changes a projection.
    fn matrix(&mut self, name: &str, matrix: Matrix<B, 2>) -> Matrix<B, 2>;

    /// Changes a stack of experts.
    fn stack(&mut self, name: &str, stack: Matrix<B, 3>) -> Matrix<B, 3>;
}

/// A module's place in the model while its matrices are changed.
pub struct Scope<'a, B: Backend> {
    path: String,
    mapper: &'a mut dyn MatrixMapper<B>,
}

impl<B: Backend> std::fmt::Debug for Scope<'_, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scope").field(&self.path).finish()
    }
}

impl<B: Backend> Scope<'_, B> {
    /// The place of the field `name` of this module.
    pub fn within(&mut self, name: &str) -> Scope<'_, B> {
        Scope {
            path: self.path_of(name),
            mapper: self.mapper,
        }
    }

    /// Changes the matrix of the linear layer in the field `name`.
    pub fn linear(&mut self, name: &str, linear: Linear<B>) -> Linear<B> {
        let path = self.path_of(name);
        Linear {
            weight: self.mapper.matrix(&path, linear.weight),
            ..linear
        }
    }

    /// Changes the experts' matrices in the field `name`.
    pub fn stack(&mut self, name: &str, stack: Matrix<B, 3>) -> Matrix<B, 3> {
        let path = self.path_of(name);
        self.mapper.stack(&path, stack)
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

impl<B: Ops, M: TokenMixer<B>, R: Module<B>> CausalLm<B, M, R> {
    /// Changes the matrices of mixers, feed-forwards, the head and MTP modules. Routers, embedding tables and
    /// test-time training keep theirs.
    pub fn map_matrices(mut self, mapper: &mut dyn MatrixMapper<B>) -> Self {
        let mut root = Scope {
            path: String::new(),
            mapper,
        };
        let layers = self.layers.into_iter().enumerate();
        let layers = layers.map(|(at, block)| {
            block.map_matrices(&mut root.within("layers").within(&at.to_string()))
        });
        self.layers = layers.collect();
        self.lm_head = self.lm_head.map(|head| root.linear("lm_head", head));
        let modules = self.mtp.into_iter().enumerate();
        let modules = modules.map(|(at, mut module)| {
            let mut list = root.within("mtp");
            let mut place = list.within(&at.to_string());
            module.eh_proj = place.linear("eh_proj", module.eh_proj);
            module.block = module.block.map_matrices(&mut place.within("block"));
            module
        });
        self.mtp = modules.collect();
        self
    }
}

impl<B: Ops, M: TokenMixer<B>, R: Module<B>> Block<B, M, R> {
    fn map_matrices(self, scope: &mut Scope<'_, B>) -> Self {
        let mixer = self.mixer.map_matrices(&mut scope.within("mixer"));
        let feed_forward = &mut scope.within("feed_forward");
        let feed_forward = match self.feed_forward {
            FeedForward::Dense(swiglu) => FeedForward::Dense(swiglu.map_matrices(feed_forward)),
            FeedForward::Selective(it) => FeedForward::Selective(it.map_matrices(feed_forward)),
            FeedForward::Moe(moe) => FeedForward::Moe(moe.map_matrices(feed_forward)),
        };
        Self {
            mixer,
            feed_forward,
            ..self
        }
    }
}
