//! Where the edges of the view usually lie, on a coarse grid, and where they lie now.
//!
//! Each cell has a direction of its edge, doubled so that a reversal of contrast (infrared light) changes nothing, and
//! with a length near 1 wherever the edge is clearer than noise, so that light changes little: orientation
//! correlation (Fitch et al., 2002). The picture is compared with a slowly learnt one and, where they differ, looked
//! for at other places. Edges that are gone are counted as in the camera tamper detection of Ribnick et al. (2006)
//! and of Sağlam and Temizel (2009).
//!
//! Two views are known: the present one and the one before, so that a camera that turns to and fro, or one that
//! looks very different by night, is learnt once.
//!
//! Invariant: after the first picture of a size, nothing is allocated but for a new view.

use super::rows::EDGE;
use crate::frame::Picture;
use crate::geometry::{Point, Polygon};
use crate::motion::grid::Grid;

/// About how many cells a picture is wide.
const ACROSS: usize = 48;
/// A difference of two cells that is clearer than noise, in levels.
const CLEAR: f32 = 6.0;
/// A difference of two cells that is an edge, in levels.
const EDGY: f32 = 8.0;
/// The fraction of cells with an edge without which a view is too poor to be judged.
const RICH: f32 = 0.03;
/// What an edge that is gone has left, of its difference and of its contrast.
const GONE: f32 = 0.25;
/// Cells that are darker or lighter than these levels (of 255) may have lost their edges to the light alone.
const TOO_DARK: f32 = 20.0;
const TOO_LIGHT: f32 = 245.0;
/// Views are looked for within this fraction of the picture's size.
const REACH: f32 = 0.25;
/// Two pictures that are alike by as much show one view, whatever walks through it; strangers stay near 0.
const STEADY: f32 = 0.35;
/// Views that are alike by as much are the same.
pub(super) const SAME: f32 = 0.6;

/// One cell.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// The doubled direction of the edge.
    along: [f32; 2],
    /// The difference across the cell, in levels.
    edge: f32,
    /// The level.
    level: f32,
}

/// What a view usually looks like.
#[derive(Debug, Clone, Default)]
struct View {
    cells: Vec<Cell>,
    learnt: u32,
}

/// How the picture compares with the usual view.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Compared {
    /// The fraction of cells with an edge now.
    pub(super) detail: f32,
    /// The same, usually.
    pub(super) usual_detail: f32,
    /// The fraction of the usual edges that are gone.
    pub(super) gone: f32,
    /// How alike the two are, −1..1.
    pub(super) alike: f32,
}

impl Compared {
    /// Whether there is enough in the usual view to compare with.
    pub(super) fn is_rich(&self) -> bool {
        self.usual_detail >= RICH
    }
}

/// Where the usual view was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// By how much it shifted, as fractions of width and height: to the right and downwards are positive.
    pub(super) shift: [f32; 2],
    /// How alike it is there.
    pub(super) alike: f32,
}

#[derive(Debug)]
pub(super) struct Structure {
    grid: Grid,
    seen: Vec<bool>,
    now: Vec<Cell>,
    before: Vec<Cell>,
    usual: View,
    other: Option<View>,
}

impl Structure {
    pub(super) fn new() -> Self {
        let (seen, now, before) = (Vec::new(), Vec::new(), Vec::new());
        Structure { grid: Grid::across(ACROSS), seen, now, before, usual: View::default(), other: None }
    }

    /// Reads a picture; everything is forgotten if its size is another than before.
    pub(super) fn read(&mut self, picture: &Picture, (black, white): (f32, f32), masks: &[Polygon]) {
        let resized = self.grid.read(picture);
        let (w, h) = (self.grid.columns, self.grid.rows);
        if resized {
            self.now.clear();
            self.now.resize(w * h, Cell::default());
            self.before.clone_from(&self.now);
            self.usual = View { cells: self.now.clone(), learnt: 0 };
            self.other = None;
            self.seen.clear();
            self.seen.extend((0..w * h).map(|n| is_seen(n % w, n / w, w, h, masks)));
        }
        std::mem::swap(&mut self.now, &mut self.before);
        let scale = 255.0 / (white - black);
        let at = |x: usize, y: usize| self.grid.values[y * w + x];
        for n in 0..w * h {
            if !self.seen[n] {
                continue;
            }
            let (x, y) = (n % w, n / w);
            let (dx, dy) = (at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1));
            let square = dx * dx + dy * dy;
            let along = [dx * dx - dy * dy, 2.0 * dx * dy].map(|part| part / (square + CLEAR * CLEAR));
            let level = ((at(x, y) - black) * scale).clamp(0.0, 255.0);
            self.now[n] = Cell { along, edge: square.sqrt() * scale, level };
        }
    }

    /// Pictures that the usual view was learnt from.
    pub(super) fn learnt(&self) -> u32 {
        self.usual.learnt
    }

    /// Cells at or above a level, as a fraction of those that are seen.
    pub(super) fn bright(&self, from: f32) -> f32 {
        self.share(|n| self.now[n].level >= from)
    }

    fn share(&self, is_so: impl Fn(usize) -> bool) -> f32 {
        let (mut so, mut count) = (0u32, 0u32);
        for n in (0..self.seen.len()).filter(|&n| self.seen[n]) {
            so += u32::from(is_so(n));
            count += 1;
        }
        so as f32 / count.max(1) as f32
    }

    pub(super) fn compare(&self) -> Compared {
        let is_usual = |n: usize| self.usual.cells[n].edge >= EDGY;
        let is_gone = |n: usize| {
            let (now, usual) = (&self.now[n], &self.usual.cells[n]);
            let contrast = |cell: &Cell| cell.edge / (cell.level + 1.0);
            (TOO_DARK..=TOO_LIGHT).contains(&now.level)
                && now.edge < GONE * usual.edge
                && contrast(now) < GONE * contrast(usual)
        };
        let usual_detail = self.share(is_usual);
        let gone = self.share(|n| is_usual(n) && is_gone(n));
        Compared {
            detail: self.share(|n| self.now[n].edge >= EDGY),
            usual_detail,
            gone: if usual_detail > 0.0 { gone / usual_detail } else { 0.0 },
            alike: self.alike(&self.usual.cells, 0, 0),
        }
    }

    /// Whether the picture before showed the same view.
    pub(super) fn is_steady(&self) -> bool {
        self.alike(&self.before, 0, 0) >= STEADY
    }

    /// Looks for the usual view within reach.
    pub(super) fn find(&self) -> Found {
        let (w, h) = (self.grid.columns as isize, self.grid.rows as isize);
        let reach = |cells: isize| (cells as f32 * REACH) as isize;
        let mut found = Found { shift: [0.0; 2], alike: self.alike(&self.usual.cells, 0, 0) };
        for dy in -reach(h)..=reach(h) {
            for dx in -reach(w)..=reach(w) {
                let alike = self.alike(&self.usual.cells, dx, dy);
                if alike > found.alike {
                    found = Found { shift: [dx as f32 / w as f32, dy as f32 / h as f32], alike };
                }
            }
        }
        found
    }

    /// How alike the picture and a view are where the view lies shifted by some cells: the correlation of the
    /// directions, 1 for the same, about 0 for strangers.
    fn alike(&self, view: &[Cell], dx: isize, dy: isize) -> f32 {
        let (w, h) = (self.grid.columns, self.grid.rows);
        let (mut count, mut product) = (0.0f32, 0.0f32);
        let (mut sums, mut squares) = ([[0.0f32; 2]; 2], [0.0f32; 2]);
        for y in dy.max(0) as usize..h.saturating_add_signed(dy.min(0)) {
            let row = y * w;
            let usual_row = (y as isize - dy) as usize * w;
            for x in dx.max(0) as usize..w.saturating_add_signed(dx.min(0)) {
                let (n, m) = (row + x, usual_row + (x as isize - dx) as usize);
                if !(self.seen[n] && self.seen[m]) {
                    continue;
                }
                let (a, b) = (self.now[n].along, view[m].along);
                count += 1.0;
                product += a[0] * b[0] + a[1] * b[1];
                squares[0] += a[0] * a[0] + a[1] * a[1];
                squares[1] += b[0] * b[0] + b[1] * b[1];
                for k in 0..2 {
                    sums[0][k] += a[k];
                    sums[1][k] += b[k];
                }
            }
        }
        // A picture whose edges all run one way is like any other of this kind: what is usual everywhere is taken out.
        let [a, b] = sums;
        let product = product - (a[0] * b[0] + a[1] * b[1]) / count.max(1.0);
        let spread =
            |k: usize, sum: [f32; 2]| squares[k] - (sum[0].powi(2) + sum[1].powi(2)) / count.max(1.0);
        let size = (spread(0, a) * spread(1, b)).max(0.0).sqrt();
        if size > 1e-3 { product / size } else { 0.0 }
    }

    /// Takes the picture into the usual view with this weight; the first ones count equally.
    pub(super) fn learn(&mut self, weight: f32) {
        let weight = weight.max(1.0 / (self.usual.learnt as f32 + 1.0));
        self.usual.learnt = self.usual.learnt.saturating_add(1);
        let blend = |usual: &mut f32, now: f32| *usual += weight * (now - *usual);
        for (usual, now) in self.usual.cells.iter_mut().zip(&self.now) {
            blend(&mut usual.along[0], now.along[0]);
            blend(&mut usual.along[1], now.along[1]);
            blend(&mut usual.edge, now.edge);
            blend(&mut usual.level, now.level);
        }
    }

    /// Learns a new view from here on; the usual one is remembered as the other.
    pub(super) fn begin_view(&mut self) {
        let cells = vec![Cell::default(); self.now.len()];
        self.other = Some(std::mem::replace(&mut self.usual, View { cells, learnt: 0 }));
    }

    /// Whether the picture shows the other known view, which is then the usual one.
    pub(super) fn turn_to_known(&mut self) -> bool {
        let is_other = self.other.as_ref().is_some_and(|other| self.alike(&other.cells, 0, 0) >= SAME);
        if let Some(other) = self.other.as_mut().filter(|_| is_other) {
            std::mem::swap(other, &mut self.usual);
        }
        is_other
    }
}

/// Whether a cell and its neighbours are in the picture, neither masked nor at an edge with writing on it.
fn is_seen(x: usize, y: usize, w: usize, h: usize, masks: &[Polygon]) -> bool {
    let inner = (1..w.saturating_sub(1)).contains(&x) && (1..h.saturating_sub(1)).contains(&y);
    let down = (y as f32 + 0.5) / h as f32;
    let is_masked = |dx: i8, dy: i8| {
        let at = |n: usize, d: i8, of: usize| (n as f32 + 0.5 + 1.5 * f32::from(d)) / of as f32;
        let point = Point { x: at(x, dx, w), y: at(y, dy, h) };
        masks.iter().any(|m| m.contains(point))
    };
    let around = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dx, dy)));
    inner && (EDGE..=1.0 - EDGE).contains(&down) && !around.into_iter().any(|(dx, dy)| is_masked(dx, dy))
}
