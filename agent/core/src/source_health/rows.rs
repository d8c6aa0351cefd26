//! A few whole rows of each picture, as the sensor gave them: what averages would hide. They tell a frozen picture
//! from a still scene (whose noise changes), black from dark, and sharp from blurred.
//!
//! Sharpness is the energy of second differences of neighbouring pixels over that of differences at a distance: a
//! ratio that light does not change. The sensor's noise is known from the difference to the picture before, and is
//! taken out of both.
//!
//! Invariant: after the first picture of a size, nothing is allocated.

use super::WARM;
use crate::frame::Picture;
use crate::geometry::{Point, Polygon};

/// Rows that are read of a picture.
const ROWS: usize = 24;
/// Parts of a row that are judged by themselves.
const PARTS: usize = 6;
/// The part of the picture, at its upper and at its lower edge, where cameras write their name and the time: it is
/// not looked at.
pub(super) const EDGE: f32 = 0.1;
/// The distance of the wide differences, in pixels: beyond any blur that is still called blur.
const FAR: usize = 16;
/// The energy of wide differences that a part needs to be judged: edges of some 30 levels.
const FAR_LEAST: f32 = 64.0;
/// The levels by which a pixel differs clearly.
const CLEARLY: u8 = 24;
/// The number of parts without which sharpness is not judged.
const PARTS_LEAST: usize = 8;

/// What the rows of a picture say about light.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Light {
    /// Mean level, 0..255 whatever the range of the picture.
    pub(super) mean: f32,
    /// The fraction of pixels at or above the level asked for.
    pub(super) bright: f32,
}

/// How two pictures differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Difference {
    /// By how many levels in the mean.
    pub(super) mean: f32,
    /// The fraction of pixels that differ by more than any encoder makes of the same picture.
    pub(super) clear: f32,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    size: (u32, u32),
    width: usize,
    now: Vec<u8>,
    before: Vec<u8>,
    first: Vec<u8>,
    /// Whether a part is not masked, row by row.
    seen: Vec<bool>,
    /// The usual sharpness of each part; 0 where it is not known.
    normal: Vec<f32>,
    learnt: u32,
}

impl Rows {
    /// Reads a picture; true if its size is another than before.
    pub(super) fn read(&mut self, picture: &Picture, masks: &[Polygon]) -> bool {
        let size = (picture.width(), picture.height());
        let resized = self.size != size;
        if resized {
            self.begin(size, masks);
        }
        std::mem::swap(&mut self.now, &mut self.before);
        for (n, row) in self.now.chunks_exact_mut(self.width).enumerate() {
            let y = row_of(n, size.1 as usize);
            match picture.luma() {
                Some(plane) => row.copy_from_slice(plane.row(y)),
                None => {
                    let green = picture.plane(0).row(y)[1..].iter().step_by(3);
                    row.iter_mut().zip(green).for_each(|(to, from)| *to = *from);
                }
            }
        }
        if resized {
            self.before.copy_from_slice(&self.now);
            self.first.copy_from_slice(&self.now);
        }
        resized
    }

    fn begin(&mut self, size: (u32, u32), masks: &[Polygon]) {
        self.size = size;
        self.width = size.0 as usize;
        for rows in [&mut self.now, &mut self.before, &mut self.first] {
            rows.clear();
            rows.resize(ROWS * self.width, 0);
        }
        self.seen.clear();
        for n in 0..ROWS {
            let y = (row_of(n, size.1 as usize) as f32 + 0.5) / size.1 as f32;
            self.seen.extend((0..PARTS).map(|part| {
                let at = |within: f32| Point { x: (part as f32 + within) / PARTS as f32, y };
                ![0.0, 0.25, 0.5, 0.75, 1.0].iter().any(|&x| masks.iter().any(|m| m.contains(at(x))))
            }));
        }
        self.forget_sharpness();
    }

    /// What is usual is learnt anew.
    pub(super) fn forget_sharpness(&mut self) {
        self.learnt = 0;
        self.normal.clear();
        self.normal.resize(ROWS * PARTS, 0.0);
    }

    /// Whether there is anything to judge.
    pub(super) fn sees(&self) -> bool {
        self.width >= PARTS && self.seen.contains(&true)
    }

    fn parts(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
        let step = self.width / PARTS;
        let seen = self.seen.iter().enumerate().filter(|(_, seen)| **seen);
        seen.map(move |(n, _)| {
            let from = n / PARTS * self.width + n % PARTS * step;
            (n, from..from + step)
        })
    }

    /// How the pixels differ from those of the first picture of this kind.
    pub(super) fn change(&self) -> Difference {
        let (mut sum, mut clear, mut count) = (0u64, 0u32, 0usize);
        for (_, part) in self.parts() {
            let pairs = self.now[part.clone()].iter().zip(&self.first[part.clone()]);
            let (levels, clearly) = pairs.fold((0u32, 0u32), |(levels, clearly), (a, b)| {
                let by = a.abs_diff(*b);
                (levels + u32::from(by), clearly + u32::from(by >= CLEARLY))
            });
            sum += u64::from(levels);
            clear += clearly;
            count += part.len();
        }
        let count = count.max(1) as f32;
        Difference { mean: sum as f32 / count, clear: clear as f32 / count }
    }

    /// This picture is the first of its kind.
    pub(super) fn begin_kind(&mut self) {
        self.first.copy_from_slice(&self.now);
    }

    /// How light it is. `black` and `white` are the samples of those.
    pub(super) fn light(&self, (black, white): (f32, f32), bright_from: f32) -> Light {
        let scale = 255.0 / (white - black);
        let least = black + bright_from / scale;
        let (mut sum, mut bright, mut count) = (0u64, 0usize, 0usize);
        for (_, part) in self.parts() {
            sum += u64::from(self.now[part.clone()].iter().map(|&v| u32::from(v)).sum::<u32>());
            bright += self.now[part.clone()].iter().filter(|&&v| f32::from(v) >= least).count();
            count += part.len();
        }
        let count = count.max(1) as f32;
        let mean = ((sum as f32 / count - black) * scale).clamp(0.0, 255.0);
        Light { mean, bright: bright as f32 / count }
    }

    /// Sharpness as a fraction of what is usual; `None` where too little can be judged, or too little is known yet.
    /// Learns from the picture with the weight `learn`.
    pub(super) fn focus(&mut self, learn: Option<f32>) -> Option<f32> {
        let mut noise = [0.0f32; ROWS * PARTS];
        let mut all = [0.0f32; ROWS * PARTS];
        let mut count = 0;
        for (n, part) in self.parts() {
            let pairs = self.now[part.clone()].iter().zip(&self.before[part.clone()]);
            let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum();
            noise[n] = sum as f32 / part.len() as f32;
            all[count] = noise[n];
            count += 1;
        }
        let usual_noise = median(&mut all[..count])?;
        let mut ratios = [0.0f32; ROWS * PARTS];
        let mut judged = 0;
        let weight = learn.map(|learn| learn.max(1.0 / (self.learnt as f32 + 1.0)));
        let mut sharp = [None; ROWS * PARTS];
        for (n, part) in self.parts() {
            // What moves is blurred by moving.
            if noise[n] > 4.0 * usual_noise + 4.0 {
                continue;
            }
            let (near, far) = energies(&self.now[part]);
            let far = far - noise[n];
            if far < FAR_LEAST {
                continue;
            }
            // The noise's own second differences have three times the energy of its change.
            let by_noise = 3.0 * noise[n];
            let near = (near - by_noise).max(0.0);
            if self.normal[n] > 0.0 && self.normal[n] * far > by_noise {
                ratios[judged] = near / far / self.normal[n];
                judged += 1;
            }
            if near > 0.5 * by_noise {
                sharp[n] = Some(near / far);
            }
        }
        if let Some(weight) = weight {
            self.learnt = self.learnt.saturating_add(1);
            for (normal, sharp) in self.normal.iter_mut().zip(sharp) {
                let Some(sharp) = sharp else { continue };
                *normal = if *normal > 0.0 { *normal + weight * (sharp - *normal) } else { sharp };
            }
        }
        if judged < PARTS_LEAST || self.learnt < WARM { None } else { median(&mut ratios[..judged]) }
    }
}

/// The `n`th of the rows that are read.
fn row_of(n: usize, height: usize) -> usize {
    let within = EDGE + (1.0 - 2.0 * EDGE) * (n as f32 + 0.5) / ROWS as f32;
    ((within * height as f32) as usize).min(height - 1)
}

/// The mean energies of second differences of neighbours and of differences at the distance [`FAR`].
fn energies(row: &[u8]) -> (f32, f32) {
    let near = row.windows(3).map(|w| (2 * i32::from(w[1]) - i32::from(w[0]) - i32::from(w[2])).pow(2));
    let near_count = row.len().saturating_sub(2).max(1);
    let far = row.iter().zip(&row[FAR.min(row.len())..]).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2));
    let far_count = row.len().saturating_sub(FAR).max(1);
    let near = near.map(i64::from).sum::<i64>() as f32 / near_count as f32;
    (near, far.map(u64::from).sum::<u64>() as f32 / far_count as f32)
}

fn median(values: &mut [f32]) -> Option<f32> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}
