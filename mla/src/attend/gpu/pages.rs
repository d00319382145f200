//! The pages of one layer on a device: one buffer that grows.

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu, GpuTensor};
use latent_kernels::{Cost, KernelError, Tensor};

use super::super::check_rows;
use super::row::element;
use super::write::write;
use crate::cache::SCALE_BLOCK;
use crate::{PAGE_TOKENS, RowFormat, Slot, Span};

/// The units of a cube.
const UNITS: usize = 256;

/// The rows of one layer on a device: page `p` lies at `p` times a page's size in one buffer, which
/// doubles when it is full.
#[derive(Debug)]
pub struct GpuPages {
    width: usize,
    format: RowFormat,
    words: Buffer, // [page, row, row_words]
    room: usize,   // in pages
    open: Vec<bool>,
}

impl GpuPages {
    pub(super) fn new(gpu: &Gpu, width: usize, format: RowFormat) -> Result<Self, KernelError> {
        match width.checked_mul(4 * PAGE_TOKENS) {
            Some(_) => Ok(Self { width, format, words: gpu.buffer(0)?, room: 0, open: Vec::new() }),
            None => Err(KernelError::shape("pages", &[width], "want a row that fits into memory")),
        }
    }

    /// The elements of a row.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// How a row is stored.
    pub(super) fn format(&self) -> RowFormat {
        self.format
    }

    /// The words of a row.
    pub(super) fn row_words(&self) -> usize {
        self.format.row_bytes(self.width, 4) / 4
    }

    /// All rows.
    pub(super) fn words(&self) -> &Buffer {
        &self.words
    }

    /// The argument of a kernel that reads words.
    pub(super) fn arg(&self) -> BufferArg {
        self.words.arg(4)
    }

    /// The bytes of the open pages.
    pub(super) fn bytes(&self) -> usize {
        self.open.iter().filter(|&&open| open).count() * self.page_words() * 4
    }

    fn page_words(&self) -> usize {
        PAGE_TOKENS * self.row_words()
    }

    pub(super) fn prove_open(&self, page: usize) -> Result<(), KernelError> {
        if self.open.get(page) == Some(&true) {
            return Ok(());
        }
        let name = "page (not open)".into();
        Err(KernelError::Index { name, found: page, limit: self.open.len() })
    }

    /// Proves that the pages are open in which the keys of `spans` lie.
    pub(super) fn prove_spans(&self, spans: &[Span]) -> Result<(), KernelError> {
        let pages = spans.iter().flat_map(|s| &s.pages[..s.keys().div_ceil(PAGE_TOKENS)]);
        pages.copied().try_for_each(|page| self.prove_open(page))
    }

    /// Where the rows of `slots` lie, counted in rows.
    pub(super) fn rows_at(&self, slots: &[Slot]) -> Result<Vec<u32>, KernelError> {
        let row = |slot: &Slot| {
            self.prove_open(slot.page)?;
            if slot.row < PAGE_TOKENS {
                return Ok(word(slot.page * PAGE_TOKENS + slot.row));
            }
            let name = "row of a page".into();
            Err(KernelError::Index { name, found: slot.row, limit: PAGE_TOKENS })
        };
        slots.iter().map(row).collect()
    }

    /// Opens a page and fills it with NaN.
    pub(super) fn open(&mut self, gpu: &Gpu, page: usize) -> Result<(), KernelError> {
        self.make_room(gpu, page)?;
        if page >= self.open.len() {
            self.open.resize(page + 1, false);
        }
        let words = self.page_words();
        let cost = Cost::streaming(4 * words);
        gpu.launch("open_page", Cubes::covering(words, UNITS), cost, |client, count, cube| {
            fill_kernel::launch(client, count, cube, self.arg(), page * words, words, u32::MAX);
        })?;
        self.open[page] = true;
        Ok(())
    }

    pub(super) fn close(&mut self, page: usize) {
        if let Some(open) = self.open.get_mut(page) {
            *open = false;
        }
    }

    /// Copies all rows of an open page to another.
    pub(super) fn copy(&mut self, gpu: &Gpu, from: usize, to: usize) -> Result<(), KernelError> {
        self.prove_open(from)?;
        self.prove_open(to)?;
        let words = self.page_words();
        let (from, to, cost) = (from * words, to * words, Cost::streaming(8 * words));
        gpu.launch("copy_page", Cubes::covering(words, UNITS), cost, |client, count, cube| {
            copy_kernel::launch(client, count, cube, self.arg(), from, to, words);
        })
    }

    /// Writes row `i` of `rows` to `slots[i]`.
    pub(super) fn write(
        &mut self,
        gpu: &Gpu,
        slots: &[Slot],
        rows: &GpuTensor,
    ) -> Result<(), KernelError> {
        check_rows(rows.shape(), slots, self.width)?;
        let at = gpu.upload_words(&self.rows_at(slots)?)?;
        write(gpu, self, slots.len(), &at, rows)
    }

    /// Elements `from..from + columns` of the rows at `slots`, with zeros behind them up to
    /// `width`, `[slot, width]`.
    pub(super) fn read(
        &self,
        gpu: &Gpu,
        slots: &[Slot],
        columns: usize,
        width: usize,
    ) -> Result<GpuTensor, KernelError> {
        let at = gpu.upload_words(&self.rows_at(slots)?)?;
        let y = gpu.empty(&[slots.len(), width])?;
        let stored = bytes(self.format, columns);
        let cost = Cost::streaming(slots.len() * (stored + 4 * width + 4));
        let cubes = Cubes::covering(y.elements(), UNITS);
        gpu.launch("read_rows", cubes, cost, |client, count, cube| {
            read_kernel::launch(
                client,
                count,
                cube,
                self.arg(),
                at.arg(4),
                y.arg(),
                slots.len(),
                columns,
                width,
                self.row_words(),
                self.format,
            );
        })?;
        Ok(y)
    }

    /// Makes the buffer reach over `page`, twice as large as before at least.
    fn make_room(&mut self, gpu: &Gpu, page: usize) -> Result<(), KernelError> {
        if page < self.room {
            return Ok(());
        }
        let page_bytes = 4 * self.page_words();
        // Kernels count words in 32 bits.
        let limit = gpu.limits().buffer_bytes.min(u32::MAX as usize) / page_bytes.max(1);
        if page >= limit {
            return Err(KernelError::limit("pages of a layer", page.saturating_add(1), limit));
        }
        let room = (page + 1).max(2 * self.room).min(limit);
        let grown = gpu.buffer(room * page_bytes)?;
        let words = self.room * self.page_words();
        let cost = Cost::streaming(8 * words);
        gpu.launch("grow_pages", Cubes::covering(words, UNITS), cost, |client, count, cube| {
            move_kernel::launch(client, count, cube, self.arg(), grown.arg(4), words);
        })?;
        (self.words, self.room) = (grown, room);
        Ok(())
    }
}

/// The bytes of the first `columns` elements of a row.
pub(super) fn bytes(format: RowFormat, columns: usize) -> usize {
    match format {
        RowFormat::Scalar => 4 * columns,
        RowFormat::Bf16 => 2 * columns,
        RowFormat::Fp8 { latent } => {
            let scaled = columns.min(latent);
            scaled + 4 * scaled.div_ceil(SCALE_BLOCK) + 2 * (columns - scaled)
        }
    }
}

/// A place in a buffer, as kernels count: buffers have fewer than 2³² words.
pub(super) fn word(at: usize) -> u32 {
    u32::try_from(at).expect("a place in a buffer of fewer words")
}

#[cube(launch)]
fn fill_kernel(words: &mut [u32], from: usize, count: usize, value: u32) {
    if ABSOLUTE_POS < count {
        words[from + ABSOLUTE_POS] = value;
    }
}

#[cube(launch)]
fn copy_kernel(words: &mut [u32], from: usize, to: usize, count: usize) {
    if ABSOLUTE_POS < count {
        words[to + ABSOLUTE_POS] = words[from + ABSOLUTE_POS];
    }
}

#[cube(launch)]
fn move_kernel(from: &[u32], to: &mut [u32], count: usize) {
    if ABSOLUTE_POS < count {
        to[ABSOLUTE_POS] = from[ABSOLUTE_POS];
    }
}

#[cube(launch)]
fn read_kernel(
    words: &[u32],
    at: &[u32],
    y: &mut [f32],
    count: usize,
    columns: usize,
    width: usize,
    row_words: usize,
    #[comptime] format: RowFormat,
) {
    let row = ABSOLUTE_POS / width;
    let column = ABSOLUTE_POS % width;
    if row < count {
        let mut value = f32::new(0.0);
        if column < columns {
            value = element(words, at[row] as usize * row_words, column, format);
        }
        y[ABSOLUTE_POS] = value;
    }
}
