//! The arithmetic of quantised values, the same on every path.

/// Added to a number of magnitude below 2^22 it leaves that number, rounded half to even, in the lowest bits.
pub(crate) const ROUND: f32 = 12_582_912.0;

/// How a quantised result is written: `table[clamp(round(v) + zero_point, low, high)]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputU8 {
    /// The byte that means 0.
    pub zero_point: u8,
    /// Least byte written, before the table.
    pub low: u8,
    /// Greatest byte written, before the table.
    pub high: u8,
    /// A last step over all 256 bytes: any activation, or another quantisation.
    pub lookup_table: Option<Box<[u8; 256]>>,
}

impl OutputU8 {
    /// All bytes, no table.
    pub fn new(zero_point: u8) -> Self {
        Self { zero_point, low: 0, high: 255, lookup_table: None }
    }

    /// With a last step over all bytes.
    pub fn with_lookup_table(self, table: Box<[u8; 256]>) -> Self {
        Self { lookup_table: Some(table), ..self }
    }

    /// With bounds, as a fused Relu or Relu6 has them.
    pub fn with_bounds(self, low: u8, high: u8) -> Self {
        Self { low, high, ..self }
    }

    pub(crate) fn rounding(&self) -> Rounding {
        let zero = f32::from(self.zero_point);
        let low = f32::from(self.low) - zero;
        Rounding { low, high: (f32::from(self.high) - zero).max(low), zero: i32::from(self.zero_point) }
    }
}

/// Bounds as floats relative to the zero point, so that clamping comes before rounding and no conversion overflows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rounding {
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) zero: i32,
}

impl Rounding {
    /// The byte for `value` in output steps; what is not a number becomes the lower bound.
    #[inline(always)]
    pub(crate) fn byte(&self, value: f32) -> u8 {
        // Comparisons rather than `f32::max`: one instruction each, and false for what is not a number.
        let value = if value > self.low { value } else { self.low };
        let value = if value < self.high { value } else { self.high };
        // Wrapping: where overflow is checked for, nothing of this would be vectorised.
        let whole = ((value + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        whole.wrapping_add(self.zero) as u8
    }
}

/// Sum of two quantised images: `(a - a_zero_point) * a_ratio + (b - b_zero_point) * b_ratio`, in output steps.
#[derive(Debug, Clone, PartialEq)]
pub struct AddU8 {
    /// Zero point of the first image.
    pub a_zero_point: u8,
    /// Scale of the first image divided by the output's.
    pub a_ratio: f32,
    /// Zero point of the second image.
    pub b_zero_point: u8,
    /// Scale of the second image divided by the output's.
    pub b_ratio: f32,
    /// How the sum is written.
    pub output: OutputU8,
}

impl AddU8 {
    #[inline(always)]
    pub(crate) fn value(&self, a: u8, b: u8) -> f32 {
        (i32::from(a) - i32::from(self.a_zero_point)) as f32 * self.a_ratio
            + (i32::from(b) - i32::from(self.b_zero_point)) as f32 * self.b_ratio
    }
}

/// Product of two quantised images: `(a - a_zero_point) * (b - b_zero_point) * ratio`, in output steps.
#[derive(Debug, Clone, PartialEq)]
pub struct MulU8 {
    /// Zero point of the first image.
    pub a_zero_point: u8,
    /// Zero point of the second image or gate.
    pub b_zero_point: u8,
    /// Product of both scales divided by the output's.
    pub ratio: f32,
    /// How the product is written.
    pub output: OutputU8,
}

impl MulU8 {
    #[inline(always)]
    pub(crate) fn value(&self, a: u8, b: u8) -> f32 {
        let (a, b) =
            (i32::from(a) - i32::from(self.a_zero_point), i32::from(b) - i32::from(self.b_zero_point));
        (a * b) as f32 * self.ratio
    }
}

/// PReLU with a slope for each channel: `(q - zero_point) * (positive or negative[channel])`, in output steps.
#[derive(Debug, Clone, PartialEq)]
pub struct PreluU8 {
    /// Zero point of the input.
    pub zero_point: u8,
    /// Factor of values above zero: the input's scale divided by the output's.
    pub positive: f32,
    /// Factor of values below zero for each channel: that ratio times the slope.
    pub negative: Vec<f32>,
    /// How the result is written.
    pub output: OutputU8,
}

/// Another quantisation of the same values: `(q - zero_point) * ratio`, in output steps.
#[derive(Debug, Clone, PartialEq)]
pub struct RescaleU8 {
    /// Zero point of the input.
    pub zero_point: u8,
    /// The input's scale divided by the output's.
    pub ratio: f32,
    /// How the result is written.
    pub output: OutputU8,
}

/// From f32 to a byte: `clamp(round(v / scale) + zero_point, 0, 255)`.
///
/// A quotient and not a product with the reciprocal: pictures, whose values are whole steps of 1/255, lie exactly
/// between two bytes of many a scale, and the last bit of a reciprocal would decide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantise {
    /// Scale.
    pub scale: f32,
    /// The byte that means 0.
    pub zero_point: u8,
}

impl Quantise {
    pub(crate) fn rounding(&self) -> Rounding {
        OutputU8::new(self.zero_point).rounding()
    }
}

/// From a byte to f32: `(q - zero_point) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dequantise {
    /// Scale.
    pub scale: f32,
    /// The byte that means 0.
    pub zero_point: u8,
}

impl Dequantise {
    /// The value of one byte.
    #[inline(always)]
    pub fn value(&self, byte: u8) -> f32 {
        (i32::from(byte) - i32::from(self.zero_point)) as f32 * self.scale
    }
}
