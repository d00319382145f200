//! One order of keys for all forms of attention: split by split, whoever computes them.

use latent_kernels::KernelError;
use latent_kernels::cpu::{Cpu, Parts};

use super::blocks::{Block, SPLIT};
use super::tile::State;

/// A way to let queries see keys.
pub(super) trait Attended: Sync {
    /// The queries of a block as keys are met with them.
    type Queries: Send + Sync + Default;

    /// The queries of a block.
    fn queries(&self, block: &Block) -> Self::Queries;

    /// What its queries know before they see a key.
    fn state(&self, block: &Block) -> State;

    /// What its queries know of a split, and of nothing else.
    fn meet(&self, block: &Block, queries: &Self::Queries, split: usize, state: &mut State);
}

/// Where results go: `[token, head, value_dim]`.
pub(super) struct Output<'a> {
    pub(super) o: &'a Parts<'a, f32>,
    pub(super) heads: usize,
    pub(super) value_dim: usize,
}

impl Output<'_> {
    /// Writes what the queries of a block found.
    ///
    /// # Safety
    /// No other task writes the results of these tokens and heads.
    unsafe fn write(&self, block: &Block, state: &State) {
        // SAFETY: by the contract of this function.
        unsafe { block.write(state, self.o, self.heads, self.value_dim) };
    }
}

/// Lets blocks see all their keys.
pub(super) fn attend<A: Attended>(cpu: &Cpu, form: &A, blocks: &[Block], to: &Output<'_>) {
    if blocks.len() >= 4 * cpu.threads() || blocks.iter().all(|b| b.splits() == 1) {
        cpu.pool().run(blocks.len(), &|task| {
            let block = &blocks[task];
            let queries = form.queries(block);
            let [mut all, mut part] = [(); 2].map(|()| form.state(block));
            for split in 0..block.splits() {
                form.meet(block, &queries, split, &mut part);
                block.fold(cpu, &mut all, &part, split * SPLIT);
            }
            // SAFETY: blocks have different tokens or heads.
            unsafe { to.write(block, &all) };
        });
        return;
    }
    // Few queries and many keys: threads share the keys, too.
    let queries = all_queries(cpu, form, blocks);
    let tasks: Vec<(usize, usize)> =
        (0..blocks.len()).flat_map(|b| (0..blocks[b].splits()).map(move |s| (b, s))).collect();
    let mut states: Vec<State> = tasks.iter().map(|&(b, _)| form.state(&blocks[b])).collect();
    let shared_states = Parts::new(&mut states);
    cpu.pool().run(tasks.len(), &|task| {
        let (b, split) = tasks[task];
        // SAFETY: each task has a state of its own.
        let state = unsafe { shared_states.part(task..task + 1) };
        form.meet(&blocks[b], &queries[b], split, &mut state[0]);
    });
    cpu.pool().run(blocks.len(), &|b| {
        let block = &blocks[b];
        let mut all = form.state(block);
        for (&(_, split), part) in tasks.iter().zip(&states).filter(|((of, _), _)| *of == b) {
            block.fold(cpu, &mut all, part, split * SPLIT);
        }
        // SAFETY: blocks have different tokens or heads.
        unsafe { to.write(block, &all) };
    });
}

/// Lets blocks see their keys, which are made one split after the other.
pub(super) fn attend_made<A: Attended>(
    cpu: &Cpu,
    blocks: &[Block],
    make: impl Fn(usize) -> Result<A, KernelError>,
    to: &Output<'_>,
) -> Result<(), KernelError> {
    let mut known: Vec<(A::Queries, State)> = Vec::new();
    for split in 0..blocks.iter().map(Block::splits).max().unwrap_or(0) {
        let form = make(split)?;
        if split == 0 {
            let states = blocks.iter().map(|block| form.state(block));
            known = all_queries(cpu, &form, blocks).into_iter().zip(states).collect();
        }
        let parts = Parts::new(&mut known);
        cpu.pool().run(blocks.len(), &|b| {
            let block = &blocks[b];
            if split < block.splits() {
                // SAFETY: each block has queries and a state of its own.
                let (queries, all) = unsafe { &mut parts.part(b..b + 1)[0] };
                let mut part = form.state(block);
                form.meet(block, queries, split, &mut part);
                block.fold(cpu, all, &part, split * SPLIT);
            }
        });
    }
    for (block, (_, state)) in blocks.iter().zip(&known) {
        // SAFETY: this thread alone writes.
        unsafe { to.write(block, state) };
    }
    Ok(())
}

/// The queries of all blocks, made by all threads.
fn all_queries<A: Attended>(cpu: &Cpu, form: &A, blocks: &[Block]) -> Vec<A::Queries> {
    let mut queries: Vec<A::Queries> = blocks.iter().map(|_| A::Queries::default()).collect();
    let parts = Parts::new(&mut queries);
    cpu.pool().run(blocks.len(), &|b| {
        // SAFETY: each block has queries of its own.
        let own = unsafe { parts.part(b..b + 1) };
        own[0] = form.queries(&blocks[b]);
    });
    queries
}
