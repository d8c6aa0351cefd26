//! Portable code: the reference for every other path, and their source for what needs no instructions of its own.
//!
//! Functions are `inline(always)`, so that [`runs`] can compile them again within a path's target features, where the
//! compiler vectorises them for that path.

pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod layout;
pub(crate) mod pool;
pub(crate) mod resize;
pub(crate) mod rows;
pub(crate) mod unary_fn;

use crate::cpu::Path;
use crate::dispatch::DispatchTable;

/// Makes a path's [`crate::dispatch::Runs`] out of portable code. With features, each function is compiled within them.
macro_rules! runs {
    ($name:ident $(, $features:literal)?) => {
        crate::portable::runs!(@each $name, [$($features)?],
            lookup(a: &[u8], out: &mut [u8], p: &[u8; 256]) = rows::lookup,
            lookup_in_place(out: &mut [u8], p: &[u8; 256]) = rows::lookup_in_place,
            add_u8(a: &[u8], b: &[u8], out: &mut [u8], p: &crate::quant::AddU8) = rows::add_u8,
            mul_u8(a: &[u8], b: &[u8], out: &mut [u8], p: &crate::quant::MulU8) = rows::mul_u8,
            prelu_u8(a: &[u8], out: &mut [u8], p: &crate::quant::PreluU8) = rows::prelu_u8,
            quantise(a: &[f32], out: &mut [u8], p: &crate::quant::Quantise) = rows::quantise,
            dequantise(a: &[u8], out: &mut [f32], p: &crate::quant::Dequantise) = rows::dequantise,
            sum_u8(a: &[u8], out: &mut [i32]) = rows::sum_u8,
            mean_u8(a: &[i32], out: &mut [u8], ratio: f32, p: &crate::quant::Rounding) = rows::mean_u8,
            max_pool_u8(job: &crate::ops::pool::PoolJob<'_, u8>, out: &mut [u8]) = pool::max,
            max_pool_f32(job: &crate::ops::pool::PoolJob<'_, f32>, out: &mut [f32]) = pool::max,
            resize_u8(job: &crate::ops::resize::ResizeJob<'_, u8>, out: &mut [f32]) = resize::bilinear,
            resize_f32(job: &crate::ops::resize::ResizeJob<'_, f32>, out: &mut [f32]) = resize::bilinear,
            round(a: &[f32], out: &mut [u8], p: &crate::quant::Rounding) = rows::round,
            add_f32(a: &[f32], b: &[f32], out: &mut [f32]) = rows::add_f32,
            mul_f32(a: &[f32], b: &[f32], out: &mut [f32]) = rows::mul_f32,
            activate(out: &mut [f32], p: &crate::conv::Activation) = rows::activate,
            unary_fn(out: &mut [f32], p: &crate::ops::unary_fn::UnaryFn) = unary_fn::unary_fn,
            binary_fn(a: &[f32], b: &[f32], out: &mut [f32], p: &crate::ops::unary_fn::BinaryFn) = unary_fn::binary_fn,
            sum_max_min(a: &[f32], out: &mut [f32]) = unary_fn::sum_max_min,
            softmax(out: &mut [f32]) = unary_fn::softmax,
            layer_norm(a: &[f32], out: &mut [f32], p: &crate::ops::unary_fn::LayerNorm) = unary_fn::layer_norm,
            quantise_planes(
                job: &crate::ops::layout::PlanesJob<'_, f32>, out: &mut [u8], p: &crate::quant::Quantise
            ) = layout::quantise_planes,
        );
    };
    (@each $name:ident, $features:tt, $($run:ident($($arg:ident: $type:ty),*) = $module:ident::$portable:ident,)*) => {
        $(crate::portable::runs!(@one $features, $run, ($($arg: $type),*), $module::$portable);)*
        pub(crate) const $name: crate::dispatch::Runs = crate::dispatch::Runs { $($run),* };
    };
    (@one [], $run:ident, ($($arg:ident: $type:ty),*), $module:ident::$portable:ident) => {
        fn $run($($arg: $type),*) {
            crate::portable::$module::$portable($($arg),*);
        }
    };
    (@one [$features:literal], $run:ident, ($($arg:ident: $type:ty),*), $module:ident::$portable:ident) => {
        #[target_feature(enable = $features)]
        fn $run($($arg: $type),*) {
            crate::portable::$module::$portable($($arg),*);
        }
    };
}
pub(crate) use runs;

mod functions {
    super::runs!(RUNS);
}

/// The portable path.
pub(crate) static DISPATCH: DispatchTable = DispatchTable {
    path: Path::Scalar,
    conv_u8: &[conv::U8],
    conv_f32: conv::F32,
    depthwise_u8: &[depthwise::U8],
    depthwise_f32: depthwise::F32,
    runs: functions::RUNS,
};
