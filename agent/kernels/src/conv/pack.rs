//! Weights in the order in which a kernel reads them.

/// Weights, biases and factors of a layer as one kernel wants them.
#[derive(Debug, Clone)]
pub(crate) struct Packed<W, B> {
    pub(crate) weights: Vec<W>,
    pub(crate) bias: Vec<B>,
    pub(crate) multiplier: Vec<f32>,
}

/// Cuts `channels` into blocks of the given widths (descending): wide ones, then the narrowest that holds the rest.
pub(crate) fn blocks(
    channels: usize,
    widths: &'static [usize],
) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = channels.checked_sub(start).filter(|rest| *rest > 0)?;
        let width = widths.iter().rev().find(|width| **width >= rest).or(widths.first()).copied()?;
        let block = (start, width);
        start += width;
        Some(block)
    })
}

/// Where groups of `group` elements begin in a run of `length` (at least `group`) elements.
///
/// The last one is moved back so that it ends with the run: a kernel reads whole groups and never past the end; what
/// both the last groups hold counts in the earlier one.
pub(crate) fn group_starts(length: usize, group: usize) -> impl Iterator<Item = usize> {
    (0..length.div_ceil(group)).map(move |index| (index * group).min(length - group))
}

/// Packs a convolution's weights: for each block of output channels, for each run, for each group of elements, for each
/// channel of the block, the `group` weights. Channels that fill a block up are zero.
///
/// `weight(channel, run, element)` gives a weight, `run` counted along rows first.
pub(crate) fn pack_dense<W: Copy + Default>(
    channels: usize,
    widths: &'static [usize],
    runs: usize,
    run_length: usize,
    group: usize,
    weight: impl Fn(usize, usize, usize) -> W,
) -> Vec<W> {
    let length: usize = blocks(channels, widths).map(|(_, width)| width).sum();
    // At once: what growing leaves free would stay as long as the layer.
    let mut packed = Vec::with_capacity(length * runs * run_length.next_multiple_of(group));
    for (start, width) in blocks(channels, widths) {
        for run in 0..runs {
            let mut done = 0;
            for at in group_starts(run_length, group) {
                for channel in start..start + width {
                    for element in at..at + group {
                        let counts = channel < channels && element >= done;
                        packed.push(if counts { weight(channel, run, element) } else { W::default() });
                    }
                }
                done = at + group;
            }
        }
    }
    packed
}

/// `values` filled up to whole blocks.
pub(crate) fn pad_blocks<B: Copy + Default>(values: &[B], widths: &'static [usize]) -> Vec<B> {
    let length = blocks(values.len(), widths).last().map_or(0, |(start, width)| start + width);
    let mut padded = values.to_vec();
    padded.resize(length, B::default());
    padded
}
