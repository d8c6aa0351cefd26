//! What tasks that find boxes in pictures share.

pub mod nms;
pub mod postprocess;
