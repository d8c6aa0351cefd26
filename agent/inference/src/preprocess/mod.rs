//! From what a source delivers to a model's input tensors.

pub mod image;
