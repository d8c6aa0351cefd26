//! All kinds of steps: one type, so that a plan can be saved and read again.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::fallback::Fallback;
use super::ops::binary::{Binary, QuantBinary};
use super::ops::broadcast::{BinaryBroadcast, Rearrange, Select};
use super::ops::concat::{Concat, QuantConcat};
use super::ops::conv_f32::FloatConv;
use super::ops::conv_transpose::DepthToSpace;
use super::ops::conv_u8::QuantConv;
use super::ops::dynamic_quantise::DynamicQuantise;
use super::ops::gather::Gather;
use super::ops::layout::{FromMap, FromTensor, ToMap, ToTensor};
use super::ops::matmul::{MatMul, MatMulConst};
use super::ops::pad::Pad;
use super::ops::pool::Pool;
use super::ops::prelu::{Prelu, QuantPrelu};
use super::ops::quantise::{Lookup, Quantise};
use super::ops::resize::Resize;
use super::ops::row_ops::RowOp;
use super::ops::slice::Slice;
use super::ops::unary::Unary;
use super::step::Step;

/// Makes the type of all steps. Those of the second list belong to tract, which cannot be saved; they come last,
/// because the number of a kind is its place.
macro_rules! steps {
    ($($kind:ident),*; not serialized: $($unsaved:ident),* $(,)?) => {
        /// A step of any kind.
        #[derive(Debug, Serialize, Deserialize)]
        pub(super) enum AnyStep {
            $($kind($kind),)*
            $(#[serde(skip)] $unsaved($unsaved),)*
        }

        $(impl From<$kind> for AnyStep {
            fn from(step: $kind) -> Self {
                AnyStep::$kind(step)
            }
        })*

        $(impl From<$unsaved> for AnyStep {
            fn from(step: $unsaved) -> Self {
                AnyStep::$unsaved(step)
            }
        })*

        impl Deref for AnyStep {
            type Target = dyn Step;

            fn deref(&self) -> &Self::Target {
                match self {
                    $(AnyStep::$kind(step) => step,)*
                    $(AnyStep::$unsaved(step) => step,)*
                }
            }
        }

        impl DerefMut for AnyStep {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $(AnyStep::$kind(step) => step,)*
                    $(AnyStep::$unsaved(step) => step,)*
                }
            }
        }
    };
}

// To add a step: its name in the first list.
steps! {
    QuantConv, FloatConv, DepthToSpace, Quantise, Lookup, QuantBinary, Binary, QuantConcat, Concat, ToMap, FromMap, Pad,
    Pool, Prelu, QuantPrelu, Resize, Slice, Unary, MatMulConst, MatMul, DynamicQuantise, Gather, BinaryBroadcast, Select,
    Rearrange, RowOp;
    not serialized: Fallback, ToTensor, FromTensor
}

impl AnyStep {
    /// Whether a plan with it can be saved.
    pub(super) fn is_serializable(&self) -> bool {
        !matches!(self, AnyStep::Fallback(_) | AnyStep::ToTensor(_) | AnyStep::FromTensor(_))
    }
}
