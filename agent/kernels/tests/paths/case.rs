//! Random numbers and images out of one seed, so that a failing case is one line.

use aimass_kernels::{Element, Image, Kernels, OutputU8, Padding, Path};
use proptest::test_runner::Config;

/// How many cases a property takes.
pub(crate) fn config() -> Config {
    let cases = std::env::var("AIMASS_KERNEL_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(192), failure_persistence: None, ..Config::default() }
}

/// The paths under test.
pub(crate) fn fast_paths() -> Vec<Kernels> {
    let fast = Kernels::available().into_iter().filter(|path| *path != Path::Scalar);
    fast.map(|path| Kernels::force(path).unwrap()).collect()
}

pub(crate) fn scalar() -> Kernels {
    Kernels::force(Path::Scalar).unwrap()
}

/// A small generator (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// Between -1 and 1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize, extreme: bool) -> Vec<u8> {
        (0..count).map(|_| if extreme { if self.chance(2) { 255 } else { 0 } } else { self.byte() }).collect()
    }

    pub(crate) fn weights(&mut self, count: usize, extreme: bool) -> Vec<i8> {
        let pick = |random: &mut Self| match (extreme, random.below(3)) {
            (true, 0) => -128,
            (true, 1) => 127,
            (true, _) => -127,
            (false, _) => random.byte() as i8,
        };
        (0..count).map(|_| pick(self)).collect()
    }

    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    pub(crate) fn padding(&mut self) -> Padding {
        Padding { top: self.below(3), left: self.below(3), bottom: self.below(3), right: self.below(3) }
    }

    pub(crate) fn output(&mut self) -> OutputU8 {
        let (a, b) = (self.byte(), self.byte());
        let mut output = OutputU8::new(self.byte());
        if self.chance(3) {
            output = output.with_bounds(a.min(b), a.max(b));
        }
        if self.chance(3) {
            output = output.with_lookup_table(Box::new(std::array::from_fn(|_| self.byte())));
        }
        output
    }

    /// An image at the start of its memory; sometimes a slice of a wider one.
    pub(crate) fn image(
        &mut self,
        height: usize,
        width: usize,
        channels: usize,
        padding: Padding,
        slice: bool,
    ) -> (Image, usize) {
        let (before, after) = if slice { (self.below(5), 1 + self.below(5)) } else { (0, 0) };
        let start = self.below(4);
        let wide = Image::dense(start, height, width, before + channels + after, padding);
        // Memory ends with the last channel that is read, so that tools see a read beyond it.
        let image = wide.channel_slice(before, channels);
        let end = image.extent().unwrap().end;
        (image, end)
    }
}

/// Fails with the first element that differs.
pub(crate) fn same<T: Element>(expected: &[T], actual: &[T], path: Kernels, what: &str) {
    let differs = expected.iter().zip(actual).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("{what} on {path:?}: element {at} is {:?} and not {:?}", actual[at], expected[at]);
    }
}

/// Fails with the first element that differs by more than rounding of sums of `terms` numbers of magnitude 1.
pub(crate) fn close(expected: &[f32], actual: &[f32], terms: usize, path: Kernels, what: &str) {
    let tolerance = 1e-6 * (terms as f32 + 4.0);
    let differs = expected.iter().zip(actual).position(|(a, b)| (a - b).abs() > tolerance);
    if let Some(at) = differs {
        panic!("{what} on {path:?}: element {at} is {} and not {} (±{tolerance})", actual[at], expected[at]);
    }
}
