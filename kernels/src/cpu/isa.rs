//! Instruction sets: which this processor has, and running a kernel on one.

use std::fmt;
use std::str::FromStr;

use super::portable::Portable;
use super::simd::Kernel;
use crate::KernelError;

/// An instruction set that the kernels are compiled for.
///
/// ```
/// use latent_kernels::cpu::Isa;
/// assert!(Isa::detected().contains(&Isa::Portable));
/// assert_eq!("avx2".parse(), Ok(Isa::Avx2));
/// assert_eq!(Isa::Avx512.to_string(), "avx512");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Tiles (Intel AMX with bf16 and bytes) beside AVX-512 with VNNI, VBMI and BF16: Sapphire Rapids and later, on Linux.
    Amx,
    /// AVX-512 with VNNI, VBMI and BF16, which multiplies pairs of bf16: Sapphire Rapids, Zen 4 and later. The same
    /// as [`Avx512Vnni`](Self::Avx512Vnni) but for [products in bf16](super::Cpu::bf16).
    Avx512Bf16,
    /// AVX-512 with VNNI, which multiplies bytes: Ice Lake, Zen 4 and later.
    Avx512Vnni,
    /// AVX-512 F, BW, VL and DQ.
    Avx512,
    /// AVX2, FMA and F16C.
    Avx2,
    /// NEON, on every 64-bit ARM.
    Neon,
    /// What any processor has. Sums round once more than the others'.
    Portable,
}

impl Isa {
    /// Every set there is, the fastest first.
    pub const ALL: [Self; 7] = [
        Self::Amx,
        Self::Avx512Bf16,
        Self::Avx512Vnni,
        Self::Avx512,
        Self::Avx2,
        Self::Neon,
        Self::Portable,
    ];

    /// Those that this processor has, the fastest first.
    #[must_use]
    pub fn detected() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_here()).collect()
    }

    /// The fastest that this processor has.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_here()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Amx => Self::Avx512Bf16.is_here() && super::tiles::amx::is_here(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => {
                is_x86_feature_detected!("avx512bf16")
                    && is_x86_feature_detected!("avx512vbmi")
                    && Self::Avx512Vnni.is_here()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => is_x86_feature_detected!("avx512vnni") && Self::Avx512.is_here(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && Self::Avx2.is_here()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            Self::Portable => true,
            #[allow(unreachable_patterns, reason = "sets of other architectures")]
            _ => false,
        }
    }

    /// Whether it gives the bits that AVX-512, AVX2 and NEON have in common: all do but
    /// [`Portable`](Self::Portable), and [`Amx`](Self::Amx) where weights are stored in bf16.
    #[must_use]
    pub fn shares_bits(self) -> bool {
        !matches!(self, Self::Amx | Self::Portable)
    }

    /// Runs a kernel on this set's vectors.
    ///
    /// # Panics
    /// When the processor does not have it.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.is_here(), "{self}: this processor does not have it");
        match self {
            // SAFETY: it is here.
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Bf16 | Self::Avx512Vnni => unsafe {
                super::avx512::run_vnni(kernel)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { super::avx512::run(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::avx2::run(kernel) },
            // SAFETY: every processor of this architecture has it.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { super::neon::run(kernel) },
            // SAFETY: needs no instructions.
            Self::Portable => unsafe { kernel.run::<Portable>() },
            #[allow(unreachable_patterns, reason = "sets of other architectures")]
            other => unreachable!("{other} is on another architecture"),
        }
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    fn from_str(text: &str) -> Result<Self, KernelError> {
        Self::ALL.into_iter().find(|isa| isa.to_string() == text).ok_or_else(|| {
            KernelError::Setting {
                name: "isa".into(),
                found: text.into(),
                wanted: Self::ALL.map(|isa| isa.to_string()).join(", "),
            }
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amx => "amx",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        })
    }
}
