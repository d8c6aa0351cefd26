//! Numbers without gaps in another order: transposed, repeated along axes, and combined with others that are repeated.

use super::unary_fn::BinaryFn;
use crate::cpu::Kernels;
use crate::error::{KernelError, Result};

/// Axes that are left when neighbours that lie in order are made one.
const MAX_AXES: usize = 8;

/// How elements of `N` inputs lie for the elements of an output, which lies in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast<const N: usize> {
    /// Output places along each axis, and how far apart an input's elements are along it: 0 repeats them.
    axes: Vec<(usize, [usize; N])>,
    /// Elements that each input must have at least.
    needs: [usize; N],
    length: usize,
}

impl<const N: usize> Broadcast<N> {
    /// Of an output of this shape, and inputs whose elements are these strides apart along its axes.
    ///
    /// # Errors
    /// An axis has no place, or there are too many axes.
    pub fn new(shape: &[usize], strides: [&[usize]; N]) -> Result<Self> {
        if shape.contains(&0) || strides.iter().any(|d| d.len() != shape.len()) {
            return Err(KernelError::shape(
                "broadcast",
                format!("{strides:?} do not fit the shape {shape:?}"),
            ));
        }
        let mut axes: Vec<(usize, [usize; N])> = Vec::new();
        for (axis, places) in shape.iter().enumerate().filter(|(_, places)| **places > 1) {
            let steps = strides.map(|d| d[axis]);
            match axes.last_mut() {
                // Stepping along the one before is stepping over all of this one.
                Some((before, outer)) if (0..N).all(|n| steps[n].checked_mul(*places) == Some(outer[n])) => {
                    *before = before.checked_mul(*places).ok_or_else(|| too_large(shape))?;
                    *outer = steps;
                }
                _ => axes.push((*places, steps)),
            }
        }
        if axes.is_empty() {
            axes.push((1, [1; N]));
        }
        if axes.len() > MAX_AXES {
            return Err(KernelError::shape("broadcast", format!("{shape:?} has too many axes")));
        }
        // Of all places, so that no sum over some of them is too_large.
        let reach = |n: usize| {
            let each = |sum: usize, (places, steps): &(usize, [usize; N])| {
                sum.checked_add(places.checked_mul(steps[n])?)
            };
            axes.iter().try_fold(1, each)
        };
        let mut needs = [0; N];
        for (n, needs) in needs.iter_mut().enumerate() {
            reach(n).ok_or_else(|| too_large(shape))?;
            *needs = 1 + axes.iter().map(|(places, steps)| (places - 1) * steps[n]).sum::<usize>();
        }
        let length = axes.iter().try_fold(1usize, |length, (places, _)| length.checked_mul(*places));
        Ok(Self { axes, needs, length: length.ok_or_else(|| too_large(shape))? })
    }

    /// Its axes: how many places, and how far apart each input's elements are. [`Self::new`] makes the same of them.
    pub fn axes(&self) -> impl Iterator<Item = (usize, &[usize; N])> {
        self.axes.iter().map(|(places, steps)| (*places, steps))
    }

    /// Of inputs that are repeated along the axes that they lack: numpy's broadcasting.
    ///
    /// # Errors
    /// A shape is none that becomes `shape`.
    pub fn of_shapes(shape: &[usize], inputs: [&[usize]; N]) -> Result<Self> {
        let mut strides = [const { Vec::new() }; N];
        for (input, strides) in inputs.iter().zip(&mut strides) {
            let missing = shape.len().checked_sub(input.len());
            let missing = missing.ok_or_else(|| not_broadcastable(input, shape))?;
            *strides = vec![0; shape.len()];
            let mut step = 1;
            for axis in (0..input.len()).rev() {
                let places = input[axis];
                if places != 1 && places != shape[missing + axis] {
                    return Err(not_broadcastable(input, shape));
                }
                strides[missing + axis] = if places == 1 { 0 } else { step };
                step *= places;
            }
        }
        Self::new(shape, strides.each_ref().map(Vec::as_slice))
    }

    fn check(&self, inputs: [usize; N], output: usize) -> Result<()> {
        if self.length == output && (0..N).all(|n| self.needs[n] <= inputs[n]) {
            return Ok(());
        }
        Err(KernelError::shape(
            "broadcast",
            format!(
                "{inputs:?} values do not become {output}: {:?} and {} are needed",
                self.needs, self.length
            ),
        ))
    }

    /// Calls `each` with where each input's elements begin, and the output's, for every row of the output; or, with
    /// `inner` axes, for every block of these.
    fn blocks(&self, inner: usize, mut each: impl FnMut([usize; N], usize)) {
        let (outer, inner) = self.axes.split_at(self.axes.len() - inner);
        let block: usize = inner.iter().map(|(places, _)| places).product();
        let (mut at, mut starts) = ([0; MAX_AXES], [0; N]);
        for n in 0..self.length / block {
            each(starts, n * block);
            for (axis, (places, steps)) in outer.iter().enumerate().rev() {
                at[axis] += 1;
                (0..N).for_each(|n| starts[n] += steps[n]);
                if at[axis] < *places {
                    break;
                }
                at[axis] = 0;
                (0..N).for_each(|n| starts[n] -= steps[n] * places);
            }
        }
    }

    fn row(&self) -> usize {
        self.axes.last().map_or(1, |(places, _)| *places)
    }

    /// How far apart an input's elements are in a row.
    fn step(&self, input: usize) -> usize {
        self.axes.last().map_or(1, |(_, steps)| steps[input])
    }
}

fn too_large(shape: &[usize]) -> KernelError {
    KernelError::shape("broadcast", format!("{shape:?} is out of all proportion"))
}

fn not_broadcastable(input: &[usize], shape: &[usize]) -> KernelError {
    KernelError::shape("broadcast", format!("{input:?} is no shape to be repeated to {shape:?}"))
}

impl Kernels {
    /// Copies into another order.
    ///
    /// # Errors
    /// `from` or `to` are not as long as the broadcast says.
    pub fn rearrange(self, from: &[f32], to: &mut [f32], broadcast: &Broadcast<1>) -> Result<()> {
        broadcast.check([from.len()], to.len())?;
        let (row, step) = (broadcast.row(), broadcast.step(0));
        // A transposition in the last axes: rows of the input are read once, not once for each column.
        if let [.., (columns, [1]), (rows, [apart])] = broadcast.axes[..] {
            transpose(from, to, broadcast, [columns, rows], apart);
            return Ok(());
        }
        broadcast.blocks(1, |[start], at| {
            let to = &mut to[at..at + row];
            match step {
                0 => to.fill(from[start]),
                1 => to.copy_from_slice(&from[start..start + row]),
                _ => to.iter_mut().zip(from[start..].iter().step_by(step)).for_each(|(to, from)| *to = *from),
            }
        });
        Ok(())
    }

    /// Combines two, either of which may be repeated.
    ///
    /// # Errors
    /// As [`Self::rearrange`].
    pub fn binary(
        self,
        [a, b]: [&[f32]; 2],
        to: &mut [f32],
        broadcast: &Broadcast<2>,
        function: BinaryFn,
    ) -> Result<()> {
        broadcast.check([a.len(), b.len()], to.len())?;
        let row = broadcast.row();
        let lengths = [0, 1].map(|n| match broadcast.step(n) {
            0 => Ok(1),
            1 => Ok(row),
            step => Err(KernelError::shape("binary", format!("values lie {step} apart in a row"))),
        });
        let [of_a, of_b] = lengths;
        let (of_a, of_b) = (of_a?, of_b?);
        broadcast.blocks(1, |[first, second], at| {
            let (a, b) = (&a[first..first + of_a], &b[second..second + of_b]);
            // SAFETY: the table's path runs on this machine; both are as long as the row, or one value.
            unsafe { (self.dispatch.runs.binary_fn)(a, b, &mut to[at..at + row], &function) };
        });
        Ok(())
    }

    /// The second where the first is not 0, else the third.
    ///
    /// # Errors
    /// As [`Self::rearrange`].
    pub fn select(self, inputs: [&[f32]; 3], to: &mut [f32], broadcast: &Broadcast<3>) -> Result<()> {
        broadcast.check(inputs.map(<[f32]>::len), to.len())?;
        let (row, steps) = (broadcast.row(), [0, 1, 2].map(|n| broadcast.step(n)));
        broadcast.blocks(1, |starts, at| {
            for (x, to) in to[at..at + row].iter_mut().enumerate() {
                let [test, yes, no] = [0, 1, 2].map(|n| inputs[n][starts[n] + x * steps[n]]);
                *to = if test != 0.0 { yes } else { no };
            }
        });
        Ok(())
    }
}

/// Rows of the input, `apart`, that become columns.
fn transpose(
    from: &[f32],
    to: &mut [f32],
    broadcast: &Broadcast<1>,
    [columns, rows]: [usize; 2],
    apart: usize,
) {
    /// Columns that are written side by side: their lines of cache stay near.
    const TILE: usize = 8;
    broadcast.blocks(2, |[start], at| {
        let to = &mut to[at..at + columns * rows];
        for first in (0..columns).step_by(TILE) {
            let width = TILE.min(columns - first);
            for row in 0..rows {
                let line = &from[start + row * apart + first..][..width];
                let places = to[first * rows + row..].iter_mut().step_by(rows);
                places.zip(line).for_each(|(to, from)| *to = *from);
            }
        }
    });
}
