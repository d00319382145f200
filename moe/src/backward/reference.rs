//! The definition of [`ExpertsBackward`]: one expert after the other, each on its own rows.

use latent_kernels::{Backend, KernelError, Reference, Scalar};
use ndarray::ArrayD;

use super::{ExpertsBackward, MlpGradients, RoutedGradients, SavedRouted};
use crate::dispatch::{self, check_tokens};
use crate::experts::check_experts;
use crate::mlp::SavedMlp;
use crate::{Dispatch, Experts, GateConfig, Mlp, MoeError, Routing, gate};

impl<T: Scalar> ExpertsBackward for Reference<T> {
    fn route_backward(
        &self,
        logits: &ArrayD<T>,
        routing: &Routing,
        gate: &GateConfig,
        d_weights: &ArrayD<T>,
    ) -> Result<ArrayD<T>, MoeError> {
        gate::backward::check(logits.shape(), routing, gate, d_weights.shape())?;
        let (values, d_weights) = (self.download(logits)?, self.download(d_weights)?);
        let d_logits = gate::backward::route_backward(&values, routing, gate, &d_weights)?;
        Ok(self.upload(&d_logits, logits.shape())?)
    }

    fn routed_saving(
        &self,
        experts: &Vec<Mlp<Self>>,
        x: &ArrayD<T>,
        routing: &Routing,
    ) -> Result<(ArrayD<T>, SavedRouted<Self>), MoeError> {
        check_experts(experts, routing)?;
        let rows = self.dispatch(x, routing)?;
        let inner = experts.first().map_or(0, |expert| expert.gate_proj.rows());
        let (mut y, mut gate, mut up) = (Vec::new(), Vec::new(), Vec::new());
        for (e, of_expert) in chosen(routing) {
            let x = self.select_rows(&rows, &of_expert)?;
            let (of_expert, saved) = experts[e].forward_saving(self, &x)?;
            y.extend(self.download(&of_expert)?);
            gate.extend(self.download(&saved.gate)?);
            up.extend(self.download(&saved.up)?);
        }
        let y = self.combine(&self.upload(&y, rows.shape())?, routing)?;
        let shape = [routing.experts().len(), inner];
        Ok((y, SavedRouted { gate: self.upload(&gate, &shape)?, up: self.upload(&up, &shape)? }))
    }

    fn routed_backward(
        &self,
        experts: &Vec<Mlp<Self>>,
        x: &ArrayD<T>,
        routing: &Routing,
        saved: &SavedRouted<Self>,
        dy: &ArrayD<T>,
    ) -> Result<RoutedGradients<Self>, MoeError> {
        check_tokens(dy.shape(), routing)?;
        let rows = self.dispatch(x, routing)?;
        let out = self.run_experts(experts, &rows, routing)?;
        let (d_out, d_weights) = dispatch::backward::combine_backward(&out, routing, dy)?;
        let mut d_rows = Vec::with_capacity(rows.len());
        let mut gradients: Vec<_> = experts.iter().map(zeros).collect::<Result<_, _>>()?;
        for (e, of_expert) in chosen(routing) {
            let part = |all| self.select_rows(all, &of_expert);
            let saved = SavedMlp { gate: part(&saved.gate)?, up: part(&saved.up)? };
            let (dx, of_weights) =
                experts[e].backward(self, &part(&rows)?, &saved, &part(&d_out)?)?;
            d_rows.extend(self.download(&dx)?);
            gradients[e] = of_weights;
        }
        let d_rows = self.upload(&d_rows, rows.shape())?;
        let dx = dispatch::backward::dispatch_backward(&d_rows, routing)?;
        Ok(RoutedGradients { dx, d_weights, experts: gradients })
    }
}

/// No gradient for any weight of a block.
fn zeros<T: Scalar>(block: &Mlp<Reference<T>>) -> Result<MlpGradients<Reference<T>>, KernelError> {
    let (inner, hidden) = (block.gate_proj.rows(), block.gate_proj.cols());
    let zeros =
        |shape: [usize; 2]| Reference::<T>::new().upload(&vec![T::zero(); inner * hidden], &shape);
    let (gate_proj, up_proj) = (zeros([inner, hidden])?, zeros([inner, hidden])?);
    Ok(MlpGradients { gate_proj, up_proj, down_proj: zeros([hidden, inner])? })
}

/// The experts that any token chose, ascending, each with its rows.
fn chosen(routing: &Routing) -> impl Iterator<Item = (usize, Vec<usize>)> {
    let dispatch = Dispatch::new(routing);
    (0..routing.n_routed_experts())
        .map(move |e| (e, dispatch.rows_of_expert(e).collect::<Vec<_>>()))
        .filter(|(_, rows)| !rows.is_empty())
}
