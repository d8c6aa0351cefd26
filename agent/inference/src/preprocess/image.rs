//! From a picture's planes to a model's input tensor: crop, resize, colour conversion and normalisation.
//!
//! Each target row is made in one go: two source rows are blended (a loop that the compiler vectorises), the blend
//! is sampled at the target's columns, and the row is converted and normalised straight into the tensor. Nothing
//! at full resolution is copied. Bilinear with two taps a side, as `cv2.resize(INTER_LINEAR)`: the models here
//! were trained and calibrated with it, and an antialiasing filter would move scores away from the reference.
//! Invariant: after the first picture of a size nothing is allocated.

use aimass_core::frame::{Picture, PixelFormat, Plane};
use aimass_core::geometry::{Point, Region};

use crate::library::manifest::{ChannelOrder, InputSpec, Layout, Resize};

/// Where the picture lies in the model's input: turns the model's pixels back into fractions of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// The part of the frame that was looked at, in fractions.
    crop: Region,
    /// Where it was put in the model's input, in pixels: left, top, width, height.
    inside: [f32; 4],
}

impl Placement {
    /// A point of the model's input, in fractions of the frame.
    pub fn point(&self, p: Point) -> Point {
        let [left, top, width, height] = self.inside;
        Point {
            x: self.crop.x + (p.x - left) / width * self.crop.w,
            y: self.crop.y + (p.y - top) / height * self.crop.h,
        }
    }

    /// A box of the model's input (left, top, right, bottom), in fractions of the frame.
    pub fn region(&self, [x0, y0, x1, y1]: [f32; 4]) -> Region {
        let (a, b) = (self.point(Point { x: x0, y: y0 }), self.point(Point { x: x1, y: y1 }));
        Region::from_corners(a.x, a.y, b.x, b.y)
    }
}

/// Where a target column or row comes from: the nearer source sample to the left, and the weight (of 256) of the
/// one to its right, which is the same one at the edge.
#[derive(Debug, Clone, Copy, Default)]
struct Tap {
    first: u32,
    second: u32,
    weight: u32,
}

/// What a plan was made for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Job {
    size: (u32, u32),
    format: PixelFormat,
    crop: Region,
}

#[derive(Debug)]
struct Plan {
    job: Job,
    placement: Placement,
    /// Left, top, width, height of the picture inside the tensor.
    inside: [usize; 4],
    luma: [Vec<Tap>; 2],
    chroma: [Vec<Tap>; 2],
}

/// Makes input tensors of one shape from pictures of any size. Belongs to one thread.
#[derive(Debug)]
pub struct Preparer {
    spec: InputSpec,
    plan: Option<Plan>,
    /// Two source rows, blended; 8 bits of fraction.
    blend: Vec<u16>,
    /// Target rows of the three channels or of Y, U and V.
    rows: [Vec<f32>; 3],
}

impl Preparer {
    /// For one model's input.
    pub fn new(spec: &InputSpec) -> Self {
        Preparer { spec: spec.clone(), plan: None, blend: Vec::new(), rows: Default::default() }
    }

    /// Fills `tensor` from the part of the picture that `crop` names.
    ///
    /// # Panics
    /// If the tensor is not as long as the model's input.
    pub fn prepare(&mut self, picture: &Picture, crop: Region, tensor: &mut [f32]) -> Placement {
        assert_eq!(tensor.len(), self.spec.len(), "the tensor has the length of the model's input");
        let job = Job { size: (picture.width(), picture.height()), format: picture.format(), crop };
        let plan = match self.plan.take() {
            Some(plan) if plan.job == job => plan,
            _ => self.plan_for(job),
        };
        let writer = Writer::new(&self.spec);
        let [left, top, width, height] = plan.inside;
        writer.pad(tensor, plan.inside);
        let yuv = Yuv::of(picture);
        for y in 0..height {
            let [r0, r1, r2] = &mut self.rows;
            match picture.format() {
                PixelFormat::Gray8 => {
                    blend_rows(picture.plane(0), plan.luma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.luma[0], 1, 0, r0);
                    writer.row(tensor, top + y, left, [&r0[..width]; 3]);
                    continue;
                }
                PixelFormat::Rgb8 => {
                    blend_rows(picture.plane(0), plan.luma[1][y], &mut self.blend);
                    sample_rgb(&self.blend, &plan.luma[0], [&mut *r0, &mut *r1, &mut *r2]);
                }
                PixelFormat::I420 => {
                    blend_rows(picture.plane(0), plan.luma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.luma[0], 1, 0, r0);
                    blend_rows(picture.plane(1), plan.chroma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.chroma[0], 1, 0, r1);
                    blend_rows(picture.plane(2), plan.chroma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.chroma[0], 1, 0, r2);
                    yuv.to_rgb([&mut r0[..width], &mut r1[..width], &mut r2[..width]]);
                }
                PixelFormat::Nv12 => {
                    blend_rows(picture.plane(0), plan.luma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.luma[0], 1, 0, r0);
                    blend_rows(picture.plane(1), plan.chroma[1][y], &mut self.blend);
                    sample(&self.blend, &plan.chroma[0], 2, 0, r1);
                    sample(&self.blend, &plan.chroma[0], 2, 1, r2);
                    yuv.to_rgb([&mut r0[..width], &mut r1[..width], &mut r2[..width]]);
                }
            }
            let [r, g, b] = [&r0[..width], &r1[..width], &r2[..width]];
            writer.row(tensor, top + y, left, [r, g, b]);
        }
        let placement = plan.placement;
        self.plan = Some(plan);
        placement
    }

    fn plan_for(&mut self, job: Job) -> Plan {
        let (w, h) = (job.size.0 as f32, job.size.1 as f32);
        let crop = job.crop.clipped();
        // Whole pixels, at least one; a crop without area means the whole picture.
        let span = |from: f32, part: f32, side: f32| {
            let begin = (from * side).round().clamp(0.0, side - 1.0);
            let end = ((from + part) * side).round().clamp(begin + 1.0, side);
            if part > 0.0 { (begin, end) } else { (0.0, side) }
        };
        let ((x0, x1), (y0, y1)) = (span(crop.x, crop.w, w), span(crop.y, crop.h, h));
        let (cw, ch) = (x1 - x0, y1 - y0);
        let (mw, mh) = (self.spec.width(), self.spec.height());
        let inside = match self.spec.resize {
            Resize::Stretch => [0, 0, mw, mh],
            Resize::Letterbox | Resize::LetterboxCentred => {
                let scale = (mw as f32 / cw).min(mh as f32 / ch);
                let iw = ((cw * scale).round() as usize).clamp(1, mw);
                let ih = ((ch * scale).round() as usize).clamp(1, mh);
                let centred = usize::from(self.spec.resize == Resize::LetterboxCentred);
                [(mw - iw) / 2 * centred, (mh - ih) / 2 * centred, iw, ih]
            }
        };
        let (cols, rows) =
            (taps(inside[2], x0, x1, 1.0, job.size.0), taps(inside[3], y0, y1, 1.0, job.size.1));
        let half = |n: u32| n.div_ceil(2);
        let chroma = match job.format {
            PixelFormat::I420 | PixelFormat::Nv12 => [
                taps(inside[2], x0, x1, 0.5, half(job.size.0)),
                taps(inside[3], y0, y1, 0.5, half(job.size.1)),
            ],
            PixelFormat::Rgb8 | PixelFormat::Gray8 => [Vec::new(), Vec::new()],
        };
        let widest = job.format.plane_size(0, job.size.0, job.size.1).0;
        self.blend.clear();
        self.blend.resize(widest + 1, 0);
        for row in &mut self.rows {
            row.clear();
            row.resize(mw, 0.0);
        }
        let placement = Placement {
            crop: Region { x: x0 / w, y: y0 / h, w: cw / w, h: ch / h },
            inside: inside.map(|v| v as f32),
        };
        Plan { job, placement, inside, luma: [cols, rows], chroma }
    }
}

/// The taps of `target` samples across `begin..end` of the full-size picture, on a plane of `side` samples at
/// `scale` of the full size.
fn taps(target: usize, begin: f32, end: f32, scale: f32, side: u32) -> Vec<Tap> {
    let step = (end - begin) / target as f32;
    let tap = |n: usize| {
        // The middle of the target sample, kept within the crop's own samples.
        let at = (begin + (n as f32 + 0.5) * step).clamp(begin + 0.5, (end - 0.5).max(begin + 0.5));
        let at = (at * scale - 0.5).clamp(0.0, side as f32 - 1.0);
        let first = at as u32;
        let weight = ((at - first as f32) * 256.0).round() as u32;
        Tap { first, second: (first + 1).min(side - 1), weight }
    };
    (0..target).map(tap).collect()
}

/// Blends the two rows of a tap into `out`: 8 bits of fraction.
fn blend_rows(plane: Plane<'_>, tap: Tap, out: &mut [u16]) {
    let (a, b) = (plane.row(tap.first as usize), plane.row(tap.second as usize));
    let (near, far) = (256 - tap.weight as u16, tap.weight as u16);
    let out = &mut out[..a.len()];
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = u16::from(*a) * near + u16::from(*b) * far;
    }
}

/// 1 / (256 × 256): undoes the fractions of both directions.
const UNIT: f32 = 1.0 / 65_536.0;

/// Samples a blended row of `stride` interleaved channels at the taps.
fn sample(blend: &[u16], taps: &[Tap], stride: usize, channel: usize, out: &mut [f32]) {
    for (o, tap) in out.iter_mut().zip(taps) {
        let a = u32::from(blend[tap.first as usize * stride + channel]);
        let b = u32::from(blend[tap.second as usize * stride + channel]);
        *o = (a * (256 - tap.weight) + b * tap.weight) as f32 * UNIT;
    }
}

fn sample_rgb(blend: &[u16], taps: &[Tap], out: [&mut [f32]; 3]) {
    for (channel, out) in out.into_iter().enumerate() {
        sample(blend, taps, 3, channel, out);
    }
}

/// The matrix from Y, U, V to R, G, B.
struct Yuv {
    black: f32,
    luma: f32,
    red_v: f32,
    green_u: f32,
    green_v: f32,
    blue_u: f32,
}

impl Yuv {
    fn of(picture: &Picture) -> Yuv {
        let colour = picture.colour();
        let (kr, kb) = if colour.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let kg = 1.0 - kr - kb;
        let (black, luma, chroma) =
            if colour.full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        Yuv {
            black,
            luma,
            red_v: 2.0 * (1.0 - kr) * chroma,
            green_u: -2.0 * kb * (1.0 - kb) / kg * chroma,
            green_v: -2.0 * kr * (1.0 - kr) / kg * chroma,
            blue_u: 2.0 * (1.0 - kb) * chroma,
        }
    }

    /// In place: three rows of Y, U, V become R, G, B.
    fn to_rgb(&self, [a, b, c]: [&mut [f32]; 3]) {
        for ((a, b), c) in a.iter_mut().zip(b.iter_mut()).zip(c.iter_mut()) {
            let (y, u, v) = ((*a - self.black) * self.luma, *b - 128.0, *c - 128.0);
            *a = (y + self.red_v * v).clamp(0.0, 255.0);
            *b = (y + self.green_u * u + self.green_v * v).clamp(0.0, 255.0);
            *c = (y + self.blue_u * u).clamp(0.0, 255.0);
        }
    }
}

/// Writes normalised rows into a tensor.
struct Writer {
    width: usize,
    height: usize,
    layout: Layout,
    /// Which of R, G, B goes to each channel of the tensor.
    order: [usize; 3],
    /// value × scale + offset, by channel of the tensor.
    scale: [f32; 3],
    offset: [f32; 3],
}

impl Writer {
    fn new(spec: &InputSpec) -> Self {
        let order = if spec.colour == ChannelOrder::Rgb { [0, 1, 2] } else { [2, 1, 0] };
        let scale = spec.std.map(|s| 1.0 / s);
        let offset = [0, 1, 2].map(|c| -spec.mean[c] / spec.std[c]);
        Writer { width: spec.width(), height: spec.height(), layout: spec.layout, order, scale, offset }
    }

    fn row(&self, tensor: &mut [f32], y: usize, left: usize, rgb: [&[f32]; 3]) {
        let at = y * self.width + left;
        match self.layout {
            Layout::Nchw => {
                for (plane, c) in tensor.chunks_exact_mut(self.width * self.height).zip(0..3) {
                    let (scale, offset, from) = (self.scale[c], self.offset[c], rgb[self.order[c]]);
                    for (out, value) in plane[at..].iter_mut().zip(from) {
                        *out = value * scale + offset;
                    }
                }
            }
            Layout::Nhwc => {
                let [a, b, c] = self.order.map(|n| rgb[n]);
                let out = tensor[at * 3..].chunks_exact_mut(3);
                for (((out, a), b), c) in out.zip(a).zip(b).zip(c) {
                    out[0] = a * self.scale[0] + self.offset[0];
                    out[1] = b * self.scale[1] + self.offset[1];
                    out[2] = c * self.scale[2] + self.offset[2];
                }
            }
        }
    }

    /// Fills what lies outside the picture with black.
    fn pad(&self, tensor: &mut [f32], [left, top, width, height]: [usize; 4]) {
        if (width, height) == (self.width, self.height) {
            return;
        }
        for y in 0..self.height {
            let within = (top..top + height).contains(&y);
            let spans =
                if within { [(0, left), (left + width, self.width)] } else { [(0, self.width), (0, 0)] };
            for (begin, end) in spans {
                let (begin, end) = (y * self.width + begin, y * self.width + end);
                match self.layout {
                    Layout::Nchw => {
                        for (plane, c) in tensor.chunks_exact_mut(self.width * self.height).zip(0..3) {
                            plane[begin..end].fill(self.offset[c]);
                        }
                    }
                    Layout::Nhwc => {
                        for out in tensor[begin * 3..end * 3].chunks_exact_mut(3) {
                            out.copy_from_slice(&self.offset);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
