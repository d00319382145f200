//! The processor's tiles: AMX by inline assembly, since its intrinsics are not stable yet.
//!
//! Linux hands out tiles on request, once for all threads of a process.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::emulated::Emulated;
use super::{Shapes, TILES, Tiles, check};

/// `arch_prctl`
const ARCH_PRCTL: i64 = 158;

/// Its request for a part of the processor's state.
const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;

/// That part: the data of tiles.
const XFEATURE_XTILEDATA: i64 = 18;

/// Whether there are tiles, this process may use them, and they compute what the emulated ones do: found
/// out once.
pub(in crate::cpu) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        // SAFETY: there are tiles that this process may use.
        processor_has_them() && permitted() && unsafe { check::same_bits::<Amx, Emulated>() }
    })
}

/// Whether the processor has AMX-TILE, AMX-INT8 and AMX-BF16.
fn processor_has_them() -> bool {
    const ALL: u32 = 1 << 24 | 1 << 25 | 1 << 22;
    // A processor without that leaf gives zeros or its last leaf: AVX-512 is there, so this one has it.
    #[allow(unused_unsafe, reason = "safe in later versions of Rust")]
    // SAFETY: every processor of 64 bits has the instruction.
    let edx = unsafe { __cpuid_count(7, 0) }.edx;
    is_x86_feature_detected!("avx512f") && edx & ALL == ALL
}

/// Asks the system for tiles: without its leave they raise a fault.
fn permitted() -> bool {
    let answer: i64;
    // SAFETY: a system call that touches no memory of this process; the registers that it changes are named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// What `ldtilecfg` reads: the palette, where a load that was broken off goes on, and from byte 16 on the bytes
/// of a row, from byte 48 on the rows of each tile.
#[repr(C, align(64))]
struct Config([u8; 64]);

/// The tiles of this thread.
///
/// No code is compiled for AMX, so what lies in tiles between two blocks of assembly is touched by no other
/// code: a system call or a signal brings them back as they were. Blocks count as reading and writing
/// memory, which keeps their order.
#[derive(Debug)]
pub(crate) struct Amx(PhantomData<*const ()>);

impl Drop for Amx {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: there are tiles, or there was no such value.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

// SAFETY: each function is one instruction, which callers prove to be there.
unsafe impl Tiles for Amx {
    #[inline(always)]
    unsafe fn configure(shapes: &Shapes) -> Self {
        let mut config = Config([0; 64]);
        config.0[0] = 1;
        for t in 0..TILES {
            // By the contract of the trait they fit.
            #[expect(clippy::cast_possible_truncation, reason = "at most 64 and 16")]
            let (bytes, rows) = (shapes.bytes[t] as u8, shapes.rows[t] as u8);
            (config.0[16 + 2 * t], config.0[48 + t]) = (bytes, rows);
        }
        // SAFETY: by the contract of the trait, as below; it reads 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags));
        }
        Self(PhantomData)
    }
    #[inline(always)]
    unsafe fn zero<const T: usize>(&mut self) {
        // SAFETY: as above.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nostack, preserves_flags)) };
    }
    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize) {
        // SAFETY: as above; callers prove that the rows can be read.
        unsafe {
            asm!(
                "tileloadd tmm{t}, [{from} + {stride}*1]",
                t = const T, from = in(reg) from, stride = in(reg) stride,
                options(nostack, preserves_flags),
            );
        }
    }
    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize) {
        // SAFETY: as above; callers prove that the rows can be written.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm{t}",
                t = const T, to = in(reg) to, stride = in(reg) stride,
                options(nostack, preserves_flags),
            );
        }
    }
    #[inline(always)]
    unsafe fn tdpbf16ps<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B,
                options(nostack, preserves_flags),
            );
        }
    }
    #[inline(always)]
    unsafe fn tdpbsud<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbsud tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B,
                options(nostack, preserves_flags),
            );
        }
    }
}
