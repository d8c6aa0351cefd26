//! The routes below `/v1`: one file a resource.

pub(super) mod events;
pub(super) mod live;
pub(super) mod sources;
