//! Sharded safetensors files: strict reading by memory map or by copy, and saving.
