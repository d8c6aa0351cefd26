//! Protocols of other systems.

pub mod home_assistant;
