//! AdamW with parameter groups and clipping by the global gradient norm.
//!
//! Loshchilov and Hutter (<https://arxiv.org/abs/1711.05101>). burn's own AdamW clips every tensor separately and
//! has no parameter groups.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, MultiGradientsParams, Optimizer};
use burn::record::Record;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::adamw::{AdamWStep, Moments};

use super::TrainingConfig;
use super::groups::Group;

/// Settings that are constant over the run.
#[derive(Debug, Clone, PartialEq)]
struct Constants {
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    clip: f64,
}

/// State of the optimizer.
#[derive(Debug, Clone)]
pub struct AdamWState<B: Backend> {
    /// Number of updates.
    pub time: u64,
    /// First and second moments of every trained parameter, flattened.
    pub moments: HashMap<ParamId, Moments<B>>,
    /// Global norm of the last gradients, before clipping.
    pub gradient_norm: f64,
}

/// AdamW optimizer. Clones share their state, so a checkpoint can read it while the learner owns the optimizer.
#[derive(Debug, Clone)]
pub struct AdamW<B: AutodiffBackend> {
    constants: Constants,
    /// Groups by parameter; others follow [`GroupingConfig::ByDimension`](super::groups::GroupingConfig).
    groups: Arc<HashMap<ParamId, Group>>,
    state: Arc<Mutex<AdamWState<B::InnerBackend>>>,
}

/// Dimension of a parameter that indexes experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The first dimension.
    First,
    /// The last dimension.
    Last,
}

/// Moments of one parameter as a record of burn.
#[derive(Record, Debug, Clone)]
pub struct MomentsRecord<B: Backend> {
    id: u64,
    first: Tensor<B, 1>,
    second: Tensor<B, 1>,
    time: usize,
}

impl<B: AutodiffBackend> AdamW<B> {
    /// Creates an optimizer without state.
    pub fn new(config: &TrainingConfig) -> Self {
        Self {
            constants: Constants {
                betas: config.betas,
                eps: config.eps,
                weight_decay: config.weight_decay,
                clip: config.clip,
            },
            groups: Arc::default(),
            state: Arc::new(Mutex::new(AdamWState {
                time: 0,
                moments: HashMap::new(),
                gradient_norm: 0.0,
            })),
        }
    }

    /// Sets the parameter groups.
    pub fn with_groups(self, groups: HashMap<ParamId, Group>) -> Self {
        Self {
            groups: Arc::new(groups),
            ..self
        }
    }

    fn lock(&self) -> MutexGuard<'_, AdamWState<B::InnerBackend>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the state; tensors are shared, not copied.
    pub fn state(&self) -> AdamWState<B::InnerBackend> {
        self.lock().clone()
    }

    /// Passes moments on when experts divide: slice `i` along the given dimension becomes slice `sources[i]` times
    /// `factors[i]`. Does nothing for a parameter without moments.
    pub fn inherit(&self, id: ParamId, along: Along, sources: &[usize], factors: &[f32]) {
        let mut state = self.lock();
        let Some(moments) = state.moments.get_mut(&id) else {
            return;
        };
        for moment in [&mut moments.first, &mut moments.second] {
            let device = moment.device();
            let [elements] = moment.dims();
            let slices = sources.len();
            let (shape, dim) = match along {
                Along::First => ([slices, elements / slices], 0),
                Along::Last => ([elements / slices, slices], 1),
            };
            let indices: Vec<i32> = sources.iter().map(|&source| source as i32).collect();
            let indices = TensorData::new(indices, [slices]);
            let indices = Tensor::<B::InnerBackend, 1, Int>::from_data(indices, &device);
            let factors = TensorData::new(factors.to_vec(), [slices]);
            let factors = Tensor::<B::InnerBackend, 1>::from_data(factors, &device);
            let factors = match along {
                Along::First => factors.reshape([slices, 1]),
                Along::Last => factors.reshape([1, slices]),
            };
            let inherited = moment.clone().reshape(shape).select(dim, indices) * factors;
            *moment = inherited.reshape([elements]);
        }
    }

    /// Replaces the state.
    pub fn restore(&self, state: AdamWState<B::InnerBackend>) {
        *self.lock() = state;
    }
}

impl<B, M> Optimizer<M, B> for AdamW<B>
where
    B: AutodiffBackend<InnerBackend: Ops>,
    M: AutodiffModule<B>,
{
    type Record = Vec<MomentsRecord<B>>;

    fn step(&mut self, lr: f64, module: M, grads: GradientsParams) -> M {
        let mut state = self.lock();
        let norm = global_norm::<B, M>(&module, &grads);
        let clip = self.constants.clip;
        state.time += 1;
        state.gradient_norm = norm;
        let step = AdamWStep {
            lr,
            beta_1: self.constants.betas[0],
            beta_2: self.constants.betas[1],
            epsilon: self.constants.eps,
            weight_decay: self.constants.weight_decay,
            time: state.time,
            gradient_scale: (clip / (norm + 1e-6)).min(1.0),
        };
        module.map(&mut Update::<B> {
            grads,
            groups: &self.groups,
            moments: &mut state.moments,
            step,
        })
    }

    fn step_multi(&mut self, lr: f64, module: M, mut grads: MultiGradientsParams) -> M {
        let mut merged = GradientsParams::new();
        module.visit(&mut Merge::<B> {
            from: &mut grads,
            into: &mut merged,
            backend: std::marker::PhantomData,
        });
        self.step(lr, module, merged)
    }

    fn to_record(&self) -> Self::Record {
        let state = self.lock();
        let record = |(id, moments): (&ParamId, &Moments<B::InnerBackend>)| MomentsRecord {
            id: id.val(),
            first: Tensor::from_inner(moments.first.clone()),
            second: Tensor::from_inner(moments.second.clone()),
            time: state.time as usize,
        };
        state.moments.iter().map(record).collect()
    }

    fn load_record(self, record: Self::Record) -> Self {
        let time = record.iter().map(|moments| moments.time).max();
        self.restore(AdamWState {
            time: time.unwrap_or(0) as u64,
            moments: record
                .into_iter()
                .map(|record| {
                    let id = ParamId::from(record.id);
                    let first = record.first.inner();
                    let second = record.second.inner();
                    (id, Moments { first, second })
                })
                .collect(),
            gradient_norm: 0.0,
        });
        self
    }
}

/// Euclidean norm of all gradients together.
pub fn global_norm<B, M>(module: &M, grads: &GradientsParams) -> f64
where
    B: AutodiffBackend<InnerBackend: Ops>,
    M: AutodiffModule<B>,
{
    let mut squares = Squares::<B> {
        grads,
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    let sums = Tensor::cat(squares.sums, 0).into_data();
    sums.iter::<f64>().sum::<f64>().sqrt()
}

struct Squares<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    sums: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend<InnerBackend: Ops>> ModuleVisitor<B> for Squares<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            let elements = grad.shape().num_elements();
            let sum = B::InnerBackend::sum_of_squares(grad.reshape([elements]));
            self.sums.push(sum);
        }
    }
}

struct Merge<'a, B: AutodiffBackend> {
    from: &'a mut MultiGradientsParams,
    into: &'a mut GradientsParams,
    backend: std::marker::PhantomData<B>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Merge<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some((grad, _)) = self.from.remove::<B::InnerBackend, D>(param.id) {
            self.into.register(param.id, grad);
        }
    }
}

struct Update<'a, B: AutodiffBackend> {
    grads: GradientsParams,
    groups: &'a HashMap<ParamId, Group>,
    moments: &'a mut HashMap<ParamId, Moments<B::InnerBackend>>,
    step: AdamWStep,
}

impl<B: AutodiffBackend<InnerBackend: Ops>> ModuleMapper<B> for Update<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(id) else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let shape = tensor.dims();
        let trained = tensor.is_require_grad();
        let elements = shape.iter().product::<usize>();
        let grad = grad.reshape([elements]);
        let moments = self.moments.remove(&id).unwrap_or_else(|| Moments {
            first: grad.zeros_like(),
            second: grad.zeros_like(),
        });
        let mut step = self.step.clone();
        let by_dimension = Group {
            rate: 1.0,
            decay: if D < 2 { 0.0 } else { 1.0 },
        };
        let group = self.groups.get(&id).copied().unwrap_or(by_dimension);
        step.lr *= group.rate;
        step.weight_decay *= group.decay;
        let (updated, moments) =
            B::InnerBackend::adamw(tensor.inner().reshape([elements]), grad, moments, &step);
        self.moments.insert(id, moments);
        let tensor = Tensor::from_inner(updated.reshape(shape)).set_require_grad(trained);
        Param::from_mapped_value(id, tensor, mapper)
    }
}
