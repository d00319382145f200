//! Files that travel with the crate.

/// The default text: 1 MB in the public domain, of seven kinds, as JSON lines. What it is made of stands in
/// `text/README.md`.
pub const PUBLIC_DOMAIN_TEXT: &str = include_str!("../text/public-domain.jsonl");

/// The settings of the ablation that the claims are held to.
pub const CLAIMS_TOML: &str = include_str!("../claims.toml");

/// The settings of the reinforcement learning that the claims about it are held to.
pub const ZERO_TOML: &str = include_str!("../rl/zero.toml");
