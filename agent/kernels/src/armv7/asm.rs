//! The inner loops. They use registers that a called function may change (q0 to q3, q8 to q15), and save the others.

use std::arch::global_asm;

unsafe extern "C" {
    /// Adds to the sums of 4 pixels by 8 channels the products of `length` elements of each pixel's run.
    ///
    /// Safety: each of four inputs has `length` elements; there are `8 * length` weights.
    pub(super) fn aimass_armv7_run_f32(
        inputs: *const [*const f32; 4],
        weights: *const f32,
        length: usize,
        sums: *mut [[f32; 8]; 4],
    );

    /// The same for bytes, whose 128 is taken away; weights lie in pairs, and none of them is -128.
    ///
    /// Safety: `length` is even; each of four inputs has `length` elements; there are `8 * length` weights.
    pub(super) fn aimass_armv7_run_u8(
        inputs: *const [*const u8; 4],
        weights: *const i8,
        length: usize,
        sums: *mut [[i32; 8]; 4],
    );

    /// Eight sums to eight bytes.
    ///
    /// Safety: eight multipliers, eight bytes.
    pub(super) fn aimass_armv7_requantise(
        sums: *const [i32; 8],
        multiplier: *const f32,
        bounds: *const Bounds,
        out: *mut u8,
    );

    /// Eight channels of one pixel: `bias + Σ input[tap] * weights[tap]`.
    ///
    /// Safety: each tap, `offsets` bytes from the input, has eight elements, as have its weights, `weight_step` bytes from
    /// the one to the next.
    pub(super) fn aimass_armv7_depthwise_f32(taps: *const Taps<f32>, sums: *mut [f32; 8]);

    /// The same for bytes.
    ///
    /// Safety: as there.
    pub(super) fn aimass_armv7_depthwise_u8(taps: *const Taps<i8>, sums: *mut [i32; 8]);
}

/// What [`aimass_armv7_requantise`] needs of a rounding.
#[repr(C)]
pub(super) struct Bounds {
    pub(super) low: f32,
    pub(super) high: f32,
    /// Added to a value it leaves the value, rounded half to even, in the lowest bits.
    pub(super) round: f32,
    /// What is then taken away to leave the byte.
    pub(super) offset: i32,
}

/// The taps of a pixel.
#[repr(C)]
pub(super) struct Taps<W> {
    pub(super) input: *const u8,
    pub(super) offsets: *const usize,
    pub(super) count: usize,
    pub(super) weights: *const W,
    pub(super) weight_step: usize,
    /// Eight.
    pub(super) bias: *const u8,
}

global_asm!(
    r#"
    .text
    .syntax unified
    .arm
    .fpu neon

    .balign 16
    .global aimass_armv7_run_f32
    .hidden aimass_armv7_run_f32
    .type aimass_armv7_run_f32, %function
aimass_armv7_run_f32:
    push {{r4-r7}}
    ldm r0, {{r4-r7}}
    vldm r3, {{d16-d31}}
    subs r2, r2, #2
    blt 2f
1:
    vld1.32 {{d0-d3}}, [r1]!
    vld1.32 {{d4}}, [r4]!
    vld1.32 {{d5}}, [r5]!
    vld1.32 {{d6}}, [r6]!
    vld1.32 {{d7}}, [r7]!
    vmla.f32 q8, q0, d4[0]
    vmla.f32 q9, q1, d4[0]
    vmla.f32 q10, q0, d5[0]
    vmla.f32 q11, q1, d5[0]
    vmla.f32 q12, q0, d6[0]
    vmla.f32 q13, q1, d6[0]
    vmla.f32 q14, q0, d7[0]
    vmla.f32 q15, q1, d7[0]
    vld1.32 {{d0-d3}}, [r1]!
    subs r2, r2, #2
    vmla.f32 q8, q0, d4[1]
    vmla.f32 q9, q1, d4[1]
    vmla.f32 q10, q0, d5[1]
    vmla.f32 q11, q1, d5[1]
    vmla.f32 q12, q0, d6[1]
    vmla.f32 q13, q1, d6[1]
    vmla.f32 q14, q0, d7[1]
    vmla.f32 q15, q1, d7[1]
    bge 1b
2:
    adds r2, r2, #2
    beq 3f
    vld1.32 {{d0-d3}}, [r1]
    vld1.32 {{d4[0]}}, [r4]
    vld1.32 {{d5[0]}}, [r5]
    vld1.32 {{d6[0]}}, [r6]
    vld1.32 {{d7[0]}}, [r7]
    vmla.f32 q8, q0, d4[0]
    vmla.f32 q9, q1, d4[0]
    vmla.f32 q10, q0, d5[0]
    vmla.f32 q11, q1, d5[0]
    vmla.f32 q12, q0, d6[0]
    vmla.f32 q13, q1, d6[0]
    vmla.f32 q14, q0, d7[0]
    vmla.f32 q15, q1, d7[0]
3:
    vstm r3, {{d16-d31}}
    pop {{r4-r7}}
    bx lr
    .size aimass_armv7_run_f32, . - aimass_armv7_run_f32

    @ One pixel, two pairs of its eight bytes in d8 (x and y are its lanes), weights in d registers a to d.
    .macro aimass_two_pairs x, y, a, b, c, d, low, high
    vdup.16 d9, d8[\x]
    vdup.16 d10, d8[\y]
    vmull.s8 q6, \a, d9
    vmull.s8 q7, \b, d9
    vmlal.s8 q6, \c, d10
    vmlal.s8 q7, \d, d10
    vpadal.s16 \low, q6
    vpadal.s16 \high, q7
    .endm

    .macro aimass_eight_bytes from, low, high
    vld1.8 {{d8}}, [\from]!
    veor d8, d8, d11
    aimass_two_pairs 0, 1, d0, d1, d2, d3, \low, \high
    aimass_two_pairs 2, 3, d4, d5, d6, d7, \low, \high
    .endm

    .macro aimass_one_pair from, low, high
    vld1.16 {{d9[]}}, [\from]!
    veor d9, d9, d11
    vmull.s8 q6, d0, d9
    vmull.s8 q7, d1, d9
    vpadal.s16 \low, q6
    vpadal.s16 \high, q7
    .endm

    .balign 16
    .global aimass_armv7_run_u8
    .hidden aimass_armv7_run_u8
    .type aimass_armv7_run_u8, %function
aimass_armv7_run_u8:
    push {{r4-r7}}
    vpush {{d8-d15}}
    ldm r0, {{r4-r7}}
    vldm r3, {{d16-d31}}
    vmov.i8 d11, #0x80
    subs r2, r2, #8
    blt 2f
1:
    vld1.8 {{d0-d3}}, [r1]!
    vld1.8 {{d4-d7}}, [r1]!
    aimass_eight_bytes r4, q8, q9
    aimass_eight_bytes r5, q10, q11
    aimass_eight_bytes r6, q12, q13
    aimass_eight_bytes r7, q14, q15
    subs r2, r2, #8
    bge 1b
2:
    adds r2, r2, #8
    beq 4f
3:
    vld1.8 {{d0-d1}}, [r1]!
    aimass_one_pair r4, q8, q9
    aimass_one_pair r5, q10, q11
    aimass_one_pair r6, q12, q13
    aimass_one_pair r7, q14, q15
    subs r2, r2, #2
    bgt 3b
4:
    vstm r3, {{d16-d31}}
    vpop {{d8-d15}}
    pop {{r4-r7}}
    bx lr
    .size aimass_armv7_run_u8, . - aimass_armv7_run_u8

    .balign 16
    .global aimass_armv7_requantise
    .hidden aimass_armv7_requantise
    .type aimass_armv7_requantise, %function
aimass_armv7_requantise:
    vldm r0, {{d0-d3}}
    vld1.32 {{d4-d7}}, [r1]
    vcvt.f32.s32 q0, q0
    vcvt.f32.s32 q1, q1
    vld1.32 {{d16-d17}}, [r2]
    vdup.32 q9, d16[0]
    vdup.32 q10, d16[1]
    vdup.32 q11, d17[0]
    vdup.32 q12, d17[1]
    vmul.f32 q0, q0, q2
    vmul.f32 q1, q1, q3
    vmax.f32 q0, q0, q9
    vmax.f32 q1, q1, q9
    vmin.f32 q0, q0, q10
    vmin.f32 q1, q1, q10
    vadd.f32 q0, q0, q11
    vadd.f32 q1, q1, q11
    vsub.i32 q0, q0, q12
    vsub.i32 q1, q1, q12
    vmovn.i32 d0, q0
    vmovn.i32 d1, q1
    vmovn.i16 d0, q0
    vst1.8 {{d0}}, [r3]
    bx lr
    .size aimass_armv7_requantise, . - aimass_armv7_requantise

    .balign 16
    .global aimass_armv7_depthwise_f32
    .hidden aimass_armv7_depthwise_f32
    .type aimass_armv7_depthwise_f32, %function
aimass_armv7_depthwise_f32:
    push {{r4-r7}}
    ldm r0, {{r2-r7}}
    vld1.32 {{d16-d19}}, [r7]
1:
    ldr r12, [r3], #4
    subs r4, r4, #1
    add r12, r2, r12
    vld1.32 {{d0-d3}}, [r12]
    vld1.32 {{d4-d7}}, [r5], r6
    vmla.f32 q8, q0, q2
    vmla.f32 q9, q1, q3
    bgt 1b
    vst1.32 {{d16-d19}}, [r1]
    pop {{r4-r7}}
    bx lr
    .size aimass_armv7_depthwise_f32, . - aimass_armv7_depthwise_f32

    .balign 16
    .global aimass_armv7_depthwise_u8
    .hidden aimass_armv7_depthwise_u8
    .type aimass_armv7_depthwise_u8, %function
aimass_armv7_depthwise_u8:
    push {{r4-r7}}
    ldm r0, {{r2-r7}}
    vld1.32 {{d16-d19}}, [r7]
1:
    ldr r12, [r3], #4
    subs r4, r4, #1
    add r12, r2, r12
    vld1.8 {{d0}}, [r12]
    vld1.8 {{d2}}, [r5], r6
    vmovl.u8 q0, d0
    vmovl.s8 q1, d2
    vmlal.s16 q8, d0, d2
    vmlal.s16 q9, d1, d3
    bgt 1b
    vst1.32 {{d16-d19}}, [r1]
    pop {{r4-r7}}
    bx lr
    .size aimass_armv7_depthwise_u8, . - aimass_armv7_depthwise_u8
    "#
);
