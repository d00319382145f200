//! A published checkpoint in, a model out.
