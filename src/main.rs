//! What made DeepSeek cheap, on the command line.

fn main() {}
