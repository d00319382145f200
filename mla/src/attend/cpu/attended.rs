//! One order of keys for all forms of attention: split by split, whoever computes them.

use std::ops::Range;

use latent_kernels::KernelError;
use latent_kernels::cpu::{Cpu, LANES, Parts};

use super::blocks::Block;
use super::state::{Mean, State};

/// A way to let queries see keys.
pub(super) trait Attended: Sync {
    /// The queries of a block as keys are met with them.
    type Queries: Send + Sync + Default;

    /// The splits of a stretch: they are added up before stretches are.
    const STRETCH: usize;

    /// Whether states have the even ones of 32 elements of a value before the odd ones.
    const PAIRED: bool = false;

    /// The queries of a block.
    fn queries(&self, block: &Block) -> Self::Queries;

    /// The elements from one query's values to the next's in a state.
    fn stride(&self) -> usize;

    /// Room for what its queries know.
    fn state(&self, block: &Block) -> State {
        State::new(block.queries(), self.stride())
    }

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
    /// Writes what some queries of a block found, the first of which is `state`'s first.
    ///
    /// # Safety
    /// No other task writes their results.
    unsafe fn write<A: Attended>(
        &self,
        cpu: &Cpu,
        block: &Block,
        queries: Range<usize>,
        state: &State,
    ) {
        let width = self.value_dim;
        for (query, row) in
            block.rows(self.heads).skip(queries.start).take(queries.len()).enumerate()
        {
            // SAFETY: by the contract of this function.
            let o = unsafe { self.o.part(row * width..(row + 1) * width) };
            let (sum, values) = (state.sum[query], &state.values[query * state.stride..]);
            cpu.isa().run(Mean { values, sum, paired: A::PAIRED, o });
        }
    }
}

/// Lets blocks see all their keys.
pub(super) fn attend<A: Attended>(cpu: &Cpu, form: &A, blocks: &[Block], to: &Output<'_>) {
    if blocks.len() >= 4 * cpu.threads() || blocks.iter().all(|b| b.splits() == 1) {
        cpu.pool().run(blocks.len(), &|task| {
            let block = &blocks[task];
            let queries = form.queries(block);
            let [mut all, mut stretch, mut split] = [(); 3].map(|()| form.state(block));
            all.clear();
            for first in (0..block.splits()).step_by(A::STRETCH) {
                let splits = first..block.splits().min(first + A::STRETCH);
                meet_all(cpu, form, block, &queries, splits, &mut stretch, &mut split);
                block.fold(cpu, &mut all, (&stretch, 0), first, 0..block.queries());
            }
            // SAFETY: blocks have different tokens or heads.
            unsafe { to.write::<A>(cpu, block, 0..block.queries(), &all) };
        });
    } else {
        attend_shared(cpu, form, blocks, to);
    }
}

/// The same of few queries and many keys: threads share the keys, too, some splits of a stretch for each task.
fn attend_shared<A: Attended>(cpu: &Cpu, form: &A, blocks: &[Block], to: &Output<'_>) {
    let queries = all_queries(cpu, form, blocks);
    let stretches: usize = blocks.iter().map(|b| b.splits().div_ceil(A::STRETCH)).sum();
    let together = if stretches >= 4 * cpu.threads() { A::STRETCH } else { 1 };
    let of_block = |b: usize| (0..blocks[b].splits()).step_by(together).map(move |s| (b, s));
    let tasks: Vec<(usize, usize)> = (0..blocks.len()).flat_map(of_block).collect();
    let mut states: Vec<State> = tasks.iter().map(|&(b, _)| form.state(&blocks[b])).collect();
    let shared_states = Parts::new(&mut states);
    cpu.pool().run(tasks.len(), &|task| {
        let (b, first) = tasks[task];
        let (block, queries) = (&blocks[b], &queries[b]);
        let splits = first..block.splits().min(first + together);
        // SAFETY: each task has a state of its own.
        let state = unsafe { shared_states.part(task..task + 1) };
        meet_all(cpu, form, block, queries, splits, &mut state[0], &mut form.state(block));
    });
    let parts: Vec<(usize, Range<usize>)> = (0..blocks.len())
        .flat_map(|b| {
            let queries = blocks[b].queries();
            (0..queries).step_by(LANES).map(move |q| (b, q..queries.min(q + LANES)))
        })
        .collect();
    cpu.pool().run(parts.len(), &|part| {
        let (b, queries) = &parts[part];
        let block = &blocks[*b];
        let of_block = tasks.iter().zip(&states).filter(|((of, _), _)| of == b);
        let stride = form.stride();
        let [mut all, mut stretch] = [(); 2].map(|()| State::new(queries.len(), stride));
        all.clear();
        stretch.clear();
        let mut first = 0;
        for (&(_, split), state) in of_block {
            if split % A::STRETCH == 0 {
                block.fold(cpu, &mut all, (&stretch, 0), first, queries.clone());
                stretch.clear();
                first = split;
            }
            block.fold(cpu, &mut stretch, (state, queries.start), split, queries.clone());
        }
        block.fold(cpu, &mut all, (&stretch, 0), first, queries.clone());
        // SAFETY: blocks have different tokens or heads, and parts different queries.
        unsafe { to.write::<A>(cpu, block, queries.clone(), &all) };
    });
}

/// What the queries of a block know of some splits of a stretch; `split` is memory.
fn meet_all<A: Attended>(
    cpu: &Cpu,
    form: &A,
    block: &Block,
    queries: &A::Queries,
    splits: Range<usize>,
    state: &mut State,
    split: &mut State,
) {
    form.meet(block, queries, splits.start, state);
    for at in splits.skip(1) {
        form.meet(block, queries, at, split);
        block.fold(cpu, state, (split, 0), at, 0..block.queries());
    }
}

/// Lets blocks see their keys, which are made one split after the other.
pub(super) fn attend_made<A: Attended>(
    cpu: &Cpu,
    blocks: &[Block],
    make: impl Fn(usize) -> Result<A, KernelError>,
    to: &Output<'_>,
) -> Result<(), KernelError> {
    let mut known: Vec<(A::Queries, State, State)> = Vec::new();
    for split in 0..blocks.iter().map(Block::splits).max().unwrap_or(0) {
        let form = make(split)?;
        if split == 0 {
            let states = blocks.iter().map(|block| {
                let mut all = form.state(block);
                all.clear();
                (all, form.state(block))
            });
            let queries = all_queries(cpu, &form, blocks).into_iter();
            known = queries.zip(states).map(|(q, (all, stretch))| (q, all, stretch)).collect();
        }
        let parts = Parts::new(&mut known);
        cpu.pool().run(blocks.len(), &|b| {
            let block = &blocks[b];
            // SAFETY: each block has queries and states of its own.
            let (queries, all, stretch) = unsafe { &mut parts.part(b..b + 1)[0] };
            if split < block.splits() {
                let first = split / A::STRETCH * A::STRETCH;
                let all_of = 0..block.queries();
                if split == first {
                    form.meet(block, queries, split, stretch);
                } else {
                    let mut part = form.state(block);
                    form.meet(block, queries, split, &mut part);
                    block.fold(cpu, stretch, (&part, 0), split, all_of.clone());
                }
                if split + 1 == block.splits() || split + 1 == first + A::STRETCH {
                    block.fold(cpu, all, (&*stretch, 0), first, all_of);
                }
            }
        });
    }
    cpu.pool().run(blocks.len(), &|b| {
        let (block, (_, all, _)) = (&blocks[b], &known[b]);
        // SAFETY: blocks have different tokens or heads.
        unsafe { to.write::<A>(cpu, block, 0..block.queries(), all) };
    });
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
